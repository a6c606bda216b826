"""What a tenant's programs may be held to: below the installation's limits, never above."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Problem
from broker.identity.sandbox import MEMBERS, NO_RULE, Ceilings, SandboxRule, read_rule
from broker.settings import Limits
from broker.tools.codemode.limiting import run_limits
from broker.tools.codemode.sandbox.limits import MIB

LIMITS = Limits()
CEILINGS = Ceilings.of(LIMITS, isolate=False)


def test_members_come_and_go_one_by_one() -> None:
    rule = CEILINGS.changed(NO_RULE, {"cpu_ms": 300, "isolate": True, "wall_seconds": 2.5})
    assert rule == SandboxRule(isolate=True, cpu_ms=300, wall_seconds=2.5)
    assert CEILINGS.changed(rule, {"cpu_ms": None}) == SandboxRule(isolate=True, wall_seconds=2.5)
    assert CEILINGS.changed(rule, {"isolate": False, "cpu_ms": None, "wall_seconds": None}) == NO_RULE
    assert CEILINGS.changed(rule, {}) == rule
    assert read_rule({**rule.wire(), "of_a_later_release": 1}) == rule


@pytest.mark.parametrize("name", [name for name in MEMBERS if name != "isolate"])
def test_nothing_goes_above_the_installation(name: str) -> None:
    least, most = CEILINGS.bounds[name]
    assert getattr(CEILINGS.changed(NO_RULE, {name: most}), name) == most
    for value in (most + 1, least - 1, True, "1", 10**30):
        with pytest.raises(Problem) as caught:
            CEILINGS.changed(NO_RULE, {name: value})
        assert caught.value.code == "invalid_input"
        assert [field.path for field in caught.value.fields] == [f"sandbox.{name}"]


def test_every_wrong_member_is_named() -> None:
    with pytest.raises(Problem) as caught:
        CEILINGS.changed(NO_RULE, {"cpu_ms": 10**9, "memory_mb": 1, "nice": 3, "host_calls": 5})
    assert [field.path for field in caught.value.fields] == ["sandbox.cpu_ms", "sandbox.memory_mb", "sandbox.nice"]


def test_an_installation_that_isolates_is_not_loosened() -> None:
    strict = Ceilings.of(LIMITS, isolate=True)
    with pytest.raises(Problem):
        strict.changed(NO_RULE, {"isolate": False})
    assert strict.shown(NO_RULE)["isolate"] is True


def test_what_is_shown_is_what_holds() -> None:
    rule = CEILINGS.changed(NO_RULE, {"cpu_ms": 200, "memory_mb": 8, "host_calls": 0, "output_bytes": 2048})
    assert CEILINGS.shown(rule) == {
        "isolate": False, "cpu_ms": 200, "wall_seconds": 100.0, "memory_mb": 8, "host_calls": 0, "output_bytes": 2048,
        "runs_at_once": 8,
    }  # fmt: skip
    # An operator who lowers the installation's limits lowers everybody's.
    lowered = Ceilings.of(replace(LIMITS, code_seconds=0.1, search_seconds=0.1), isolate=False)
    assert lowered.shown(rule)["cpu_ms"] == 100


_RULES = st.builds(
    SandboxRule,
    isolate=st.booleans(),
    cpu_ms=st.none() | st.integers(10, 4000),
    wall_seconds=st.none() | st.floats(1, 100),
    memory_mb=st.none() | st.integers(4, 64),
    host_calls=st.none() | st.integers(0, 200),
    output_bytes=st.none() | st.integers(1024, 8 * MIB),
    runs_at_once=st.none() | st.integers(1, 8),
)


@given(_RULES, st.floats(0.01, 4), st.floats(-5, 200))
def test_a_rule_only_narrows(rule: SandboxRule, cpu: float, left: float) -> None:
    free = run_limits(LIMITS, NO_RULE, cpu_seconds=cpu, seconds_left=left)
    held = run_limits(LIMITS, rule, cpu_seconds=cpu, seconds_left=left)
    for field in fields(free):
        assert getattr(held, field.name) <= getattr(free, field.name)
    told: dict[str, Any] = rule.wire()
    assert held.cpu_seconds <= told.get("cpu_ms", 10**6) / 1000
    assert held.host_calls <= told.get("host_calls", 10**6)
    assert held.heap_bytes <= told.get("memory_mb", 10**6) * MIB
    assert held.result_bytes <= told.get("output_bytes", 10**9)
    assert held.wall_seconds <= told.get("wall_seconds", 10**6)

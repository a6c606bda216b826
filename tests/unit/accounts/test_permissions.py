"""The stored form of what a credential may do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.accounts.permissions import LEARNED_LIMIT, read_permissions, with_learned, write_permissions
from connectors.base import Permissions

_names = st.text(max_size=20)
_policies = st.lists(
    st.dictionaries(_names, st.one_of(_names, st.integers(), st.lists(_names, max_size=3)), max_size=4), max_size=4
)


@given(
    source=st.sampled_from(["policies", "declared", "unknown", "all"]),
    policies=_policies,
    learned=st.dictionaries(_names, _names, max_size=5),
)
def test_what_is_written_reads_the_same(source: Any, policies: list[Any], learned: dict[str, str]) -> None:
    given_ = Permissions(source, tuple(policies), learned)
    assert read_permissions(write_permissions(given_)) == given_


@pytest.mark.parametrize("stored", [None, {}, {"source": "everything"}, {"policies": [{}]}])
def test_what_is_no_permissions_is_unknown(stored: Any) -> None:
    assert read_permissions(stored) == Permissions("unknown")


def test_none_is_unknown() -> None:
    assert read_permissions(write_permissions(None)) == Permissions("unknown")


def test_a_lesson_keeps_the_rest() -> None:
    before = write_permissions(Permissions("policies", ({"effect": "allow"},), {"a": "A"}))
    after = read_permissions(with_learned(before, "b", "B"))
    assert after == Permissions("policies", ({"effect": "allow"},), {"a": "A", "b": "B"})


def test_lessons_are_bounded_and_the_oldest_go() -> None:
    stored: dict[str, Any] = {}
    for n in range(LEARNED_LIMIT + 30):
        stored = with_learned(stored, f"op-{n}", "DNS Write")
    learned = read_permissions(stored).learned
    assert len(learned) == LEARNED_LIMIT
    assert "op-29" not in learned
    assert "op-30" in learned
    # One that is learned again is the newest: it stays.
    learned = read_permissions(with_learned(with_learned(stored, "op-30", "again"), "more", "x")).learned
    assert learned["op-30"] == "again"
    assert "op-31" not in learned


def test_a_lesson_is_bounded_in_itself() -> None:
    learned = read_permissions(with_learned(with_learned({}, "o" * 5000, "p" * 5000), "o" * 5000, "q")).learned
    assert learned == {"o" * 200: "q"}

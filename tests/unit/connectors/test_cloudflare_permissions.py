"""Permits: denied only where no reading of the policies allows the request."""
# ruff: noqa: E501

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Operation, Permissions, Prepared, Resources
from connectors.cloudflare.permissions import declared, lacks, named, permit

A, B = "com.cloudflare.api.account.", "com.cloudflare.api.account.zone."
Make = Callable[..., Prepared]


def policy(*groups: str, effect: str = "allow", **resources: Any) -> Mapping[str, Any]:
    found = {key.replace("__", "."): value for key, value in resources.items()}
    return {"effect": effect, "permission_groups": [{"id": "i", "name": g} for g in groups], "resources": found}


def over(resources: Mapping[str, Any], *groups: str, effect: str = "allow") -> Mapping[str, Any]:
    return {**policy(*groups, effect=effect), "resources": dict(resources)}


ALL = {f"{A}*": "*"}
CASES: list[tuple[str, list[Mapping[str, Any]], tuple[str, ...], dict[str, tuple[str, ...]], str]] = [
    ("exact zone", [over({f"{B}z1": "*"}, "DNS Write")], ("DNS Write",), {"zones": ("z1",)}, "allowed"),
    ("other zone", [over({f"{B}z1": "*"}, "DNS Write")], ("DNS Write",), {"zones": ("z2",)}, "denied"),
    ("every zone", [over({f"{B}*": "*"}, "DNS Write")], ("DNS Write",), {"zones": ("z2",)}, "allowed"),
    ("all accounts", [over(ALL, "DNS Write")], ("DNS Write",), {"zones": ("z2",)}, "allowed"),
    ("all accounts, all their zones", [over({f"{A}*": {f"{B}*": "*"}}, "DNS Write")], ("DNS Write",), {"zones": ("z",)}, "allowed"),
    ("zones of one account", [over({f"{A}a1": {f"{B}*": "*"}}, "DNS Write")], ("DNS Write",), {"zones": ("z",)}, "unknown"),
    ("one zone of an account", [over({f"{A}a1": {f"{B}z1": "*"}}, "DNS Write")], ("DNS Write",), {"zones": ("z1",)}, "allowed"),
    ("another of an account", [over({f"{A}a1": {f"{B}z1": "*"}}, "DNS Write")], ("DNS Write",), {"zones": ("z2",)}, "denied"),
    ("one of two zones", [over({f"{B}z1": "*"}, "DNS Write")], ("DNS Write",), {"zones": ("z1", "z2")}, "denied"),
    ("missing group", [over(ALL, "DNS Read")], ("DNS Write",), {"zones": ("z1",)}, "denied"),
    ("missing group, no resource", [over(ALL, "DNS Read")], ("Zone Read",), {}, "denied"),
    ("any of", [over(ALL, "Zone Read")], ("DNS Read", "Zone Read"), {"zones": ("z1",)}, "allowed"),
    ("write includes read", [over(ALL, "DNS Write")], ("DNS Read",), {"zones": ("z1",)}, "allowed"),
    ("read is not write", [over(ALL, "DNS Read")], ("DNS Write",), {}, "denied"),
    ("alias", [over(ALL, "Zone Read")], ("Zone Zone Read",), {}, "allowed"),
    ("alias edit", [over(ALL, "DNS Write")], ("Zone DNS Edit",), {}, "allowed"),
    ("alias list", [over(ALL, "Account Rule Lists Write")], ("Account Filter Lists Edit",), {}, "allowed"),
    ("alias both old", [over(ALL, "Account Filter Lists Edit")], ("Account Filter Lists Read",), {}, "allowed"),
    ("dashboard edit", [over(ALL, "DNS: Edit")], ("DNS Write",), {}, "allowed"),
    ("collection", [over({f"{B}z1": "*"}, "Zone Read")], ("Zone Zone Read",), {}, "allowed"),
    ("account", [over({f"{A}a1": "*"}, "D1 Write")], ("D1 Write",), {"accounts": ("a1",)}, "allowed"),
    ("other account", [over({f"{A}a1": "*"}, "D1 Write")], ("D1 Write",), {"accounts": ("a2",)}, "denied"),
    ("account by zones only", [over({f"{A}a1": {f"{B}*": "*"}}, "D1 Write")], ("D1 Write",), {"accounts": ("a1",)}, "unknown"),
    ("account by bucket", [over({"com.cloudflare.edge.r2.bucket.a1_default_b": "*"}, "R2 Read")], ("R2 Read",), {"accounts": ("a1",)}, "unknown"),
    ("deny wins", [over(ALL, "DNS Write"), over(ALL, "DNS Write", effect="deny")], ("DNS Write",), {"zones": ("z1",)}, "denied"),
    ("deny elsewhere", [over(ALL, "DNS Write"), over({f"{B}z2": "*"}, "DNS Write", effect="deny")], ("DNS Write",), {"zones": ("z1",)}, "allowed"),
    ("deny perhaps", [over(ALL, "DNS Write"), over({f"{A}a1": {f"{B}*": "*"}}, "DNS Write", effect="deny")], ("DNS Write",), {"zones": ("z1",)}, "unknown"),
    ("deny of one of two groups", [over(ALL, "DNS Write", "Zone Read"), over(ALL, "DNS Write", effect="deny")], ("DNS Write", "Zone Read"), {"zones": ("z",)}, "allowed"),
    ("deny only", [over(ALL, "DNS Write", effect="deny")], ("DNS Write",), {}, "denied"),
    ("no annotation", [over(ALL, "DNS Write")], (), {}, "unknown"),
    ("group without a name", [{"effect": "allow", "permission_groups": [{"id": "x"}], "resources": ALL}], ("DNS Write",), {}, "unknown"),
    ("resources unreadable", [{"effect": "allow", "permission_groups": [{"name": "DNS Write"}], "resources": "?"}], ("DNS Write",), {"zones": ("z",)}, "unknown"),
    ("every zone asked", [over({f"{B}z1": "*"}, "Analytics Read")], ("Analytics Read",), {"zones": ("*",)}, "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("policies", "groups", "named_", "verdict"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_verdicts(
    policies: list[Mapping[str, Any]],
    groups: tuple[str, ...],
    named_: dict[str, tuple[str, ...]],
    verdict: str,
    request_of: Make,
) -> None:
    found = permit(request_of(*groups, **named_), Permissions("policies", tuple(policies)))
    assert found.verdict == verdict
    assert (found.missing is not None) is (verdict == "denied")


def test_sources_that_settle_it(request_of: Make) -> None:
    prepared = request_of("DNS Write", zones=("z",))
    assert permit(prepared, Permissions("all")).verdict == "allowed"
    assert permit(prepared, Permissions("unknown")).verdict == "unknown"
    assert permit(prepared, declared(["DNS Edit"])).verdict == "allowed"
    assert permit(request_of("D1 Write", accounts=("a",)), declared(["D1 Write"])).verdict == "allowed"
    missing = permit(prepared, declared(["Zone Read"]))
    assert (missing.verdict, missing.missing) == ("denied", "DNS Write")


def test_lacks_is_about_the_permission_and_never_the_resource() -> None:
    operation = Operation("op", "POST", "/x", "write", permissions=("DNS Write",), annotated=True)
    assert lacks(operation, Permissions("policies", (over({f"{B}z1": "*"}, "DNS Write"),))) is None
    assert lacks(operation, Permissions("policies", (over(ALL, "DNS Read"),))) == "DNS Write"
    assert lacks(operation, Permissions("policies", (over(ALL, "DNS Write", effect="deny"),))) == "DNS Write"
    assert lacks(operation, Permissions("unknown")) is None
    assert lacks(operation, Permissions("all")) is None


def test_any_of_groups_are_named_briefly() -> None:
    assert named(("DNS Write", "DNS Read")) == "DNS Read or DNS Write"
    assert named(tuple(f"G{n} Read" for n in range(20))).endswith("(or 17 others)")


_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.lists(
        st.fixed_dictionaries({}, optional={"effect": _junk, "permission_groups": _junk, "resources": _junk}),
        max_size=4,
    )
)
def test_hostile_policies_never_raise(policies: list[dict[str, Any]]) -> None:
    operation = Operation("op", "GET", "/x", "read", permissions=("DNS Write",), annotated=True)
    prepared = Prepared(operation, "GET", "https://x.example", "/x", resources=Resources(("a",), ("z",)))
    assert permit(prepared, Permissions("policies", tuple(policies))).verdict in ("allowed", "denied", "unknown")

"""What a session may inherit: pure, and never more than its parent."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain import Access, Restrictions
from broker.errors import Problem
from broker.identity import names
from broker.identity.restrictions import as_columns, as_text, capped, highest, of_row
from broker.identity.sessions import LONGEST, SHORTEST, expiry, narrower
from connectors.base import EFFECT_RANK
from tests.unit.policy.facts import NOW, caller

_CONNECTIONS = st.none() | st.lists(st.sampled_from(["a", "b", "c"]), max_size=3)
_ACCESS: st.SearchStrategy[Access | None] = st.sampled_from([None, "read", "write", "destructive"])


def _only(refused: Problem, code: str, path: str | None = None) -> None:
    """The one refusal that may come of these inputs."""
    assert refused.code == code
    assert path is None or refused.fields[0].path == path


@given(_CONNECTIONS, _ACCESS, _CONNECTIONS, _ACCESS)
def test_a_child_is_never_wider(
    had: list[str] | None, access: Access | None, asked: list[str] | None, wanted: Access | None
) -> None:
    parent = Restrictions(None if had is None else tuple(had), access)
    try:
        child = narrower(parent, asked, wanted)
    except Problem as refused:
        _only(refused, "forbidden")
        return
    if parent.connections is not None:
        assert child.connections is not None
        assert set(child.connections) <= set(parent.connections)
    if parent.access is not None:
        assert child.access is not None
        assert EFFECT_RANK[child.access] <= EFFECT_RANK[parent.access]
    if asked is not None:
        assert set(child.connections or ()) == set(asked)


_BY: st.SearchStrategy[dict[str, Access]] = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.sampled_from(["read", "write", "destructive"])
)


def _differing(by: dict[str, Access]) -> Restrictions:
    return Restrictions(tuple(by), highest(by.values()) or "read", by)


@given(_BY, _CONNECTIONS, _ACCESS)
def test_a_child_is_nowhere_wider(by: dict[str, Access], asked: list[str] | None, wanted: Access | None) -> None:
    parent = _differing(by)
    try:
        child = narrower(parent, asked, wanted)
    except Problem as refused:
        _only(refused, "forbidden")
        return
    assert set(child.connections or ()) == set(by if asked is None else asked) <= set(by)
    assert child.access is not None
    assert child.access_by is not None
    assert child.access_by.keys() == set(child.connections or ())
    for name, access in by.items():
        at = child.access_at(name)
        assert at is not None
        assert EFFECT_RANK[at] <= EFFECT_RANK[access]
        assert EFFECT_RANK[at] <= EFFECT_RANK[child.access]
        if name in child.access_by:
            assert at == (access if wanted is None else min(access, wanted, key=EFFECT_RANK.__getitem__))
    if child.access_by:
        assert child.access == highest(child.access_by.values()), "those that know `access` alone see the highest"


def test_access_at_a_connection() -> None:
    assert Restrictions().access_at("a") is None
    assert Restrictions(access="write").access_at("a") == "write"
    differing = _differing({"a": "write", "b": "read"})
    assert [differing.access_at(name) for name in ("a", "b", "elsewhere")] == ["write", "read", "read"]
    with pytest.raises(Problem) as refused:
        narrower(differing, ["b"], "write")
    assert "parent's read" in refused.value.detail


@given(_BY, _ACCESS)
def test_a_request_narrows_everywhere(by: dict[str, Access], most: Access | None) -> None:
    left = capped(_differing(by), most)
    for name, access in by.items():
        assert left.access_at(name) == (access if most is None else min(access, most, key=EFFECT_RANK.__getitem__))
    assert capped(Restrictions(), most).access_at("a") == most


@given(_BY)
def test_a_row_says_what_was_written(by: dict[str, Access]) -> None:
    was = _differing(by)
    assert of_row(was.connections, was.access, as_text(was.access_by)) == was
    back = of_row(was.connections, was.access, as_text(dict(reversed(by.items()))))
    assert (back, hash(back), as_text(back.access_by)) == (was, hash(was), as_text(by))
    assert as_columns(was) == {"connections": list(by), "access": was.access, "access_by": by}
    assert of_row(None, None, None) == Restrictions()


@given(st.none() | st.integers(-10, 100_000), st.none() | st.integers(0, 200_000))
def test_a_child_never_outlives_its_parent(ttl: int | None, left: int | None) -> None:
    limit = None if left is None else NOW + timedelta(seconds=left)
    minter = caller()
    minter = replace(minter, bearer=replace(minter.bearer, expires_at=limit))
    try:
        ends: datetime = expiry(minter, ttl)
    except Problem as refused:
        _only(refused, "invalid_input", "ttl_seconds")
        return
    assert limit is None or ends <= limit
    assert ends <= NOW + timedelta(seconds=LONGEST)
    if ttl is not None:
        assert SHORTEST <= ttl <= LONGEST
        assert ends == NOW + timedelta(seconds=ttl)


@given(st.text(max_size=250))
def test_an_identifier_that_passes_is_safe_to_store_and_show(text: str) -> None:
    try:
        names.identifier("identifier", text)
    except Problem as refused:
        _only(refused, "invalid_input", "identifier")
        return
    assert 1 <= len(text) <= 200
    assert text.isprintable()
    assert not any(c.isspace() for c in text)
    text.encode()


@pytest.mark.parametrize("name", ["default", "a", "a-1", "a" * 63])
def test_tenant_names(name: str) -> None:
    assert names.tenant_name("name", name) == name


def test_near_names_are_few_and_known() -> None:
    assert names.near("prija", ["priya", "tom"]) == "did you mean `priya`?"
    assert names.near("prija", []) is None
    assert names.near("x" * 10_000, ["priya"]) is None

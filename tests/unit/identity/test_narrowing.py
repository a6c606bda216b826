"""What a session may inherit: pure, and never more than its parent."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain import Access, Restrictions
from broker.errors import Problem
from broker.identity import names
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

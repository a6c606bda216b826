"""What is posted from the consent page: an access for each connection, and never above what the client asked for."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain import Access
from broker.errors import Problem
from broker.identity.oauth.asking import Asking
from broker.identity.oauth.choices import MOST, Choice, accesses, read_choice
from broker.identity.oauth.clients import Client
from broker.identity.oauth.resources import Resource
from connectors.base import EFFECT_RANK

CLIENT = Client("editor", "admin", "An editor", None, ("http://127.0.0.1/cb",))
ACCESSES: tuple[Access, ...] = ("read", "write", "destructive")


def asking(access: Access, connection: str | None = None) -> Asking:
    resource = Resource("/t/acme/mcp" if connection is None else f"/t/acme/mcp/{connection}", connection)
    return Asking(CLIENT, "http://127.0.0.1/cb", None, "c" * 43, resource, access)


def refused(access: Access, choosable: tuple[str, ...], fields: Mapping[str, str], path: str) -> str:
    with pytest.raises(Problem) as caught:
        read_choice(asking(access), choosable, fields)
    assert caught.value.code == "invalid_input"
    assert caught.value.fields[0].path == path
    return caught.value.detail


def test_each_has_its_own() -> None:
    names = ("cf", "docs", "github")
    chosen = read_choice(asking("write"), names, {"c.cf": "write", "c.docs": "none", "c.github": "read"})
    assert chosen == Choice(("cf", "github"), "write", {"cf": "write", "github": "read"})
    alike = {"c.cf": "read", "c.docs": "read"}
    assert read_choice(asking("write"), names, alike) == Choice(("cf", "docs"), "read")
    assert read_choice(asking("write"), names, alike | {"c.github": "read"}) == Choice(None, "read")


def test_what_cannot_be_chosen_is_refused() -> None:
    names = ("cf", "docs")
    assert "asked for read" in refused("read", names, {"c.cf": "write", "c.docs": "read"}, "c.cf")
    assert "asked for write" in refused("write", names, {"c.cf": "destructive"}, "c.cf")
    assert "cannot choose" in refused("write", names, {"c.cf": "read", "c.other": "read"}, "connections")
    for given_ in ("on", "READ", "admin"):
        refused("write", names, {"c.cf": given_}, "c.cf")
    for nothing in (
        {},
        {"c.cf": ""},
        {"rest": "none"},
        {"rest": ""},
        {"c.cf": "none", "c.docs": "none"},
        {"access": "read"},
    ):
        assert "at least one" in refused("write", names, nothing, "connections")


def test_one_choice_for_the_rest() -> None:
    names = tuple(f"c{n}" for n in range(MOST))
    assert read_choice(asking("write"), names, {"rest": "write"}) == Choice(None, "write")
    single = {"rest": "none", "c.c7": "read", "c.c9": "", "c.c11": "write"}
    assert read_choice(asking("write"), names, single) == Choice(("c7", "c11"), "write", {"c7": "read", "c11": "write"})
    chosen = read_choice(asking("write"), names, {"rest": "read", "c.c7": "none", "c.c9": "", "c.c11": "write"})
    assert chosen.access_by is not None
    assert (len(chosen.access_by), chosen.access_by["c9"], chosen.access_by["c11"]) == (MOST - 1, "read", "write")
    assert "asked for read" in refused("read", names, {"rest": "write", "c.c0": "read"}, "c.c1")
    for wrong in ("all", "READ"):
        refused("write", names, {"rest": wrong}, "c.c0")
    assert "too many" in refused("write", (*names, "more"), {"rest": "read"}, "connections")


def test_where_there_is_nothing_to_choose_of() -> None:
    assert read_choice(asking("write", "cf"), (), {"access": "write"}) == Choice(("cf",), "write")
    assert read_choice(asking("read"), (), {"access": "read"}) == Choice(None, "read")
    refused("read", (), {"access": "write"}, "access")
    refused("read", (), {}, "access")
    refused("read", (), {"access": "read", "c.cf": "read"}, "connections")


@given(
    asked=st.sampled_from(ACCESSES),
    given_=st.dictionaries(st.sampled_from(["c.a", "c.b", "c.d", "access", "x"]), st.sampled_from([*ACCESSES, "none"])),
)
def test_nothing_posted_is_ever_more_than_asked(asked: Access, given_: dict[str, str]) -> None:
    try:
        chosen = read_choice(asking(asked), ("a", "b"), given_)
    except Problem as problem:
        if problem.code != "invalid_input":
            raise
        return
    assert chosen.access in accesses(asked)
    by = chosen.access_by or dict.fromkeys(chosen.connections or ("a", "b"), chosen.access)
    assert by == {name: given_[f"c.{name}"] for name in ("a", "b") if given_.get(f"c.{name}", "none") != "none"}
    assert max(map(EFFECT_RANK.__getitem__, by.values())) == EFFECT_RANK[chosen.access] <= EFFECT_RANK[asked]

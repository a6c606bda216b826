"""Paths, queries and challenges."""

import pytest

from broker.endpoints.mcp import challenge
from broker.endpoints.mcp.place import Options, Place, place_of, read_options
from broker.endpoints.mcp.rpc import Refused

BASE = "https://keys.acme.example"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/mcp", Place(None, None)),
        ("/mcp/", Place(None, None)),
        ("/mcp/cf", Place(None, "cf")),
        ("/t/acme/mcp", Place("acme", None)),
        ("/t/acme/mcp/", Place("acme", None)),
        ("/t/acme/mcp/git-hub/", Place("acme", "git-hub")),
    ],
)
def test_endpoints(path: str, place: Place) -> None:
    assert place_of(path) == place
    assert place.path == path.rstrip("/")


@pytest.mark.parametrize(
    "path",
    ["/", "/mcpx", "/t/acme", "/t/acme/mcp/CF", "/t/acme/mcp/a/b", "/t/../mcp", "/t/a%2fb/mcp", "/t//mcp", "/x/mcp",
     "/t/acme/mcp/cf\n", "/mcp//", "/t/acme/mcp/" + "a" * 25],
)  # fmt: skip
def test_other_paths_are_none(path: str) -> None:
    assert place_of(path) is None


def test_options() -> None:
    assert read_options(b"") == Options()
    assert read_options(b"tools=cf_call,gh_x&access=read") == Options(frozenset({"cf_call", "gh_x"}), "read")
    assert read_options(b"discover=1&access=write") == Options(None, "write", "discover")


@pytest.mark.parametrize(
    "query",
    [b"tool=cf_call", b"access=all", b"access=", b"access=read&access=write", b"tools=", b"tools=a b", b"discover=0",
     b"codemode=1", b"x", b"\xff=1", b"tools=" + b",".join([b"a"] * 101)],
)  # fmt: skip
def test_an_option_that_would_not_narrow_is_refused(query: bytes) -> None:
    with pytest.raises(Refused) as caught:
        read_options(query)
    assert caught.value.status(modern=False) == 400


def test_challenges_name_the_metadata_of_their_own_path() -> None:
    place = Place("acme", "cf")
    told = challenge.unauthorized(BASE, place, given=False)
    assert told == (
        'Bearer realm="keyreeve", scope="tools:read tools:write tools:destructive", '
        f'resource_metadata="{BASE}/.well-known/oauth-protected-resource/t/acme/mcp/cf"'
    )
    assert 'error="invalid_token"' in challenge.unauthorized(BASE, place, given=True)
    wider = challenge.insufficient(BASE, place, ("tools:read", "tools:write"))
    assert 'error="insufficient_scope", scope="tools:read tools:write"' in wider


def test_metadata() -> None:
    found = challenge.metadata(BASE, Place("acme", None))
    assert found["resource"] == f"{BASE}/t/acme/mcp"
    assert found["authorization_servers"] == [f"{BASE}/t/acme"]
    assert challenge.metadata(BASE, Place(None, None))["authorization_servers"] == [f"{BASE}/t/default"]

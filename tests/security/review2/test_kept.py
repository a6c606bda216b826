"""What the server keeps for speed, and that nobody makes it keep more than there is room for. No server is needed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from broker.domain import Bearer, Caller, Grant, Identity, Resolved, Restrictions
from broker.endpoints.mcp import catalog
from broker.endpoints.mcp.catalog import Catalog, Listed
from broker.endpoints.mcp.place import Options, Place
from broker.endpoints.mcp.route import _NOTHING_SAID
from broker.endpoints.mcp.visit import Visit
from broker.identity import authenticate
from broker.identity.authenticate import Asked, Authenticator
from broker.identity.tokens import ParsedToken

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE = UUID(int=1)


def resolved_with(grants: int) -> Resolved:
    bearer = Bearer(
        id=ONE,
        tenant_id=ONE,
        kind="session",
        root_id=ONE,
        name="",
        role=None,
        identifiers=None,
        tenants=None,
        identity_id=ONE,
        restrictions=Restrictions(),
        expires_at=NOW + timedelta(hours=1),
    )
    caller = Caller(
        tenant_id=ONE,
        tenant_name="t",
        policy_version=1,
        bearer=bearer,
        identity=Identity(ONE, "priya@acme.example", (), "active"),
        on_behalf_of=False,
        client=None,
        agent=None,
        run_id=None,
        now=NOW,
    )
    found = tuple(
        Grant(
            id=uuid5(ONE, str(n)),
            subject="everyone",
            connection_id=ONE,
            tools=None,
            access="read",
            operations=("GET /zones", "GET /user"),
            accounts=None,
            zones=None,
            account="own",
            expires_at=None,
        )
        for n in range(grants)
    )
    return Resolved(caller, (), (), found)


async def test_made_up_urls_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `?tools=` is a state of its own, and a state's key holds on to every grant."""
    monkeypatch.setattr(catalog, "MAX_PARTS", 10_000)
    kept = Catalog(None)  # type: ignore[arg-type]

    async def make(*_: Any, **__: Any) -> tuple[bytes, Listed]:
        return b"same", Listed((), (), {}, 10)

    async def nothing(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(kept, "_make", make)
    monkeypatch.setattr(kept, "_alone", nothing, raising=False)
    for n in range(500):
        options = Options(tools=frozenset({f"cloudflare_x{n}"}))
        visit = Visit(Place("t", None), options, ParsedToken("session", ONE, b""), {}, _NOTHING_SAID)
        await kept.listed(visit, resolved_with(100))
        assert sum(len(key[6]) * 3 for key in kept._states) <= 10_000
    assert 10 < len(kept._states) < 40
    assert kept._parts == sum(map(catalog._parts, kept._states))


def test_a_look_up_is_let_go_when_its_second_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    kept = Authenticator(None, lambda: now)  # type: ignore[arg-type]
    resolved: Any = resolved_with(1)
    for n in range(1000):
        now += 0.01
        kept._remember(ParsedToken("session", ONE, n.to_bytes(4)), Asked(), replace(resolved))
        assert len(kept._recent) <= 101
    assert kept.recent(ParsedToken("session", ONE, (999).to_bytes(4)), Asked(), NOW) is not None
    now += authenticate.RECENT_SECONDS
    assert kept.recent(ParsedToken("session", ONE, (999).to_bytes(4)), Asked(), NOW) is None

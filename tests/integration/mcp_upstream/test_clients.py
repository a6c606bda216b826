"""As whom authorization servers are asked: one registration a tenant and issuer, bounded, and forgotten in time."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.accounts.upstream_oauth import clients as module
from broker.accounts.upstream_oauth.clients import OurClient, UpstreamClients
from broker.accounts.upstream_oauth.redirects import Redirects, issuer_id
from broker.db.database import Database
from broker.errors import Problem
from broker.ids import new_id
from broker.jobs.forgetting import CLIENTS_KEPT, CLIENTS_TRIED, Forgetting
from connectors.base import RawAnswer
from connectors.mcp_upstream.oauth.discovery import SignIn
from tests.integration.accounts.world import World, make

BASE = "https://k.example"
ISSUER = "https://as.example.com"
SIGN_IN = SignIn(
    resource="https://mcp.example.com/mcp",
    scope=None,
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/authorize",
    token_endpoint=f"{ISSUER}/token",
    registration_endpoint=f"{ISSUER}/register",
    revocation_endpoint=None,
    methods=("none",),
    documents=False,
    names_itself=False,
)


class Registrar:
    """Takes every client."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def send(self, **request: Any) -> RawAnswer:
        self.asked.append(json.loads(request["body"]))
        await asyncio.sleep(0.05)
        return RawAnswer(201, {}, json.dumps({"client_id": f"made-{len(self.asked)}"}).encode())


class Stand:
    """One tenant's clients."""

    def __init__(self, world: World, tenant_id: Any) -> None:
        base = world.base
        self.world = world
        self.tenant_id = tenant_id
        self.connection_id = new_id()
        self.http = Registrar()
        self.clients = UpstreamClients(
            db=world.db, vault_=base.sealed_storage, trail=base.trail, clock=base.clock, redirects=Redirects(BASE)
        )

    async def client(self, **other: Any) -> OurClient:
        sign_in = replace(SIGN_IN, **other)
        return await self.clients.client(self.http, self.tenant_id, self.connection_id, sign_in)

    async def kept(self) -> set[str]:
        rows = await self.world.rows("select issuer from broker.upstream_clients where tenant_id = :t")
        return {row.issuer for row in rows}


@pytest_asyncio.fixture
async def stand(db: Database, tmp_path: Path) -> AsyncIterator[Stand]:
    async with make(db, tmp_path) as world:
        yield Stand(world, (await world.admin()).tenant_id)


async def test_each_issuer_has_an_address_of_its_own(stand: Stand) -> None:
    first, other = await stand.client(), await stand.client(issuer=f"{ISSUER}/tenant")
    assert first.redirect_uri == f"{BASE}/upstream/callback/{issuer_id(ISSUER)}"
    assert first.redirect_uri != other.redirect_uri
    assert [asked["redirect_uris"] for asked in stand.http.asked] == [[first.redirect_uri], [other.redirect_uri]]


async def test_our_document_only_goes_to_who_names_itself(stand: Stand) -> None:
    """Anybody may pass a document on. Its answers are told apart by `iss`, so without one there is none."""
    named = await stand.client(documents=True, names_itself=True)
    id_ = issuer_id(ISSUER)
    assert named.client.client_id == f"{BASE}/upstream/client/{id_}.json"
    assert stand.http.asked == []
    published = stand.clients.redirects.published(id_)
    assert (published["client_id"], published["redirect_uris"]) == (named.client.client_id, [named.redirect_uri])
    silent = await stand.client(documents=True, names_itself=False)
    assert silent.client.client_id == "made-1"
    assert silent.redirect_uri not in published["redirect_uris"], "no document leads to where silence is taken"
    for odd in ("x", id_.upper(), f"{id_}0", "../" + id_):
        with pytest.raises(Problem):
            stand.clients.redirects.published(odd)


async def test_who_signs_in_at_the_same_time_registers_once(stand: Stand) -> None:
    found = await asyncio.gather(*[stand.client() for _ in range(5)])
    assert {ours.client.client_id for ours in found} == {"made-1"}
    assert len(stand.http.asked) == 1


async def test_a_tenant_full_of_attempts_still_registers(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 2)
    for n in (1, 2):
        await stand.client(issuer=f"{ISSUER}/{n}")
    await stand.clients.used(stand.tenant_id, f"{ISSUER}/1")
    with pytest.raises(Problem) as caught:
        await stand.client(issuer=f"{ISSUER}/3")
    assert caught.value.code == "rate_limited"
    stand.world.base.clock.at += module.UNUSED + timedelta(minutes=1)
    await stand.client(issuer=f"{ISSUER}/3")
    assert await stand.kept() == {f"{ISSUER}/1", f"{ISSUER}/3"}, "one that serves stays"


async def test_what_was_given_up_is_forgotten(stand: Stand) -> None:
    clock = stand.world.base.clock
    forgetting = Forgetting(stand.world.db, clock)
    for issuer in ("tried", "served"):
        await stand.client(issuer=f"{ISSUER}/{issuer}")
    await stand.clients.used(stand.tenant_id, f"{ISSUER}/served")
    body = {"issuer": ISSUER, "client_id": "ours"}
    place = "insert into broker.upstream_clients (tenant_id, place, issuer, sealed, created_at) "
    await stand.world.execute(f"{place} values (:t, 'connection:x', :i, '', :at)", i=body["issuer"], at=clock.now())
    clock.at += CLIENTS_TRIED + timedelta(minutes=1)
    await forgetting.upstream_clients()
    assert await stand.kept() == {ISSUER, f"{ISSUER}/served"}
    clock.at += CLIENTS_KEPT
    await forgetting.upstream_clients()
    assert await stand.kept() == {ISSUER}, "what an admin set stays"


async def test_sign_ins_that_nobody_came_back_from_are_forgotten(stand: Stand) -> None:
    clock = stand.world.base.clock
    for n, lasts in ((1, 600), (2, 1200)):
        await stand.world.execute(
            "insert into broker.upstream_sign_ins (tenant_id, state_hash, browser_hash, identity_id, connection_id, "
            "sealed, created_at, expires_at) values (:t, :h, :h, :c, :c, '', :at, :until)",
            h=bytes([n]) * 32,
            c=stand.connection_id,
            at=clock.now(),
            until=clock.now() + timedelta(seconds=lasts),
        )
    clock.at += timedelta(seconds=601)
    assert await Forgetting(stand.world.db, clock).sign_ins() >= 1
    rows = await stand.world.rows("select state_hash from broker.upstream_sign_ins where tenant_id = :t")
    assert [bytes(row.state_hash) for row in rows] == [bytes([2]) * 32]

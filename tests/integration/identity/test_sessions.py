"""Sessions: for active identities, within the minter's reach and lifetime, seen and ended by whoever may."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from broker.db import functions
from broker.domain import Access
from broker.errors import Problem
from tests.integration.identity.world import ALL, World, refused


async def test_an_admins_session_is_the_identity(world: World) -> None:
    await world.identity()
    made = await world.session()
    assert made["mcp_url"] == f"https://k.test/t/{world.tenant}/mcp"
    assert made["expires_at"] == world.clock.now() + timedelta(seconds=900)
    caller = await world.caller(made["token"])
    assert caller.identity is not None
    assert (caller.identity.identifier, caller.bearer.kind, caller.on_behalf_of) == ("priya", "session", False)
    await refused(world.caller(made["token"], identifier="tom"), "forbidden")
    world.clock.forward(seconds=1)
    shown = (await world.sessions.list(await world.caller(), ALL)).items
    assert [s["id"] for s in shown] == [made["id"]]
    assert "token" not in shown[0]
    assert shown[0]["client"] == "tests/1"


@pytest.mark.parametrize("ttl", [0, 59, 86_401, -1])
async def test_lifetimes_are_bounded(world: World, ttl: int) -> None:
    await world.identity()
    await refused(world.session(ttl_seconds=ttl), "invalid_input", "ttl_seconds")


async def test_who_may_mint_for_whom(world: World) -> None:
    await world.identity()
    await world.identity("tom")
    listed = await world.caller((await world.key(identifiers=["priya"]))["key"])
    everyone = await world.caller((await world.key(identifiers=["*"]))["key"])
    auditor = await world.caller((await world.key(kind="operator", role="auditor"))["key"])
    assert (await world.session(listed))["identifier"] == "priya"
    assert (await world.session(everyone, "tom"))["identifier"] == "tom"
    await refused(world.session(listed, "tom"), "forbidden")
    # Not even whether it exists is said.
    await refused(world.session(listed, "nobody"), "forbidden")
    await refused(world.session(auditor), "forbidden")
    await refused(world.session(everyone, None), "invalid_input", "identifier")
    await refused(world.session(None, "nobody"), "unknown_identity")


async def test_connections_must_exist(world: World) -> None:
    await world.identity()
    await world.connection("cloudflare")
    problem = await refused(world.session(connections=["cloudflar"]), "unknown_connection")
    assert "`cloudflare`" in (problem.hint or "")
    agent = await world.caller((await world.key(identifiers=["priya"]))["key"])
    problem = await refused(world.session(agent, connections=["cloudflar"]), "unknown_connection")
    assert problem.hint is None
    await refused(world.session(connections=["Not One"]), "invalid_input", "connections.0")
    assert (await world.session(connections=[]))["connections"] == []


RANK: tuple[Access, ...] = ("read", "write", "destructive")


@pytest.mark.parametrize("parent", [None, *RANK])
@pytest.mark.parametrize("child", [None, *RANK])
async def test_a_child_never_has_more_access(world: World, parent: Access | None, child: Access | None) -> None:
    await world.identity()
    caller = await world.caller((await world.session(access=parent))["token"])
    attempt = world.session(caller, None, access=child)
    if parent is not None and child is not None and RANK.index(child) > RANK.index(parent):
        await refused(attempt, "forbidden")
        return
    made = await world.caller((await attempt)["token"])
    assert made.bearer.restrictions.access == (parent if child is None else child)


async def test_a_child_never_reaches_further(world: World) -> None:
    await world.identity()
    await world.identity("tom")
    for name in ("one", "two", "three"):
        await world.connection(name)
    parent = await world.caller((await world.session(connections=["one", "two"]))["token"])
    await refused(world.session(parent, None, connections=["three"]), "forbidden")
    await refused(world.session(parent, "tom"), "forbidden")
    inherited = await world.caller((await world.session(parent, None))["token"])
    assert inherited.bearer.restrictions.connections == ("one", "two")
    narrower = await world.caller((await world.session(parent, "priya", connections=["two"]))["token"])
    assert narrower.bearer.restrictions.connections == ("two",)
    none = await world.caller((await world.session(parent, None, connections=[]))["token"])
    assert none.bearer.restrictions.connections == ()


async def test_a_child_never_lives_longer(world: World) -> None:
    await world.identity()
    made = await world.session(ttl_seconds=120)
    parent = await world.caller(made["token"])
    problem = await refused(world.session(parent, None, ttl_seconds=121), "invalid_input", "ttl_seconds")
    assert "at most 120" in problem.detail
    assert (await world.session(parent, None))["expires_at"] == made["expires_at"]
    assert (await world.session(parent, None, ttl_seconds=60))["expires_at"] < made["expires_at"]


async def test_who_sees_and_ends_which(world: World) -> None:
    await world.identity()
    key = await world.key(identifiers=["priya"])
    agent = await world.caller(key["key"])
    mine = await world.session(agent)
    child = await world.session(await world.caller(mine["token"]), None)
    foreign = await world.session()
    assert {s["id"] for s in (await world.sessions.list(agent, ALL)).items} == {mine["id"], child["id"]}
    session = await world.caller(mine["token"])
    assert {s["id"] for s in (await world.sessions.list(session, ALL)).items} == {mine["id"], child["id"]}
    youngest = await world.caller(child["token"])
    assert {s["id"] for s in (await world.sessions.list(youngest, ALL)).items} == {child["id"]}
    for caller in (agent, session, youngest):
        await refused(world.sessions.revoke(caller, foreign["id"]), "not_found")
    await refused(world.sessions.revoke(youngest, mine["id"]), "not_found")
    gone = await world.sessions.revoke(session, mine["id"])
    assert gone["also_revoked"] == [child["id"]]
    await refused(world.caller(mine["token"]), "unauthenticated")
    left = (await world.sessions.list(await world.caller(), ALL, identifier="priya")).items
    assert [s["id"] for s in left] == [foreign["id"]]
    assert len((await world.sessions.list(await world.caller(), ALL, ended=True)).items) == 3


async def test_a_disabled_identity_gets_none(world: World) -> None:
    await world.identity()
    await world.offboarding.offboard(await world.caller(), "priya", reason="left", drain_seconds=0)
    await refused(world.session(), "identity_disabled")


async def test_another_tenants_session_is_not_found(world: World) -> None:
    await world.identity()
    made = await world.session()
    await refused(world.sessions.revoke(await world.platform(), made["id"]), "not_found")
    assert (await world.sessions.revoke(await world.platform(world.tenant), made["id"]))["revoked_at"]


@pytest.mark.parametrize("kind", ["identity", "bearer"])
async def test_minting_waits_for_a_revocation_under_way_and_sees_it(world: World, kind: str) -> None:
    """Minting stands behind the very lock that a revocation holds, and looks again when it gets it."""
    identity = await world.identity()
    agent = await world.caller((await world.key(identifiers=["priya"]))["key"])
    locked: dict[str, Any] = {
        "identity": UUID(identity["id"]),
        "bearer": agent.bearer.root_id,
    }
    flip = {
        "identity": "update broker.identities set status = 'disabled' where id = :id",
        "bearer": "update broker.bearers set revoked_at = now() where id = :id",
    }[kind]
    async with world.db.tenant(agent.tenant_id) as conn:
        lock = text(functions.call("select broker.gate_lock{v}(:kind, :id, true)"))
        await conn.execute(lock, {"kind": kind, "id": locked[kind]})
        minting = asyncio.ensure_future(world.session(agent))
        await asyncio.sleep(0.2)
        assert not minting.done()
        await conn.execute(text(flip), {"id": UUID(identity["id"]) if kind == "identity" else agent.bearer.id})
    await refused(minting, {"identity": "identity_disabled", "bearer": "unauthenticated"}[kind])


async def test_revoking_and_minting_at_once_leaves_no_orphan(world: World) -> None:
    """However they interleave: after the key's revoke has returned, no session of it is alive."""
    await world.identity()
    for _ in range(5):
        key = await world.key(identifiers=["priya"])
        agent = await world.caller(key["key"])
        admin = await world.caller()
        minting = [asyncio.ensure_future(world.session(agent)) for _ in range(4)]
        await asyncio.sleep(0.004)
        await world.keys.revoke(admin, key["id"])
        for made in await asyncio.gather(*minting, return_exceptions=True):
            if isinstance(made, dict):
                await refused(world.caller(made["token"]), "unauthenticated")
            else:
                assert isinstance(made, Problem)
                assert made.code == "unauthenticated"

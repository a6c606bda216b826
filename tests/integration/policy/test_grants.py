"""Grants in the database: in force for the very next call, checked field by field, audited, taken away in one act."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from broker.db import functions
from broker.policy.grants import insert_default, operation_patterns
from broker.policy.spec import GrantSpec
from tests.integration.identity.world import ALL, World, refused


async def grant(world: World, **spec: Any) -> dict[str, Any]:
    whole = {"connection_name": "cloudflare", "access": "read", "identifier": "priya", **spec}
    return await world.grants.create(await world.caller(), GrantSpec(**whole))


async def applies(world: World, identifier: str = "priya") -> set[str]:
    """The ids of the grants that the look-up of a call finds."""
    resolved = await world.resolve(world.admin_token, identifier=identifier, connection="cloudflare")
    return {str(g.id) for g in resolved.grants}


async def test_a_grant_reaches_its_subject_from_the_next_call_on(world: World) -> None:
    await world.identity(groups=["dns"])
    await world.identity("tom")
    await world.connection()
    before = await world.policy_version()
    mine = await grant(world)
    group = await grant(world, identifier=None, group="dns")
    everyone = await grant(world, identifier=None, everyone=True)
    assert await applies(world) == {mine["id"], group["id"], everyone["id"]}
    assert await applies(world, "tom") == {everyone["id"]}
    assert await world.policy_version() == before + 3
    await world.identities.change(await world.caller(), "priya", {"groups": []}, None)
    assert await applies(world) == {mine["id"], everyone["id"]}


async def test_what_was_asked_is_what_is_stored(world: World) -> None:
    await world.identity()
    await world.connection()
    made = await grant(
        world,
        tools=["cloudflare_call", "cloudflare_*"],
        access="write",
        operations=["* /zones/*/dns_records/**", "zones-get", "zones-get"],
        zones=["z1"],
        account="shared",
        expires_at=world.clock.now() + timedelta(days=1),
    )
    assert made["operations"] == ["* /zones/*/dns_records/**", "zones-get"]
    assert made["resources"] == {"accounts": None, "zones": ["z1"]}
    [found] = (await world.resolve(world.admin_token, identifier="priya", connection="cloudflare")).grants
    assert (found.tools, found.access, found.account) == (("cloudflare_call", "cloudflare_*"), "write", "shared")
    assert (found.accounts, found.zones) == (None, ("z1",))
    assert found.expires_at == made["expires_at"]
    last = (await world.changes())[-1]
    assert (last["operation"], last["identifier"], last["connection_name"]) == ("grant.created", "priya", "cloudflare")
    assert last["body"]["summary"]["grant_id"] == made["id"]
    assert made["created_by"] == "operator:first admin"


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"identifier": None}, "subject"),
        ({"group": "dns"}, "subject"),
        ({"identifier": None, "group": "not ok"}, "subject.group"),
        ({"connection_name": "Not One"}, "connection_name"),
        ({"tools": ["ok ok"]}, "tools.0"),
        ({"tools": ["cloudflare_call", "github_call"]}, "tools.1"),
        ({"operations": ["GET /zones", "GET zones"]}, "operations.1"),
        ({"operations": ["GET /zones", "GET /zones/"]}, "operations.1"),
        ({"operations": ["GET /zones/a*"]}, "operations.0"),
        ({"operations": ["/zones"]}, "operations.0"),
        ({"zones": ["z 1"]}, "resources.zones.0"),
        ({"accounts": ["\x00"]}, "resources.accounts.0"),
        ({"zones": [f"z{n}" for n in range(201)]}, "resources.zones"),
    ],
)
async def test_every_wrong_field_is_named(world: World, spec: dict[str, Any], path: str) -> None:
    await world.identity()
    await world.connection()
    await refused(grant(world, **spec), "invalid_input", path)


async def test_what_it_names_must_exist(world: World) -> None:
    await world.identity()
    await world.connection()
    problem = await refused(grant(world, connection_name="cloudflar"), "unknown_connection")
    assert "`cloudflare`" in (problem.hint or "")
    problem = await refused(grant(world, identifier="prija"), "unknown_identity")
    assert "`priya`" in (problem.hint or "")
    for wrong in (timedelta(0), timedelta(days=-1)):
        await refused(grant(world, expires_at=world.clock.now() + wrong), "invalid_input", "expires_at")


async def test_deleting_takes_effect_and_names_what_is_open(world: World) -> None:
    identity = UUID((await world.identity(groups=["dns"]))["id"])
    other = UUID((await world.identity("tom"))["id"])
    connection = await world.connection()
    account = await world.account(connection, identity)
    mine, group = await grant(world), await grant(world, identifier=None, group="dns")
    everyone = await grant(world, identifier=None, everyone=True)
    _, hers = await world.open_call(connection, account, identity)
    _, toms = await world.open_call(connection, await world.account(connection, other), other)
    admin, before = await world.caller(), await world.policy_version()
    assert (await world.grants.delete(admin, mine["id"]))["in_flight"] == [str(hers)]
    assert (await world.grants.delete(admin, group["id"]))["in_flight"] == [str(hers)]
    assert set((await world.grants.delete(admin, everyone["id"]))["in_flight"]) == {str(hers), str(toms)}
    assert await applies(world) == set()
    assert await world.policy_version() == before + 3
    assert [c["operation"] for c in (await world.changes())[-3:]] == ["grant.deleted"] * 3


async def test_deleting_twice_answers_the_first_time(world: World) -> None:
    await world.identity()
    await world.connection()
    made = await grant(world)
    first = await world.grants.delete(await world.caller(), made["id"])
    world.clock.forward(minutes=1)
    again = await world.grants.delete(await world.caller(), made["id"])
    assert again["revoked_at"] == first["revoked_at"]
    assert [c["operation"] for c in await world.changes()].count("grant.deleted") == 1
    for nothing in ("no", str(UUID(int=5))):
        await refused(world.grants.delete(await world.caller(), nothing), "not_found")


async def test_a_change_waits_for_admissions_under_way(world: World) -> None:
    """Whoever holds the tenant's lock shared, as `admit` does, finishes first."""
    await world.identity()
    await world.connection()
    caller = await world.caller()
    async with world.db.tenant(caller.tenant_id) as conn:
        lock = text(functions.call("select broker.gate_lock{v}('tenant', :id, false)"))
        await conn.execute(lock, {"id": caller.tenant_id})
        making = asyncio.ensure_future(grant(world))
        await asyncio.sleep(0.2)
        assert not making.done()
    assert (await making)["id"] in await applies(world)


async def test_lists_and_filters(world: World) -> None:
    await world.identity()
    await world.connection()
    await world.connection("second")
    mine = await grant(world)
    group = await grant(world, identifier=None, group="dns", connection_name="second")
    gone = await grant(world, operations=[])
    await world.grants.delete(await world.caller(), gone["id"])
    admin = await world.caller()

    async def ids(**filters: str) -> list[str]:
        return [g["id"] for g in (await world.grants.list(admin, ALL, **filters)).items]

    assert set(await ids()) == {mine["id"], group["id"]}
    assert await ids(connection_name="second") == [group["id"]]
    assert await ids(identifier="priya") == [mine["id"]]
    assert await ids(group="dns") == [group["id"]]
    assert await ids(group="none") == []
    for nonsense in ({"identifier": "\x00"}, {"group": "a b"}, {"connection_name": "\n"}):
        await refused(world.grants.list(admin, ALL, **nonsense), "invalid_input")


async def test_only_admins_touch_grants(world: World) -> None:
    await world.identity()
    await world.connection()
    made = await grant(world)
    auditor = await world.caller((await world.key(kind="operator", role="auditor"))["key"])
    session = await world.caller((await world.session())["token"])
    agent = await world.caller((await world.key(identifiers=["*"]))["key"])
    spec = GrantSpec(connection_name="cloudflare", access="read", everyone=True)
    for caller in (auditor, session, agent):
        await refused(world.grants.create(caller, spec), "forbidden")
        await refused(world.grants.list(caller, ALL), "forbidden")
        await refused(world.grants.delete(caller, made["id"]), "forbidden")


async def test_another_tenants_grant_is_not_there(world: World) -> None:
    await world.identity()
    await world.connection()
    made = await grant(world)
    platform = await world.platform()
    await refused(world.grants.delete(platform, made["id"]), "not_found")
    assert (await world.grants.list(platform, ALL)).items == []
    assert made["id"] in await applies(world)


async def test_what_connections_use(world: World) -> None:
    await world.identity()
    connection = await world.connection()
    caller = await world.caller()
    async with world.db.tenant(caller.tenant_id) as conn:
        assert await operation_patterns(conn, caller.tenant_id, connection) == []
    await grant(world, operations=["GET /zones", "zones-get"])
    await grant(world, operations=["GET /zones"])
    async with world.db.tenant(caller.tenant_id) as conn:
        assert await operation_patterns(conn, caller.tenant_id, connection) == ["GET /zones", "zones-get"]
        made = await insert_default(conn, world.trail, caller, connection, "cloudflare", world.clock.now())
    async with world.db.tenant(caller.tenant_id) as conn:
        assert await operation_patterns(conn, caller.tenant_id, connection) is None
    assert str(made) in await applies(world)

"""Keys: no authority and no lifetime beyond the minter's, shown once, ended with what they minted."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from broker.errors import Problem
from tests.integration.identity.world import ALL, World, refused


async def test_an_agent_key_works_and_its_text_is_nowhere(world: World) -> None:
    await world.identity()
    made = await world.key(name="ci", identifiers=["priya"])
    agent = await world.caller(made["key"], identifier="priya")
    assert agent.identity is not None
    assert agent.identity.identifier == "priya"
    listed = (await world.keys.list(await world.caller(), ALL, kind="agent")).items
    assert [k["id"] for k in listed] == [made["id"]]
    assert "key" not in listed[0]
    secret = made["key"][-38:-6]
    async with world.db.tenant(agent.tenant_id) as conn:
        for table in ("broker.bearers", "audit.events"):
            dump = (await conn.execute(text(f"select string_agg(t::text, ' ') from {table} t"))).scalar_one()
            assert secret not in dump


ROLES = ("auditor", "admin", "platform_admin")


@pytest.mark.parametrize("own", ROLES)
@pytest.mark.parametrize("wanted", ROLES)
async def test_no_key_mints_a_role_above_its_own(world: World, own: str, wanted: str) -> None:
    platform = await world.platform()
    minter = await world.caller((await world.key(platform, kind="operator", role=own))["key"])
    attempt = world.key(minter, kind="operator", role=wanted)
    if own == "auditor" or ROLES.index(wanted) > ROLES.index(own):
        await refused(attempt, "forbidden")
    else:
        assert (await world.caller((await attempt)["key"])).bearer.role == wanted


async def test_a_key_never_outlives_its_minter(world: World) -> None:
    soon = world.clock.now() + timedelta(hours=1)
    minter = await world.caller((await world.key(kind="operator", role="admin", expires_at=soon))["key"])
    late = soon + timedelta(seconds=1)
    await refused(world.key(minter, kind="operator", role="auditor", expires_at=late), "invalid_input", "expires_at")
    assert (await world.key(minter, kind="operator", role="auditor"))["expires_at"] == soon
    sooner = soon - timedelta(minutes=1)
    assert (await world.key(minter, identifiers=["*"], expires_at=sooner))["expires_at"] == sooner


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"kind": "operator"}, "role"),
        ({"kind": "operator", "role": "admin", "identifiers": ["a"]}, "identifiers"),
        ({"kind": "agent"}, "identifiers"),
        ({"kind": "agent", "identifiers": []}, "identifiers"),
        ({"kind": "agent", "identifiers": ["*", "a"]}, "identifiers"),
        ({"kind": "agent", "identifiers": ["a", "b c"]}, "identifiers.1"),
        ({"kind": "agent", "identifiers": ["a"], "role": "admin"}, "role"),
        ({"kind": "agent", "identifiers": [f"i{n}" for n in range(1001)]}, "identifiers"),
        ({"kind": "agent", "identifiers": ["a"], "name": "\x00"}, "name"),
    ],
)
async def test_what_is_no_key_is_refused_by_field(world: World, spec: dict[str, Any], path: str) -> None:
    await refused(world.key(**spec), "invalid_input", path)


async def test_expiry_lies_in_the_future_and_has_a_zone(world: World) -> None:
    now = world.clock.now()
    for wrong in (now, now - timedelta(days=1), (now + timedelta(days=1)).replace(tzinfo=None), now.replace(year=9500)):
        await refused(world.key(identifiers=["a"], expires_at=wrong), "invalid_input", "expires_at")


async def test_keys_for_tenants_are_a_platform_admins_to_give(world: World) -> None:
    await refused(world.key(identifiers=["*"], tenants=[world.tenant]), "forbidden")
    platform = await world.platform()
    await refused(world.key(platform, identifiers=["*"], tenants=["nowhere"]), "invalid_input", "tenants.0")
    abroad = await world.platform(world.tenant)
    await refused(world.key(abroad, identifiers=["*"], tenants=[world.tenant]), "invalid_input", "tenants")
    await refused(world.key(abroad, kind="operator", role="platform_admin"), "invalid_input", "role")
    await world.identity()
    made = await world.key(platform, identifiers=["*"], tenants=[world.tenant])
    there = await world.caller(made["key"], tenant=world.tenant, identifier="priya")
    assert there.tenant_name == world.tenant
    # It mints there, and what it minted there ends with it.
    session = await world.session(await world.caller(made["key"], tenant=world.tenant))
    assert (await world.caller(session["token"])).tenant_name == world.tenant
    gone = await world.keys.revoke(platform, made["id"])
    assert gone["also_revoked"] == [session["id"]]
    await refused(world.caller(session["token"]), "unauthenticated")


async def test_revoking_a_key_ends_its_whole_family_and_nobody_else(world: World) -> None:
    await world.identity()
    middle = await world.caller((await world.key(kind="operator", role="admin", name="middle"))["key"])
    child = await world.key(middle, identifiers=["priya"])
    grandchild = await world.session(await world.caller(child["key"]))
    youngest = await world.session(await world.caller(grandchild["token"]), None)
    sibling = await world.key(identifiers=["priya"])
    gone = await world.keys.revoke(await world.caller(), str(middle.bearer.id))
    assert set(gone["also_revoked"]) == {child["id"], grandchild["id"], youngest["id"]}
    for token in (child["key"], grandchild["token"], youngest["token"]):
        await refused(world.caller(token), "unauthenticated")
    assert (await world.caller(sibling["key"])).bearer.kind == "agent"
    again = await world.keys.revoke(await world.caller(), str(middle.bearer.id))
    assert (again["revoked_at"], again["also_revoked"]) == (gone["revoked_at"], [])


async def test_replacing_a_key_keeps_what_it_minted(world: World) -> None:
    await world.identity()
    old = await world.key(identifiers=["priya"])
    session = await world.session(await world.caller(old["key"]))
    child = await world.session(await world.caller(session["token"]), None)
    gone = await world.keys.revoke(await world.caller(), old["id"], keep_minted=True)
    assert gone["also_revoked"] == []
    for token in (session["token"], child["token"]):
        assert (await world.caller(token)).bearer.kind == "session"
    # The kept ones are still one family below the first of them.
    gone = await world.sessions.revoke(await world.caller(), session["id"])
    assert gone["also_revoked"] == [child["id"]]


async def test_a_stolen_key_cannot_save_its_offspring(world: World) -> None:
    stolen = await world.caller((await world.key(kind="operator", role="admin"))["key"])
    child = await world.key(stolen, kind="operator", role="admin")
    for thief in (stolen, await world.caller(child["key"])):
        await refused(world.keys.revoke(thief, str(stolen.bearer.id), keep_minted=True), "forbidden")
    gone = await world.keys.revoke(await world.caller(), str(stolen.bearer.id))
    assert gone["also_revoked"] == [child["id"]]


async def test_who_may_revoke_what(world: World) -> None:
    platform = await world.platform()
    # An admin at the platform's own home, where platform admins' keys live.
    local = await world.caller((await world.key(platform, kind="operator", role="admin"))["key"])
    await refused(world.keys.revoke(local, str(platform.bearer.id)), "forbidden")
    await refused(world.keys.revoke(await world.caller(), str(platform.bearer.id)), "not_found")
    await refused(world.keys.revoke(await world.caller(), "nothing"), "not_found")
    problem = await refused(world.keys.revoke(platform, str(platform.bearer.id)), "forbidden")
    assert "last platform admin" in problem.detail
    assert (await world.platform()).bearer.id == platform.bearer.id


async def test_a_session_is_not_a_key(world: World) -> None:
    await world.identity()
    session = await world.session()
    await refused(world.keys.revoke(await world.caller(), session["id"]), "not_found")
    assert session["id"] not in {k["id"] for k in (await world.keys.list(await world.caller(), ALL)).items}


async def test_open_executions_of_the_family_are_named(world: World) -> None:
    from uuid import UUID

    identity = await world.identity()
    connection = await world.connection()
    account = await world.account(connection, UUID(identity["id"]))
    key = await world.key(identifiers=["priya"])
    session = await world.session(await world.caller(key["key"]))
    other = await world.session()
    _, mine = await world.open_call(connection, account, UUID(identity["id"]), UUID(session["id"]))
    await world.open_call(connection, account, UUID(identity["id"]), UUID(other["id"]))
    gone = await world.keys.revoke(await world.caller(), key["id"])
    assert gone["in_flight"] == [str(mine)]


async def test_nothing_is_minted_from_a_key_that_was_revoked_meanwhile(world: World) -> None:
    """The caller was authenticated before the revocation and mints after it."""
    await world.identity()
    stale = await world.caller((await world.key(identifiers=["priya"]))["key"])
    await world.keys.revoke(await world.caller(), str(stale.bearer.id))
    await refused(world.session(stale), "unauthenticated")
    operator = await world.caller((await world.key(kind="operator", role="admin"))["key"])
    await world.keys.revoke(await world.caller(), str(operator.bearer.id))
    await refused(world.key(operator, identifiers=["*"]), "unauthenticated")


async def test_no_problem_holds_a_token(world: World) -> None:
    made = await world.key(identifiers=["*"])
    await world.keys.revoke(await world.caller(), made["id"])
    with pytest.raises(Problem) as caught:
        await world.caller(made["key"])
    assert made["key"] not in str(caught.value.as_wire())

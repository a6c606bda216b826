"""Offboarding: one act, everything named, nothing left, and repeatable."""

import asyncio
from uuid import UUID

from broker.gate.revoke import CANCEL_CHANNEL
from tests.integration.identity.world import World, refused


async def test_everything_goes_and_is_named(world: World) -> None:
    identity = UUID((await world.identity())["id"])
    other = UUID((await world.identity("tom"))["id"])
    connection = await world.connection()
    account = await world.account(connection, identity)
    shared, toms = await world.account(connection, None), await world.account(connection, other)
    only_hers = await world.key(identifiers=["priya"])
    both = await world.key(identifiers=["priya", "tom"])
    session = await world.session()
    _, mine = await world.open_call(connection, account, identity)
    _, through_shared = await world.open_call(connection, shared, identity)
    await world.open_call(connection, toms, other)

    report = await world.offboarding.offboard(await world.caller(), "priya", reason="left", drain_seconds=0)

    assert report["sessions"] == [session["id"]]
    assert report["keys"] == [only_hers["id"]]
    assert report["in_flight"] == sorted([str(mine), str(through_shared)])
    assert report["drained"] is False
    [gone] = report["connected_accounts"]
    assert (gone["id"], gone["connection_name"], gone["upstream"]) == (str(account), "cloudflare", "kept")
    assert (gone["in_flight"], gone["drained"]) == ([str(mine)], False)
    await refused(world.caller(session["token"]), "unauthenticated")
    await refused(world.caller(only_hers["key"]), "unauthenticated")
    await refused(world.caller(both["key"], identifier="priya"), "identity_disabled")
    assert (await world.caller(both["key"], identifier="tom")).identity is not None
    last = (await world.changes())[-1]
    assert (str(last["id"]), last["operation"]) == (report["report_id"], "identity.offboarded")
    assert last["body"]["summary"]["reason"] == "left"


async def test_tokens_are_given_back_where_that_is_asked_for(world: World) -> None:
    identity = UUID((await world.identity())["id"])
    await world.account(await world.connection(), identity)
    report = await world.offboarding.offboard(
        await world.caller(), "priya", reason="left", revoke_upstream=True, drain_seconds=0
    )
    assert [account["upstream"] for account in report["connected_accounts"]] == ["deleted"]


async def test_it_waits_for_calls_to_end(world: World) -> None:
    identity = UUID((await world.identity())["id"])
    connection = await world.connection()
    account = await world.account(connection, identity)
    call, _ = await world.open_call(connection, account, identity)

    async def settle_soon() -> None:
        await asyncio.sleep(0.15)
        await world.settle(call)

    settling = asyncio.ensure_future(settle_soon())
    report = await world.offboarding.offboard(await world.caller(), "priya", reason="left", drain_seconds=5)
    await settling
    assert report["drained"] is True
    assert report["connected_accounts"][0]["drained"] is True


async def test_every_process_is_told_to_stop_its_calls(world: World) -> None:
    identity = UUID((await world.identity())["id"])
    connection = await world.connection()
    call, _ = await world.open_call(connection, await world.account(connection, identity), identity)
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with world.db.pool.acquire() as listener:
        hear = lambda *told: heard.put_nowait(told[3])  # noqa: E731
        await listener.add_listener(CANCEL_CHANNEL, hear)
        await world.offboarding.offboard(await world.caller(), "priya", reason="left", drain_seconds=0)
        while str(call) not in await asyncio.wait_for(heard.get(), 5):
            pass
        await listener.remove_listener(CANCEL_CHANNEL, hear)


async def test_repeating_it_is_harmless_and_coming_back_brings_nothing_back(world: World) -> None:
    await world.identity()
    session = await world.session()
    first = await world.offboarding.offboard(await world.caller(), "priya", reason="left")
    again = await world.offboarding.offboard(await world.caller(), "priya", reason="left")
    assert (again["at"], again["sessions"], again["connected_accounts"]) == (first["at"], [], [])
    back = await world.identities.change(await world.caller(), "priya", {"status": "active"}, None)
    assert (back["status"], back["disabled_at"]) == ("active", None)
    await refused(world.caller(session["token"]), "unauthenticated")
    assert (await world.session())["identifier"] == "priya"


async def test_what_is_not_there_is_refused(world: World) -> None:
    admin = await world.caller()
    await world.identity()
    await refused(world.offboarding.offboard(admin, "nobody", reason="left"), "unknown_identity")
    await refused(world.offboarding.offboard(admin, "priya", reason="\x00"), "invalid_input", "reason")
    auditor = await world.caller((await world.key(kind="operator", role="auditor"))["key"])
    await refused(world.offboarding.offboard(auditor, "priya", reason="left"), "forbidden")
    assert (await world.identities.get(admin, "priya"))["status"] == "active"

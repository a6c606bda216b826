"""Connect links over a real database and a simulated upstream: who may make one, and what depositing by one does."""

import asyncio
from datetime import timedelta
from typing import Any

from broker.accounts.links import asker_of
from broker.errors import Problem
from tests.integration.accounts.world import MARCO, PRIYA, while_asked
from tests.integration.identity.world import refused
from tests.integration.pages.conftest import People


def credential(token: str) -> dict[str, Any]:
    return {"kind": "api_token", "token": token}


async def test_a_deposit_by_link_is_the_identitys_own(people: People, good_token: str) -> None:
    world, clock = people.world, people.world.base.clock
    await world.connect()
    await world.grant("read", identifier=PRIYA)
    link = await people.links.peek(await people.ticket(), clock.now())
    account, review = await people.links.deposit(link, credential(good_token))
    assert (account["identifier"], account["status"]) == (PRIYA, "active")
    assert review.source in ("policies", "unknown")
    (connected,) = await world.changed("account.connected")
    assert connected["actor"] == f"session:{PRIYA}"
    (used,) = await world.changed("account.link_used")
    assert "operator:" in str(used["body"])
    (made,) = await world.changed("account.link_created")
    assert made["actor"].startswith("operator:")


async def test_it_is_used_up_by_the_deposit_that_verified(people: People, good_token: str) -> None:
    world, clock = people.world, people.world.base.clock
    await world.connect()
    ticket = await people.ticket()
    link = await people.links.peek(ticket, clock.now())
    await refused(people.links.deposit(link, credential("cfut_" + "x" * 48)), "invalid_input")
    link = await people.links.peek(ticket, clock.now())
    await people.links.deposit(link, credential(good_token))
    await refused(people.links.peek(ticket, clock.now()), "not_found")
    await refused(people.links.deposit(link, credential(good_token)), "rate_limited")


async def test_one_deposit_at_a_time(people: People, good_token: str) -> None:
    world, clock = people.world, people.world.base.clock
    await world.connect()
    link = await people.links.peek(await people.ticket(), clock.now())
    found = await asyncio.gather(
        *(people.links.deposit(link, credential(good_token)) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(f, tuple) for f in found) == 1
    assert {f.code for f in found if isinstance(f, Problem)} == {"rate_limited"}
    assert (await world.everything()) == (1, 1)


async def test_tries_are_bounded(people: People) -> None:
    world, clock = people.world, people.world.base.clock
    await world.connect()
    link = await people.links.peek(await people.ticket(), clock.now())
    for _ in range(20):
        await refused(people.links.deposit(link, credential("short")), "invalid_input")
    await refused(people.links.deposit(link, credential("short")), "rate_limited")


async def test_a_link_left_by_a_crash_is_taken_again(people: People, good_token: str) -> None:
    world, clock = people.world, people.world.base.clock
    await world.connect()
    link = await people.links.peek(await people.ticket(), clock.now())
    await world.execute("update broker.links set claimed_at = :at where tenant_id = :t", at=clock.now())
    await refused(people.links.deposit(link, credential(good_token)), "rate_limited")
    clock.forward(minutes=4)
    await people.links.deposit(link, credential(good_token))


async def test_offboarded_while_the_upstream_is_asked(people: People, good_token: str) -> None:
    world, clock = people.world, people.world.base.clock
    await world.connect()
    link = await people.links.peek(await people.ticket(), clock.now())

    async def offboard() -> None:
        await world.base.offboarding.offboard(await world.admin(), PRIYA, reason="left", drain_seconds=0)

    found = await asyncio.gather(
        while_asked(world, people.links.deposit(link, credential(good_token)), offboard), return_exceptions=True
    )
    assert isinstance(found[0], Problem)
    statuses = await world.rows("select status from broker.accounts where tenant_id = :t")
    assert all(row.status == "revoked" for row in statuses)


async def test_it_expires_and_never_outlives_its_maker(people: People) -> None:
    world, clock = people.world, people.world.base.clock
    await world.connect()
    ticket = await people.ticket()
    await refused(people.links.peek(ticket, clock.now() + timedelta(minutes=15, seconds=1)), "not_found")
    brief = await world.session(ttl_seconds=60)
    made = await people.links.create(await world.base.caller(brief), connection_name="cloudflare", identifier=None)
    assert made["expires_at"] <= clock.now() + timedelta(seconds=61)


async def test_who_may_make_one(people: People) -> None:
    world = people.world
    await world.connect()
    await world.connect("other")
    base = world.base

    async def make(token: str, identifier: str | None, connection: str = "cloudflare") -> dict[str, Any]:
        return await people.links.create(await base.caller(token), connection_name=connection, identifier=identifier)

    session = await world.session()
    assert (await make(session, None))["url"]
    await refused(make(session, MARCO), "forbidden")
    await refused(make(await world.session(access="read"), None), "forbidden")
    await refused(make(await world.session(connections=["other"]), None), "forbidden")
    agent = (await base.key(identifiers=(PRIYA,)))["key"]
    assert (await make(agent, PRIYA))["url"]
    await refused(make(agent, MARCO), "forbidden")
    await refused(make(agent, None), "invalid_input")
    await refused(make(base.admin_token, "nobody"), "unknown_identity")
    await refused(make(base.admin_token, PRIYA, "clodflare"), "unknown_connection")


async def test_another_upstream_user_changes_nothing(people: People, good_token: str, other_token: str) -> None:
    world, clock = people.world, people.world.base.clock
    await world.connect()
    await world.put(good_token)
    link = await people.links.peek(await people.ticket(), clock.now())
    await refused(people.links.deposit(link, credential(other_token)), "principal_changed")
    assert (await people.links.peek(await people.ticket(), clock.now())).identifier == PRIYA


async def test_a_person_revokes_their_own_account_and_nobody_elses(
    people: People, good_token: str, other_token: str
) -> None:
    world = people.world
    await world.connect()
    mine, theirs = await world.put(good_token), await world.put(other_token, identifier=MARCO)
    caller = await world.base.caller(await world.session())
    await refused(people.own.revoke(caller, theirs["id"]), "not_found")
    await refused(people.own.revoke(caller, "x"), "not_found")
    assert (await people.own.revoke(caller, mine["id"]))["connection_name"] == "cloudflare"
    assert (await world.account_of(mine["id"])).status == "revoked"
    assert (await world.account_of(theirs["id"])).status == "active"


async def test_the_offer_follows_the_grants(people: People) -> None:
    world, clock = people.world, people.world.base.clock
    await world.connect()
    link = await people.links.peek(await people.ticket(), clock.now())
    bare = await people.offers.offer(asker_of(link), "cloudflare", clock.now())
    assert (bare.sentence, bare.needed) == (None, ())
    await world.grant("read", identifier=PRIYA, operations=["GET /zones"])
    offer = await people.offers.offer(asker_of(link), "cloudflare", clock.now())
    assert offer.sentence == "You may read, only: GET /zones."
    assert "Zone Read" in offer.needed
    assert not offer.official
    assert offer.form_url is None, "not Cloudflare's own origin"
    await refused(people.offers.offer(asker_of(link), "nothing", clock.now()), "unknown_connection")

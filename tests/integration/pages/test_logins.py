"""Logins and sign-in links over a real database: how they begin, and every way they end."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from broker.accounts.offers import Asker
from broker.errors import Problem
from broker.identity.logins import IDLE, LASTS, Login, NewLogin
from broker.jobs.forgetting import Forgetting
from tests.integration.accounts.world import ALL, MARCO, PRIYA
from tests.integration.identity.world import refused
from tests.integration.pages.conftest import People


async def signed_in(people: People, identifier: str = PRIYA) -> tuple[NewLogin, Login]:
    made = await people.sign_in.use(await people.sign_in_ticket(identifier), people.world.base.clock.now())
    return made, await people.logins.resolve(made.cookie, people.world.base.clock.now())


async def identity_id(people: People, identifier: str = PRIYA) -> Any:
    (row,) = await people.world.rows(
        "select id from broker.identities where tenant_id = :t and identifier = :i", i=identifier
    )
    return row.id


async def test_a_sign_in_link_signs_in_once(people: People) -> None:
    clock = people.world.base.clock
    ticket = await people.sign_in_ticket()
    for _ in range(3):  # looking uses nothing up
        assert (await people.sign_in.peek(ticket, clock.now())).identifier == PRIYA
    made = await people.sign_in.use(ticket, clock.now())
    login = await people.logins.resolve(made.cookie, clock.now())
    assert (login.identifier, login.how) == (PRIYA, "sign_in_link")
    assert login.made_by is not None
    assert login.made_by.startswith("operator:")
    told = await refused(people.sign_in.use(ticket, clock.now()), "not_found")
    assert "used" in told.detail
    await refused(people.sign_in.peek(ticket, clock.now()), "not_found")


async def test_two_at_once_sign_in_once(people: People) -> None:
    now = people.world.base.clock.now()
    ticket = await people.sign_in_ticket()
    found = await asyncio.gather(*(people.sign_in.use(ticket, now) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(f, NewLogin) for f in found) == 1
    assert {f.code for f in found if isinstance(f, Problem)} == {"not_found"}


async def test_making_one_is_audited_as_impersonation(people: People) -> None:
    await signed_in(people)
    changes = {c["operation"]: c for c in await people.world.base.changes()}
    made = changes["identity.sign_in_link_created"]
    assert made["on_behalf_of"] == PRIYA
    assert made["actor"].startswith("operator:")
    assert changes["identity.signed_in"]["actor"] == f"session:{PRIYA}"


async def test_a_tenant_without_impersonation_has_none(people: People) -> None:
    await people.world.execute("update broker.tenants set impersonation = false where id = :t")
    await refused(people.sign_in_ticket(), "forbidden")


async def test_only_admins_make_them(people: People) -> None:
    session = await people.world.base.caller(await people.world.session())
    await refused(people.sign_in.create(session, PRIYA), "forbidden")
    key = await people.world.base.key(identifiers=("*",))
    agent = await people.world.base.caller(key["key"])
    await refused(people.sign_in.create(agent, PRIYA), "forbidden")


async def test_it_expires(people: People) -> None:
    clock = people.world.base.clock
    ticket = await people.sign_in_ticket()
    late = clock.now() + timedelta(minutes=10, seconds=1)
    assert "expired" in (await refused(people.sign_in.peek(ticket, late), "not_found")).detail
    await refused(people.sign_in.use(ticket, late), "not_found")


async def test_offboarding_ends_links_and_logins_for_good(people: People) -> None:
    clock = people.world.base.clock
    await people.world.connect()
    made, _ = await signed_in(people)
    waiting = await people.sign_in_ticket()
    connect = await people.ticket()
    admin = await people.world.admin()
    report = await people.world.base.offboarding.offboard(admin, PRIYA, reason="left")
    assert len(report["sessions"]) >= 3
    await refused(people.logins.resolve(made.cookie, clock.now()), "unauthenticated")
    await people.world.base.identities.change(admin, PRIYA, {"status": "active"}, None)
    await refused(people.logins.resolve(made.cookie, clock.now()), "unauthenticated")
    await refused(people.sign_in.use(waiting, clock.now()), "not_found")
    await refused(people.links.peek(connect, clock.now()), "not_found")


async def test_revoking_the_key_that_made_a_link_ends_it_and_its_login(people: People) -> None:
    base = people.world.base
    key = await base.key(kind="operator", name="helper", role="admin")
    helper = await base.caller(key["key"])
    made = await people.sign_in.create(helper, PRIYA)
    other = await people.sign_in.create(helper, PRIYA)
    login = await people.sign_in.use(str(made["url"]).rpartition("/")[2], base.clock.now())
    await people.logins.resolve(login.cookie, base.clock.now())
    await base.keys.revoke(await base.caller(), key["id"])
    await refused(people.logins.resolve(login.cookie, base.clock.now()), "unauthenticated")
    await refused(people.sign_in.use(str(other["url"]).rpartition("/")[2], base.clock.now()), "not_found")


async def test_a_platform_admin_of_another_tenant_signs_in_here(people: People) -> None:
    base = people.world.base
    made = await people.sign_in.create(await people.world.platform(), PRIYA)
    login = await people.sign_in.use(str(made["url"]).rpartition("/")[2], base.clock.now())
    assert (await people.logins.resolve(login.cookie, base.clock.now())).tenant_name == base.tenant


async def test_a_login_ends_after_an_hour_idle_and_twelve_in_all(people: People) -> None:
    clock = people.world.base.clock
    made, login = await signed_in(people)
    clock.forward(seconds=IDLE.total_seconds() - 60)
    await people.logins.resolve(made.cookie, clock.now())
    clock.forward(seconds=IDLE.total_seconds() - 60)
    await people.logins.resolve(made.cookie, clock.now())
    await refused(people.logins.resolve(made.cookie, clock.now() + IDLE), "session_expired")
    begun = login.at
    while clock.now() < begun + LASTS - timedelta(minutes=40):
        clock.forward(minutes=40)
        await people.logins.resolve(made.cookie, clock.now())
    clock.forward(minutes=40)
    await refused(people.logins.resolve(made.cookie, clock.now()), "session_expired")


async def test_signing_out_ends_it(people: People) -> None:
    clock = people.world.base.clock
    made, login = await signed_in(people)
    await people.logins.end(login, clock.now())
    await refused(people.logins.resolve(made.cookie, clock.now()), "unauthenticated")
    with pytest.raises(Problem):
        await people.offers.caller(Asker(login.token, login.client), clock.now())


async def test_it_is_listed_with_the_sessions_and_ends_with_its_own(people: People) -> None:
    base = people.world.base
    made, login = await signed_in(people)
    admin = await people.world.admin()
    listed = {s["id"]: s for s in (await base.sessions.list(admin, ALL)).items}
    assert "browser login" in listed[str(login.bearer_id)]["client"]
    await base.sessions.revoke(admin, str(login.bearer_id))
    await refused(people.logins.resolve(made.cookie, base.clock.now()), "unauthenticated")


async def test_a_login_of_any_other_way_stands_alone(people: People) -> None:
    base = people.world.base
    admin = await people.world.admin()
    made = await people.logins.begin(admin.tenant_id, await identity_id(people), base.clock.now(), how="oidc")
    login = await people.logins.resolve(made.cookie, base.clock.now())
    assert (login.how, login.made_by) == ("oidc", None)
    resolved = await people.offers.caller(Asker(login.token, login.client), base.clock.now())
    assert resolved.caller.actor == f"session:{PRIYA}"
    await base.offboarding.offboard(admin, MARCO, reason="left")
    await refused(
        people.logins.begin(admin.tenant_id, await identity_id(people, MARCO), base.clock.now(), how="oidc"),
        "identity_disabled",
    )


async def test_cookies_and_tickets_are_stored_as_digests_and_are_no_bearers(people: People) -> None:
    made, _ = await signed_in(people)
    ticket = await people.sign_in_ticket()
    async with people.world.db.tenant((await people.world.admin()).tenant_id) as conn:
        for table in ("logins", "links", "bearers"):
            rows = await conn.execute(text(f"select t::text from broker.{table} t"))
            shown = " ".join(str(row[0]) for row in rows)
            assert made.cookie[20:50] not in shown
            assert ticket[20:50] not in shown
    for value in (made.cookie, ticket):
        with pytest.raises(ValueError, match="not a Keyreeve token"):
            await people.world.base.caller(value)


async def test_too_many_links_wait(people: People) -> None:
    await people.world.connect()
    for _ in range(20):
        await people.ticket()
    await refused(people.ticket(), "rate_limited")
    await people.ticket(MARCO)


async def test_forgotten_with_their_bearers(people: People) -> None:
    """The job that forgets ended sessions takes their logins and links along."""
    await people.world.connect()
    await signed_in(people)
    await people.ticket()
    await people.world.execute(
        "update broker.bearers set expires_at = now() - interval '9 days' where tenant_id = :t and kind = 'session'"
    )
    await Forgetting(people.world.db, people.world.base.clock).sessions()
    for table in ("logins", "links"):
        assert not await people.world.rows(f"select 1 from broker.{table} where tenant_id = :t")

"""The provider says that somebody's session ended: what ends here, and what no junk can do."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text

from broker.errors import Problem
from broker.identity.logins import Login, Logins, NewLogin
from broker.identity.oidc import fetching
from broker.identity.oidc.discovery import Metadata
from broker.identity.oidc.errors import BadToken, OidcFault
from broker.identity.oidc.logouts import AT_ONCE
from broker.identity.oidc.providers import Wanted
from connectors.simulators.oidc.provider import Account
from tests.integration.identity.world import refused
from tests.integration.oidc.conftest import PRIYA, SECRET, Stage


@pytest.fixture
async def linked(stage: Stage) -> Stage:
    await stage.world.identity("priya")
    await stage.set()
    await stage.link()
    return stage


def priya(session: str | None) -> Account:
    return Account(PRIYA.subject, PRIYA.email, name=PRIYA.name, session=session)


async def hear(stage: Stage, token: str | None = None, *, tenant: str | None = None, **said: Any) -> int:
    """Posts a token, or one that says so."""
    made = stage.provider.logout_token("keyreeve", **said) if token is None else token
    where = stage.world.tenant if tenant is None else tenant
    return await stage.oidc.logouts.hear(where, made, stage.world.clock.now())


async def stands(stage: Stage, login: Login) -> bool:
    async with stage.world.db.tenant(login.tenant_id) as conn:
        named = {"t": login.tenant_id, "id": login.bearer_id}
        statement = text("select revoked_at is null from broker.bearers where tenant_id = :t and id = :id")
        return bool(await conn.scalar(statement, named))


async def remembered(stage: Stage) -> int:
    async with stage.world.db.tenant((await stage.world.caller()).tenant_id) as conn:
        return int(await conn.scalar(text("select count(*) from broker.provider_logouts")) or 0)


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ({"session": "s-1"}, {"s-1"}),
        ({"subject": PRIYA.subject, "session": "s-1"}, {"s-1", None}),
        ({"subject": PRIYA.subject}, {"s-1", "s-2", None}),
        ({"session": "s-9"}, set()),
        ({"subject": "somebody-else"}, set()),
        ({"subject": "somebody-else", "session": "s-9"}, set()),
    ],
)
async def test_what_ends(linked: Stage, said: dict[str, str], ends: set[str | None]) -> None:
    """A session that is named, and what may be of it: a sign-in of that person's whose session has no known name."""
    logins = {session: await linked.sign_in(priya(session)) for session in ("s-1", "s-2", None)}
    linked.world.clock.forward(seconds=1)
    assert await hear(linked, **said) == len(ends)
    assert {session for session, login in logins.items() if not await stands(linked, login)} == ends
    told = await linked.told("identity.signed_out_by_provider")
    assert len(told) == bool(ends)
    if ends:
        assert told[0]["identifier"] == "priya"
        assert told[0]["summary"]["signed_out"] == len(ends)
        assert not any(secret in str(told) for secret in (PRIYA.subject, "s-1"))


async def test_what_no_provider_began_stays(linked: Stage) -> None:
    async with linked.world.db.tenant((await linked.world.caller()).tenant_id) as conn:
        identity = await conn.scalar(text("select id from broker.identities where identifier = 'priya'"))
    tenant_id, now = (await linked.world.caller()).tenant_id, linked.world.clock.now()
    by_link = await linked.logins.begin(tenant_id, identity, now, how="sign_in_link")
    assert await hear(linked, subject=PRIYA.subject) == 0
    await linked.logins.resolve(by_link.cookie, now)


async def test_a_token_counts_once(linked: Stage) -> None:
    await linked.sign_in(priya("s-1"))
    token = linked.provider.logout_token("keyreeve", session="s-1")
    found = await asyncio.gather(*(hear(linked, token) for _ in range(5)), return_exceptions=True)
    assert sorted(1 if f == 1 else 0 for f in found) == [0, 0, 0, 0, 1]
    assert {str(f) for f in found if isinstance(f, BaseException)} == {"it was sent before"}
    linked.world.clock.forward(minutes=2, seconds=59)
    with pytest.raises(BadToken, match="before"):
        await hear(linked, token)
    reasons = {c["summary"]["reason"] for c in await linked.told("identity.provider_logout_refused")}
    assert reasons == {"it was sent before"}


async def test_tokens_are_forgotten_when_they_are_good_no_more(linked: Stage) -> None:
    await hear(linked, session="s-1")
    await hear(linked, session="s-2")
    assert await remembered(linked) == 2
    linked.world.clock.forward(minutes=11, seconds=1)
    await hear(linked, session="s-3")
    assert await remembered(linked) == 1


async def test_a_session_that_ended_signs_nobody_in_any_more(linked: Stage) -> None:
    """A code that was made while the session stood, brought when it stands no longer."""
    linked.provider.current = priya("s-1")
    started = await linked.begin()
    answer = await linked.visit(started)
    await hear(linked, session="s-1")
    linked.world.clock.forward(seconds=5)
    problem = await refused(linked.finish(started, answer), "forbidden")
    assert "meanwhile" in problem.detail
    assert (await linked.sign_in(priya("s-2"))).identifier == "priya"


async def test_nor_does_a_person_of_before(linked: Stage) -> None:
    await hear(linked, subject=PRIYA.subject)
    for session in ("s-1", None):
        await refused(linked.sign_in(priya(session)), "forbidden")
    linked.world.clock.forward(seconds=1)
    for session in ("s-1", None):
        assert (await linked.sign_in(priya(session))).identifier == "priya"


async def test_a_sign_in_under_way_is_ended_with_the_others(linked: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The logout comes when the person is proven, and their login not committed."""
    linked.provider.current = priya("s-1")
    started = await linked.begin()
    answer = await linked.visit(started)
    begun, go_on = asyncio.Event(), asyncio.Event()
    begin_in = Logins.begin_in

    async def slowly(*given: Any, **more: Any) -> Any:
        made = await begin_in(*given, **more)
        begun.set()
        await go_on.wait()
        return made

    monkeypatch.setattr(Logins, "begin_in", slowly)
    finishing = asyncio.create_task(linked.finish(started, answer))
    await asyncio.wait_for(begun.wait(), 30)
    hearing = asyncio.create_task(hear(linked, session="s-1"))
    async with asyncio.timeout(30), linked.world.db.platform() as conn:
        while not hearing.done() and not await conn.scalar(text("select count(*) from pg_locks where not granted")):
            await asyncio.sleep(0.01)
    go_on.set()
    made = await finishing
    assert isinstance(made, NewLogin)
    assert await hearing == 1
    await refused(linked.logins.resolve(made.cookie, linked.world.clock.now()), "unauthenticated")


async def test_an_unknown_issuer_costs_nothing(linked: Stage) -> None:
    token = linked.provider.logout_token("keyreeve", session="s-1")
    linked.provider.lies = {"another issuer"}
    other = linked.provider.logout_token("keyreeve", session="s-1")
    asked = list(linked.provider.asked)
    for tenant, given in ((linked.world.tenant, other), ("nobody-here", token), ("", token), ("x\x00", token)):
        with pytest.raises(BadToken, match="no issuer"):
            await hear(linked, given, tenant=tenant)
    for junk in ("", "a.b.c", "x" * 20_000, "e30.e30.e30"):
        with pytest.raises(BadToken):
            await hear(linked, junk)
    assert linked.provider.asked == asked
    assert await linked.told("identity.provider_logout_refused") == []


async def test_a_flood_of_junk_keeps_no_true_one_out(linked: Stage) -> None:
    login = await linked.sign_in(priya("s-1"))
    asked = linked.provider.asked.count("/keys")
    linked.provider.lies = {"unknown key id"}
    junk = [linked.provider.logout_token("keyreeve", session="s-1") for _ in range(60)]
    linked.provider.lies = set()
    true = linked.provider.logout_token("keyreeve", session="s-1")
    found = await asyncio.gather(*(hear(linked, one) for one in [*junk, true]), return_exceptions=True)
    assert found[-1] == 1
    assert all(isinstance(f, BadToken) for f in found[:-1])
    assert not await stands(linked, login)
    assert linked.provider.asked.count("/keys") <= asked + 1
    assert len(await linked.told("identity.provider_logout_refused")) == 20


async def test_no_tenant_waits_for_anothers_provider(linked: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    login = await linked.sign_in(priya("s-1"))
    platform = await linked.world.platform()
    await linked.oidc.providers.put(platform, Wanted(linked.provider.issuer, "elsewhere", SECRET))
    monkeypatch.setattr(linked.provider, "issuer", "http://slow.test")
    async with linked.world.db.tenant(platform.tenant_id) as conn:
        slow = {"issuer": linked.provider.issuer}
        await conn.execute(text("update broker.sign_in_providers set issuer = :issuer"), slow)
    theirs = [linked.provider.logout_token("elsewhere", session="s-1") for _ in range(AT_ONCE)]
    monkeypatch.undo()
    asking, answered, real = asyncio.Semaphore(0), asyncio.Event(), fetching.Documents.metadata

    async def metadata(self: fetching.Documents, issuer: str, now: datetime) -> Metadata:
        if issuer == slow["issuer"]:
            asking.release()
            await answered.wait()
        return await real(self, issuer, now)

    monkeypatch.setattr(fetching.Documents, "metadata", metadata)
    waiting = asyncio.gather(*(hear(linked, one, tenant=linked.world.home) for one in theirs), return_exceptions=True)
    try:
        async with asyncio.timeout(30):
            for _ in theirs:
                await asking.acquire()
            assert await hear(linked, session="s-1") == 1
    finally:
        answered.set()
        assert all(isinstance(fault, OidcFault) for fault in await waiting)
    assert not await stands(linked, login)


async def test_keys_may_rotate(linked: Stage) -> None:
    await linked.sign_in(priya("s-1"))
    linked.world.clock.forward(seconds=fetching.AGAIN.total_seconds())
    linked.provider.rotate("ES256")
    assert await hear(linked, session="s-1") == 1


async def test_another_tenants_provider_ends_nothing_here(linked: Stage) -> None:
    """The same provider, another client: a token made for the one is not heard by the other."""
    login = await linked.sign_in(priya("s-1"))
    platform = await linked.world.platform()
    await linked.oidc.providers.put(platform, Wanted(linked.provider.issuer, "elsewhere", SECRET))
    theirs = linked.provider.logout_token("elsewhere", subject=PRIYA.subject, session="s-1")
    with pytest.raises(BadToken, match="another client"):
        await hear(linked, theirs)
    assert await hear(linked, theirs, tenant=linked.world.home) == 0
    assert await stands(linked, login)


async def test_a_suspended_tenant_hears_too(linked: Stage) -> None:
    """Else the login would be back when the tenant is."""
    login = await linked.sign_in(priya("s-1"))
    async with linked.world.db.platform() as conn:
        await conn.execute(
            text("update broker.tenants set status = 'suspended' where name = :n"), {"n": linked.world.tenant}
        )
    assert await hear(linked, session="s-1") == 1
    assert not await stands(linked, login)


async def test_a_provider_that_is_gone_says_nothing(linked: Stage) -> None:
    await linked.oidc.providers.delete(await linked.world.caller())
    with pytest.raises(BadToken):
        await hear(linked, session="s-1")


async def test_a_session_of_another_kind_is_no_sign_in(linked: Stage) -> None:
    odd = priya("s-1")
    odd.session = 7  # type: ignore[assignment]
    with pytest.raises(Problem):
        await linked.sign_in(odd)

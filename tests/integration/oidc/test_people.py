"""Who becomes which identity: by the subject alone, but for the first time where an admin chose so."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from broker.db.paging import PageRequest
from broker.errors import Problem
from broker.identity.logins import Login, Logins
from broker.identity.oidc.providers import Wanted
from connectors.simulators.oidc.provider import Account
from tests.integration.identity.world import refused
from tests.integration.oidc.conftest import PRIYA, SECRET, Stage

BY_EMAIL: dict[str, Any] = {"link_by_email": True, "allowed_domains": ["acme.example"]}
CREATING: dict[str, Any] = {"create_identities": True, "allowed_domains": ["acme.example"]}


async def links(stage: Stage) -> dict[str, str]:
    found = await stage.oidc.people.list(await stage.world.caller(), PageRequest(100))
    return {link["identifier"]: link["subject"] for link in found.items}


async def test_an_address_alone_is_nobody(stage: Stage) -> None:
    """The takeover that must not work: an address like an identity's, at a provider where anybody may claim one."""
    await stage.world.identity("priya@acme.example", email="priya@acme.example")
    await stage.set()
    problem = await refused(stage.sign_in(), "forbidden")
    assert PRIYA.subject in str(problem.hint)
    assert await links(stage) == {}


async def test_by_a_verified_address_once_and_by_the_subject_ever_after(stage: Stage) -> None:
    await stage.world.identity("priya", email="Priya@acme.example")
    await stage.set(**BY_EMAIL)
    assert (await stage.sign_in()).identifier == "priya"
    assert await links(stage) == {"priya": "priya-1"}
    assert (await stage.sign_in(Account("priya-1", "renamed@elsewhere.example"))).identifier == "priya"
    # The address went to somebody else at the provider: that is not Priya.
    await refused(stage.sign_in(Account("newcomer", "priya@acme.example")), "forbidden")
    assert await links(stage) == {"priya": "priya-1"}
    (told,) = await stage.told("identity.sign_in_linked")
    assert told["actor"].startswith("oidc:")


async def test_an_address_that_does_not_count(stage: Stage) -> None:
    for name in ("acme.example", "evil.example", "sub.acme.example"):
        await stage.world.identity(f"priya@{name}")
    await stage.set(**BY_EMAIL)
    for account in (
        Account("x", "priya@acme.example", email_verified=False),
        Account("x", "priya@acme.example", email_verified="true"),
        Account("x", "priya@acme.example", email_verified=None),
        Account("x", "priya@evil.example"),
        Account("x", "priya@sub.acme.example"),
        Account("x", "priya@acme.example.evil.example"),
        Account("x", "priya@evil.example@acme.example"),
        Account("x", "priyа@acme.example"),  # a Cyrillic а
        Account("x", None),
        Account("x", "nobody@acme.example"),
    ):
        await refused(stage.sign_in(account), "forbidden")
        assert await links(stage) == {}, account


async def test_two_identities_of_one_address_are_nobodys(stage: Stage) -> None:
    await stage.world.identity("priya@acme.example")
    await stage.world.identity("other", email="priya@acme.example")
    await stage.set(**BY_EMAIL)
    await refused(stage.sign_in(), "forbidden")


async def test_a_disabled_identity_is_not_linked(stage: Stage) -> None:
    await stage.world.identity("priya@acme.example")
    caller = await stage.world.caller()
    await stage.world.offboarding.offboard(caller, "priya@acme.example", reason="left", drain_seconds=0)
    await stage.set(**BY_EMAIL)
    await refused(stage.sign_in(), "identity_disabled")
    assert await links(stage) == {}


async def test_identities_are_made_where_the_admin_chose_so(stage: Stage) -> None:
    await stage.set(**CREATING)
    login = await stage.sign_in()
    assert login.identifier == "priya@acme.example"
    made = await stage.world.identities.get(await stage.world.caller(), "priya@acme.example")
    assert (made["email"], made["display_name"], made["groups"]) == ("priya@acme.example", "Priya", [])
    assert (await stage.sign_in()).identity_id == login.identity_id
    await refused(stage.sign_in(Account("x", "x@evil.example")), "forbidden")


async def test_making_identities_takes_none_over(stage: Stage) -> None:
    await stage.world.identity("priya@acme.example")
    await stage.set(**CREATING)
    await refused(stage.sign_in(), "forbidden")


async def test_an_address_that_only_userinfo_tells(stage: Stage) -> None:
    await stage.world.identity("priya@acme.example")
    await stage.set(**BY_EMAIL)
    thin = Account("priya-1", "priya@acme.example", thin=True)
    stage.provider.lies = {"userinfo of somebody else"}
    await refused(stage.sign_in(thin), "forbidden")
    stage.provider.lies = set()
    assert (await stage.sign_in(thin)).identifier == "priya@acme.example"
    asked = stage.provider.asked.count("/userinfo")
    await stage.sign_in(thin)
    assert stage.provider.asked.count("/userinfo") == asked, "the subject is enough from then on"


async def test_a_race_for_one_identity_has_one_winner(stage: Stage) -> None:
    """Many people whose verified address is the same, at once: one is linked, and stays so."""
    await stage.world.identity("priya@acme.example")
    await stage.set(**BY_EMAIL)
    answers = []
    for n in range(8):
        stage.provider.current = Account(f"racer-{n}", "priya@acme.example")
        started = await stage.begin()
        answers.append((started, await stage.visit(started)))
    found = await asyncio.gather(*(stage.finish(s, a) for s, a in answers), return_exceptions=True)
    problems = [f for f in found if isinstance(f, Problem)]
    assert len(problems) == 7, found
    assert {p.code for p in problems} == {"forbidden"}
    (winner,) = (await links(stage)).values()
    assert (await stage.sign_in(Account(winner, None))).identifier == "priya@acme.example"


@pytest.mark.parametrize("wanted", [BY_EMAIL, CREATING])
async def test_one_person_twice_at_once_is_one_person(stage: Stage, wanted: dict[str, Any]) -> None:
    if wanted is BY_EMAIL:
        await stage.world.identity("priya@acme.example")
    await stage.set(**wanted)
    begun = [await stage.begin() for _ in range(6)]
    answers = [(started, await stage.visit(started)) for started in begun]
    found = await asyncio.gather(*(stage.finish(s, a) for s, a in answers), return_exceptions=True)
    assert any(not isinstance(f, BaseException) for f in found), found
    assert {f.code for f in found if isinstance(f, Problem)} <= {"forbidden"}
    assert await links(stage) == {"priya@acme.example": "priya-1"}
    await stage.sign_in()


async def test_a_link_replaced_or_taken_away_ends_its_logins(stage: Stage) -> None:
    world = stage.world
    await world.identity("priya")
    await world.identity("marco")
    await stage.set()
    await stage.link()
    await stage.link("marco", "marco-1")
    marco = await stage.sign_in(Account("marco-1"))
    login = await stage.sign_in(PRIYA)
    await stage.link()
    assert await stands(stage, login), "the same again changes nothing"
    await stage.link(subject="priya-2")
    assert not await stands(stage, login)
    await refused(stage.sign_in(PRIYA), "forbidden")
    login = await stage.sign_in(Account("priya-2"))
    gone = await stage.oidc.people.unlink(await world.caller(), "priya")
    assert gone["signed_out"] == 1
    assert not await stands(stage, login)
    assert await stands(stage, marco)
    await refused(stage.oidc.people.unlink(await world.caller(), "priya"), "not_found")


async def stands(stage: Stage, login: Login) -> bool:
    async with stage.world.db.tenant(login.tenant_id) as conn:
        row = await conn.execute(
            text("select revoked_at from broker.bearers where tenant_id = :t and id = :b"),
            {"t": login.tenant_id, "b": login.bearer_id},
        )
        return row.scalar_one() is None


async def test_one_subject_is_one_identity(stage: Stage) -> None:
    await stage.world.identity("priya")
    await stage.world.identity("marco")
    await stage.set()
    await stage.link()
    await refused(stage.link("marco"), "already_exists")
    await refused(stage.link("nobody"), "unknown_identity")
    await stage.link("marco", issuer="https://another.example")
    assert await links(stage) == {"priya": "priya-1", "marco": "priya-1"}


async def test_linking_needs_an_issuer(stage: Stage) -> None:
    await stage.world.identity("priya")
    await refused(stage.link(), "invalid_input", "issuer")
    await stage.link(issuer="https://idp.example")


async def test_the_provider_is_shown_without_its_secret_and_sealed(stage: Stage) -> None:
    shown = await stage.set(scopes=["groups"], **BY_EMAIL)
    assert shown == await stage.oidc.providers.get(await stage.world.caller())
    assert shown["redirect_uri"].endswith(f"/t/{stage.world.tenant}/signin/callback")
    assert shown["scopes"] == ["openid", "groups"]
    assert SECRET not in str(shown)
    assert SECRET not in str(await stage.world.changes())
    caller = await stage.world.caller()
    async with stage.world.db.tenant(caller.tenant_id) as conn:
        (row,) = (await conn.execute(text("select * from broker.sign_in_providers"))).mappings()
        assert SECRET.encode() not in bytes(row["sealed_secret"])
        # Whoever writes the database cannot have the secret sent elsewhere.
        await conn.execute(text("update broker.sign_in_providers set token_origin = 'https://evil.example'"))
    provider = await stage.oidc.providers.find(caller.tenant_id)
    assert provider is not None
    with pytest.raises(Exception, match=r".") as opened:
        await stage.oidc.providers.secret(provider)
    assert type(opened.value).__name__ == "SealedDoesNotOpen"


WRONG: list[tuple[dict[str, Any], str | None]] = [
    ({"link_by_email": True}, "allowed_domains"),
    ({"create_identities": True}, "allowed_domains"),
    ({"allowed_domains": ["acme"]}, "allowed_domains"),
    ({"allowed_domains": ["@acme.example"]}, "allowed_domains"),
    ({"allowed_domains": ["*.example"]}, "allowed_domains"),
    ({"scopes": ["a b"]}, "scopes"),
    ({"client_id": ""}, "client_id"),
    ({"client_secret": "é"}, "client_secret"),
    ({"issuer": "https://user@idp.example"}, None),
    ({"issuer": "http://127.0.0.1:1"}, None),
    ({"issuer": "https://169.254.169.254"}, None),
]


async def test_what_cannot_be_set(stage: Stage) -> None:
    for wanted, field in WRONG:
        await refused(stage.set(**wanted), "egress_refused" if field is None else "invalid_input", field)
    assert stage.provider.asked == []


async def test_another_client_or_none_ends_the_logins_of_before(stage: Stage) -> None:
    await stage.world.identity("priya")
    await stage.set()
    await stage.link()
    first = await stage.sign_in()
    await stage.set(scopes=["email"])
    assert await stands(stage, first)
    stage.provider.clients["second"] = stage.provider.clients["keyreeve"]
    await stage.set(client_id="second")
    assert not await stands(stage, first)
    await stage.set()
    second = await stage.sign_in()
    assert (await stage.oidc.providers.delete(await stage.world.caller()))["signed_out"] == 1
    assert not await stands(stage, second)
    assert await links(stage) == {"priya": "priya-1"}, "set again, the same people sign in"


async def test_only_admins(stage: Stage) -> None:
    await stage.world.identity("priya")
    session = await stage.world.caller((await stage.world.session())["token"])
    for asked in (
        stage.oidc.providers.put(session, Wanted(stage.provider.issuer, "c")),
        stage.oidc.providers.get(session),
        stage.oidc.providers.delete(session),
        stage.oidc.people.link(session, "priya", issuer=None, subject="s"),
        stage.oidc.people.unlink(session, "priya"),
        stage.oidc.people.list(session, PageRequest(1)),
    ):
        await refused(asked, "forbidden")
    assert stage.provider.asked == []


async def test_a_link_made_while_somebody_signs_in_for_the_first_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The admin says who Priya is while somebody else becomes her by an address: what that began ends."""
    await stage.world.identity("priya", email="priya@acme.example")
    await stage.set(**BY_EMAIL)
    stage.provider.current = Account("impostor", "priya@acme.example")
    started = await stage.begin()
    answer = await stage.visit(started)
    signed_in, go_on = asyncio.Event(), asyncio.Event()
    begin_in = Logins.begin_in

    async def slowly(*given: Any, **more: Any) -> Any:
        made = await begin_in(*given, **more)
        signed_in.set()
        await go_on.wait()
        return made

    monkeypatch.setattr(Logins, "begin_in", slowly)
    signing_in = asyncio.create_task(stage.finish(started, answer))
    await asyncio.wait_for(signed_in.wait(), 30)
    linking = asyncio.create_task(stage.link(subject="priya-really"))
    async with asyncio.timeout(30), stage.world.db.platform() as conn:
        while not await conn.scalar(text("select count(*) from pg_locks where not granted")):
            await asyncio.sleep(0.01)
    go_on.set()
    made, _ = await asyncio.gather(signing_in, linking)
    assert await links(stage) == {"priya": "priya-really"}
    await refused(stage.logins.resolve(made.cookie, stage.world.clock.now()), "unauthenticated")

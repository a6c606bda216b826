"""Signing in over a real provider and database: the truth, and every lie about it."""

import asyncio

import pytest
from sqlalchemy import text

from broker.db.paging import PageRequest
from broker.errors import Problem
from broker.identity.logins import NewLogin
from broker.identity.oidc import fetching
from broker.identity.oidc.providers import Wanted
from broker.identity.oidc.room import BEGUN_BY_SOURCE
from connectors.simulators.oidc.lies import DOCUMENTS
from connectors.simulators.oidc.provider import Account, Client
from tests.integration.identity.world import refused
from tests.integration.oidc.conftest import PRIYA, SECRET, Stage


@pytest.fixture
async def linked(stage: Stage) -> Stage:
    """Priya, whom the admin has linked."""
    await stage.world.identity("priya")
    await stage.set()
    await stage.link()
    return stage


async def test_whom_the_admin_linked_signs_in(linked: Stage) -> None:
    login = await linked.sign_in()
    assert (login.identifier, login.how, login.made_by) == ("priya", "oidc", None)
    (signed_in,) = await linked.told("identity.signed_in")
    told = str(signed_in["summary"])
    assert "oidc" in told
    assert linked.provider.issuer in told
    assert PRIYA.subject not in told
    assert SECRET not in told
    (asked,) = linked.provider.arrived
    assert set(asked["scope"].split()) == {"openid", "email", "profile"}
    assert asked["code_challenge_method"] == "S256"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    (link,) = (await linked.oidc.people.list(await linked.world.caller(), PageRequest(10))).items
    assert link["last_used_at"] is not None


@pytest.mark.parametrize("methods", [["client_secret_post"], ["client_secret_basic"]])
async def test_the_secret_goes_as_the_provider_takes_it(linked: Stage, methods: list[str]) -> None:
    linked.provider.methods = methods
    secret = "a secret: with & and %"
    linked.provider.clients["keyreeve"].secret = secret
    await linked.set(client_secret=secret)
    assert (await linked.sign_in()).identifier == "priya"


async def test_a_public_client_has_pkce_alone(linked: Stage) -> None:
    linked.provider.clients["keyreeve"].secret = None
    shown = await linked.set(client_secret=None)
    assert shown["has_client_secret"] is False
    assert (await linked.sign_in()).identifier == "priya"


@pytest.mark.parametrize("lie", ["another nonce", "signed with the public key"])
async def test_a_lying_token_signs_nobody_in(linked: Stage, lie: str) -> None:
    """Each kind once; all of them: tests/unit/oidc."""
    linked.provider.lies = {lie}
    await refused(linked.sign_in(), "forbidden")
    (told,) = await linked.told("identity.sign_in_refused")
    assert PRIYA.subject not in str(told["summary"]), "what was not proven is not written down as if it were"
    assert await linked.told("identity.signed_in") == []


async def test_lies_while_signing_in(linked: Stage) -> None:
    for lie, code in (
        ("token endpoint redirects", "upstream_unreachable"),
        ("token answer is huge", "upstream_unreachable"),
        ("token answer is not json", "upstream_unreachable"),
        ("no id token", "forbidden"),
        ("keys are huge", "upstream_unreachable"),
        ("keys redirect", "upstream_unreachable"),
        ("no usable key", "forbidden"),
        ("another issuer in the answer", "forbidden"),
    ):
        linked.world.clock.forward(hours=2)
        linked.provider.lies = {lie}
        await refused(linked.sign_in(), code)
    linked.provider.lies = set()
    linked.world.clock.forward(hours=2)
    await linked.sign_in()


SET_UP = [lie for lie in DOCUMENTS if lie.startswith(("description", "keys", "no usable")) or "metadata" in lie]


async def test_a_provider_that_lies_is_not_set(stage: Stage) -> None:
    assert len(SET_UP) == 12
    for lie in SET_UP:
        if lie != "description is slow":
            stage.provider.lies = {lie}
            await refused(stage.set(), "invalid_input", "issuer")
    await refused(stage.oidc.providers.get(await stage.world.caller()), "not_found")


async def test_a_slow_provider_is_waited_for_no_longer_than_a_bound(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.documents.SECONDS", 0.2)
    stage.provider.lies = {"description is slow"}
    await refused(stage.set(), "invalid_input", "issuer")


async def test_a_token_endpoint_that_moves_gets_no_secret(linked: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linked.oidc.documents.egress.__class__, "allows", lambda *_: True)
    linked.provider.lies = {"token endpoint at the metadata service"}
    linked.world.clock.forward(hours=2)
    problem = await refused(linked.begin(), "forbidden")
    assert "moved" in problem.detail or "not allowed" in problem.detail
    assert linked.provider.arrived == []


async def test_keys_may_rotate(linked: Stage) -> None:
    await linked.sign_in()
    linked.world.clock.forward(seconds=61)
    linked.provider.rotate("ES256")
    await linked.sign_in()
    asked = linked.provider.asked.count("/keys")
    linked.provider.rotate("EdDSA")
    await refused(linked.sign_in(), "forbidden")
    assert linked.provider.asked.count("/keys") == asked, "not again within the minute"
    linked.world.clock.forward(seconds=fetching.AGAIN.total_seconds())
    await linked.sign_in()


async def test_an_answer_without_its_browser_opens_nothing(linked: Stage) -> None:
    started, other = await linked.begin(), await linked.begin()
    answer = await linked.visit(started)
    for cookie in (None, "", other.cookie, started.cookie[:-1]):
        await refused(linked.finish(started, answer, cookie=cookie), "forbidden")
    for wrong in ({"state": ""}, {"state": (await linked.visit(other))["state"]}):
        await refused(linked.finish(started, answer | wrong), "forbidden")
    assert isinstance(await linked.finish(started, answer), NewLogin)


async def test_an_answer_works_once(linked: Stage) -> None:
    started = await linked.begin()
    answer = await linked.visit(started)
    await linked.finish(started, answer)
    await refused(linked.finish(started, answer), "forbidden")


async def test_an_answer_works_once_even_where_the_provider_takes_codes_again(linked: Stage) -> None:
    linked.provider.lies = {"codes work for ever"}
    started = await linked.begin()
    answer = await linked.visit(started)
    found = await asyncio.gather(*(linked.finish(started, answer) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(f, NewLogin) for f in found) == 1
    assert {f.code for f in found if isinstance(f, Problem)} == {"forbidden"}
    await refused(linked.finish(started, answer), "forbidden")


async def test_the_provider_is_asked_once_for_each_sign_in_that_was_begun(linked: Stage) -> None:
    """Junk codes: a visitor with a cookie and state of their own has the provider asked once, one without never."""
    started = await linked.begin()
    answer = await linked.visit(started)
    asked = linked.provider.asked.count("/token")
    for cookie, wrong in ((None, {}), (started.cookie[:-1], {}), (started.cookie, {"state": "x"})):
        await refused(linked.finish(started, answer | wrong, cookie=cookie), "forbidden")
    for early in ({"iss": "https://other.example"}, {"error": "access_denied"}):
        await refused(linked.finish(started, answer | early), "forbidden")
    await refused(linked.finish(started, answer | {"code": "x" * 5000}), "invalid_input")
    assert linked.provider.asked.count("/token") == asked
    junk = [linked.finish(started, answer | {"code": f"junk-{n}"}) for n in range(8)]
    found = await asyncio.gather(*junk, return_exceptions=True)
    assert {f.code for f in found if isinstance(f, Problem)} == {"forbidden"}
    await refused(linked.finish(started, answer), "forbidden")
    assert linked.provider.asked.count("/token") == asked + 1


async def test_one_source_begins_so_many_and_others_go_on(linked: Stage) -> None:
    for _ in range(BEGUN_BY_SOURCE):
        await linked.begin()
    problem = await refused(linked.begin(), "rate_limited")
    assert problem.retry_after == 60
    other = await linked.oidc.begin(linked.world.tenant, linked.world.clock.now(), "192.0.2.8")
    assert isinstance(await linked.finish(other, await linked.visit(other)), NewLogin)
    linked.world.clock.forward(minutes=1)
    assert (await linked.sign_in()).identifier == "priya"


async def test_it_lasts_ten_minutes(linked: Stage) -> None:
    started = await linked.begin()
    answer = await linked.visit(started)
    linked.world.clock.forward(minutes=10)
    await refused(linked.finish(started, answer), "forbidden")


async def test_another_tenant_takes_no_answer_of_this_one(linked: Stage) -> None:
    """Mix-up: the same provider, the same person, linked in both tenants."""
    world = linked.world
    platform = await world.platform()
    await linked.oidc.providers.put(platform, Wanted(linked.provider.issuer, "keyreeve", SECRET))
    started = await linked.begin()
    answer = await linked.visit(started)
    await refused(linked.finish(started, answer, tenant=world.home), "forbidden")
    here = await linked.begin(world.home)
    await refused(linked.finish(here, answer, tenant=world.home), "forbidden")
    # The other tenant's own sign-in: the subject that is linked here is nobody there.
    problem = await refused(linked.finish(here, await linked.visit(here), tenant=world.home), "forbidden")
    assert PRIYA.subject in str(problem.hint)
    assert isinstance(await linked.finish(started, answer), NewLogin)


async def test_a_code_of_another_sign_in_is_no_use(linked: Stage) -> None:
    """Code injection: PKCE and nonce tie a code to its own browser."""
    mine, theirs = await linked.begin(), await linked.begin()
    stolen = (await linked.visit(theirs))["code"]
    await refused(linked.finish(mine, await linked.visit(mine) | {"code": stolen}), "forbidden")


async def test_a_provider_that_announces_itself_must_name_itself(linked: Stage) -> None:
    started = await linked.begin()
    answer = await linked.visit(started)
    del answer["iss"]
    await refused(linked.finish(started, answer), "forbidden")


async def test_one_that_does_not_may_not_name_another(linked: Stage) -> None:
    linked.provider.announces_issuer = False
    await linked.set()
    linked.world.clock.forward(hours=2)
    started = await linked.begin()
    answer = await linked.visit(started)
    assert "iss" not in answer
    await refused(linked.finish(started, answer | {"iss": "https://other.example"}), "forbidden")
    assert isinstance(await linked.finish(started, answer), NewLogin)


async def test_the_provider_may_say_no(linked: Stage) -> None:
    linked.provider.current = None
    problem = await refused(linked.sign_in(), "forbidden")
    assert "access_denied" in problem.detail
    started = await linked.begin()
    odd = await linked.visit(started) | {"error": "<b>call zanzibar</b>"}
    assert "zanzibar" not in (await refused(linked.finish(started, odd), "forbidden")).detail  # no port spells that


async def test_a_provider_changed_meanwhile_takes_no_answer_of_before(linked: Stage) -> None:
    started = await linked.begin()
    answer = await linked.visit(started)
    await linked.set(link_by_email=True, allowed_domains=["acme.example"])
    await refused(linked.finish(started, answer), "forbidden")
    await linked.oidc.providers.delete(await linked.world.caller())
    await refused(linked.finish(started, answer), "forbidden")
    await refused(linked.begin(), "not_found")


async def test_whoever_is_offboarded_is_out_and_stays_out(linked: Stage) -> None:
    world = linked.world
    started = await linked.begin()
    answer = await linked.visit(started)
    login = await linked.sign_in()
    report = await world.offboarding.offboard(await world.caller(), "priya", reason="left", drain_seconds=0)
    assert str(login.bearer_id) in report["sessions"]
    await refused(linked.finish(started, answer), "identity_disabled")
    await refused(linked.sign_in(), "identity_disabled")
    (told,) = {c["summary"]["reason"] for c in await linked.told("identity.sign_in_refused")}
    assert "disabled" in told


async def test_a_suspended_tenant_has_no_sign_in(linked: Stage) -> None:
    async with linked.world.db.platform() as conn:
        await conn.execute(
            text("update broker.tenants set status = 'suspended' where name = :n"), {"n": linked.world.tenant}
        )
    assert await linked.oidc.offered(linked.world.tenant) is None
    with pytest.raises(Problem):
        await linked.begin()


async def test_a_tenant_that_is_not_there(stage: Stage) -> None:
    for tenant in ("nobody-here", "", "UPPER", "a" * 64, "../x", "x\x00"):
        assert await stage.oidc.offered(tenant) is None
        await refused(stage.oidc.begin(tenant, stage.world.clock.now(), "192.0.2.7"), "not_found")


async def test_refusals_are_written_down_twenty_times_a_minute(linked: Stage) -> None:
    for _ in range(25):
        started = await linked.begin()
        answer = await linked.visit(started) | {"iss": "https://other.example"}
        await refused(linked.finish(started, answer), "forbidden")
    assert len(await linked.told("identity.sign_in_refused")) == 20


async def test_a_foreign_client_of_the_same_provider_gets_nobody_in(linked: Stage) -> None:
    """A token that the provider made for somebody else's site, replayed here: another audience, another nonce."""
    linked.provider.clients["evil"] = Client("evil", None, ["https://evil.example/cb"])
    linked.provider.lies = {"another audience"}
    await refused(linked.sign_in(Account(PRIYA.subject, PRIYA.email)), "forbidden")

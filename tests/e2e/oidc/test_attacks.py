"""Attacks on signing in by a provider, over the wire: whose browser, whose answer, where to, who."""

import concurrent.futures
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from bench.kit import TenantKit
from connectors.simulators.oidc.provider import Account
from tests.e2e.cli.shell import Shell
from tests.e2e.oauth.person import Editor, Person, answer_of
from tests.e2e.oidc.conftest import Organisation, Visitor, parameters


@pytest.fixture
def visitor(organisation: Organisation) -> Visitor:
    return Visitor(organisation.kit)


def test_signing_in_and_what_the_browser_is_told(organisation: Organisation, visitor: Visitor) -> None:
    identifier, account = organisation.person()
    location = visitor.start()
    cookie = visitor.http.get(f"/t/{organisation.kit.name}/signin/start").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    asked = parameters(location)
    assert asked["redirect_uri"] == f"{organisation.kit.stand.url}/t/{organisation.kit.name}/signin/callback"
    reply = visitor.sign_in()
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-store"
    assert visitor.who() == identifier
    audit = organisation.kit.admin.ok("GET", "/v1/audit/events?kind=change")["items"]
    (told,) = [item["summary"] for item in audit if item["operation"] == "identity.signed_in"]
    assert (told["method"], told["issuer"], told["known_by"]) == ("oidc", organisation.provider.issuer, "subject")
    assert account.subject not in str(told)


def test_login_csrf(organisation: Organisation, visitor: Visitor) -> None:
    """An attacker's own answer, opened in somebody else's browser, signs nobody in as the attacker."""
    organisation.person()
    mine = visitor.answer(visitor.start())
    victim = Visitor(organisation.kit)
    for prepare in (lambda: None, victim.start):
        prepare()
        reply = victim.http.get(mine)
        assert reply.status_code == 403
        assert "krv_login" not in reply.headers.get("set-cookie", "")
        assert victim.who() is None
    assert visitor.http.get(mine).status_code == 303, "where it began it is good"


def test_an_answer_is_good_once(organisation: Organisation, visitor: Visitor) -> None:
    organisation.person()
    organisation.provider.lies = {"codes work for ever"}
    answer = visitor.answer(visitor.start())
    kept = dict(visitor.http.cookies)
    assert visitor.http.get(answer).status_code == 303
    thief = Visitor(organisation.kit)
    thief.http.cookies.update({"krv_oidc": kept["krv_oidc"]})
    assert thief.http.get(answer).status_code == 403
    assert visitor.http.get(answer).status_code == 403
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: thief.http.get(answer).status_code, range(4))) == {403}


def test_another_tenants_answer_and_cookie(
    organisation: Organisation, visitor: Visitor, make_kit: Callable[[], TenantKit]
) -> None:
    """Two tenants of one provider: neither's people nor answers are good in the other."""
    _, account = organisation.person()
    other = Organisation(make_kit(), organisation.provider)
    other.set()
    organisation.provider.current = account
    answer = visitor.answer(visitor.start())
    moved = answer.replace(f"/t/{organisation.kit.name}/", f"/t/{other.kit.name}/")
    assert visitor.http.get(moved).status_code == 403
    stranger = Visitor(other.kit)
    reply = stranger.sign_in()
    assert reply.status_code == 403
    assert account.subject in reply.text, "the person is told what to give the admin"
    assert stranger.who() is None


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)"]
)
def test_no_open_redirect(organisation: Organisation, visitor: Visitor, to: str) -> None:
    organisation.person()
    visitor.http.get(f"/t/{organisation.kit.name}/signin?{urlencode({'return_to': to})}")
    start = visitor.http.get(f"/t/{organisation.kit.name}/signin/start?{urlencode({'return_to': to})}")
    reply = visitor.http.get(visitor.answer(start.headers["location"]))
    assert (reply.status_code, reply.headers["location"]) == (303, "/")


def test_back_to_where_one_was_going(organisation: Organisation, visitor: Visitor) -> None:
    organisation.person()
    wanted = f"/connect/{organisation.kit.name}/cloudflare"
    page = visitor.http.get(wanted)
    assert page.status_code == 401
    assert f"/t/{organisation.kit.name}/signin/start" in page.text
    assert visitor.sign_in().headers["location"] == wanted


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_begins_nothing(organisation: Organisation, visitor: Visitor, site: str) -> None:
    reply = visitor.http.get(f"/t/{organisation.kit.name}/signin/start", headers={"sec-fetch-site": site})
    assert (reply.status_code, reply.headers["location"]) == (303, f"/t/{organisation.kit.name}/signin")
    assert "set-cookie" not in reply.headers


def test_an_address_takes_nobody_over(organisation: Organisation, visitor: Visitor) -> None:
    """Somebody at the provider claims the address of an identity that is linked, or whose domain is not ours."""
    victim, _ = organisation.person()
    organisation.set(link_by_email=True, create_identities=True, allowed_domains=["acme.example"])
    unlinked = organisation.kit.identity()
    for account in (
        Account("attacker", victim),
        Account("attacker", unlinked, email_verified=False),
        Account("attacker", unlinked.replace("@", "@evil.example@")),
        Account("attacker", unlinked + ".evil.example"),
    ):
        organisation.provider.current = account
        assert visitor.sign_in().status_code == 403
        assert visitor.who() is None
    organisation.provider.current = Account("herself", unlinked)
    assert visitor.sign_in().status_code == 303
    assert visitor.who() == unlinked


def test_whoever_was_signed_in_before_is_signed_out(organisation: Organisation, visitor: Visitor) -> None:
    first, _ = organisation.person()
    visitor.sign_in()
    cookie = visitor.http.cookies["krv_login"]
    second, _ = organisation.person()
    visitor.sign_in()
    assert visitor.who() == second
    before = Visitor(organisation.kit)
    before.http.cookies.set("krv_login", cookie)
    assert before.who() is None
    assert first != second


def test_offboarding_ends_it_at_once(organisation: Organisation, visitor: Visitor) -> None:
    identifier, _ = organisation.person()
    visitor.sign_in()
    organisation.kit.admin.ok("POST", f"/v1/identities/{identifier}:offboard", {"reason": "left", "drain_seconds": 0})
    assert visitor.who() is None
    assert visitor.sign_in().status_code == 403
    assert visitor.who() is None


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 403),
        ("code=x&state=y", 403),
        ("code=x&code=y&state=z", 422),
        ("code=" + "x" * 9000, 422),
        ("&".join(f"a{n}=1" for n in range(30)), 422),
        ("error=access_denied&state=%ff", 422),
        ("error=<script>alert(1)</script>&state=x", 403),
    ],
)
def test_answers_that_nobody_asked_for(organisation: Organisation, visitor: Visitor, query: str, status: int) -> None:
    reply = visitor.http.get(f"/t/{organisation.kit.name}/signin/callback?{query}")
    assert reply.status_code == status, reply.text
    assert "<script>alert" not in reply.text
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_tenant_without_a_provider_looks_like_none(visitor: Visitor, make_kit: Callable[[], TenantKit]) -> None:
    without = make_kit().name
    for rest in ("signin", "signin/start", "signin/callback?code=x&state=y"):
        answers = [visitor.http.get(f"/t/{name}/{rest}") for name in (without, "no-such-tenant")]
        if rest.startswith("signin/callback"):
            assert {reply.status_code for reply in answers} == {403, 404}
        else:
            assert {reply.status_code for reply in answers} == {404}
            assert answers[0].text.replace(without, "no-such-tenant") == answers[1].text


def test_the_admins_commands(organisation: Organisation) -> None:
    kit = organisation.kit
    assert kit.admin.key is not None
    shell = Shell({"KEYREEVE_URL": kit.stand.url, "KEYREEVE_API_KEY": kit.admin.key})
    identifier = kit.identity()
    assert shell.ok("sign-in-provider", "show")["issuer"] == organisation.provider.issuer
    shown = shell.ok(
        "sign-in-provider", "set", organisation.provider.issuer, "keyreeve",
        "--domain", "acme.example", "--link-by-email",
    )  # fmt: skip
    assert (shown["link_by_email"], shown["has_client_secret"]) == (True, False)
    assert shell.ok("sign-in-provider", "link", identifier, "subject-7")["subject"] == "subject-7"
    (listed,) = shell.ok("sign-in-provider", "list")["items"]
    assert (listed["identifier"], listed["linked_by"]) == (identifier, "admin")
    shell.ok("sign-in-provider", "unlink", identifier)
    shell.ok("sign-in-provider", "delete", "--yes")
    assert kit.admin.send("GET", "/v1/sign_in_provider").status_code == 404


def test_editors_end_with_the_link_that_let_them_in(organisation: Organisation, visitor: Visitor) -> None:
    """An editor let in by somebody who should not have been that identity does not outlive the mistake."""
    identifier, account = organisation.person()
    kit = organisation.kit
    assert visitor.sign_in().status_code == 303
    person, editor = Person(kit), Editor(kit)
    person.http = visitor.http
    let_in = editor.redeem(answer_of(person.consent(editor.url()))["code"]).json()
    # One that an admin's own link let in is that admin's matter, and stays.
    by_link, second = Person(kit, identifier), Editor(kit)
    kept = second.redeem(answer_of(by_link.consent(second.url()))["code"]).json()
    gone = kit.admin.ok("DELETE", f"/v1/identities/{identifier}/sign_in")
    assert gone["signed_out"] == 2
    assert visitor.who() is None
    assert editor.tools(let_in["access_token"]).status_code == 401
    assert editor.refresh(let_in["refresh_token"]).status_code == 400
    assert second.refresh(kept["refresh_token"]).status_code == 200
    # And all of them with the provider itself.
    kit.admin.ok("PUT", f"/v1/identities/{identifier}/sign_in", {"subject": account.subject})
    organisation.provider.current = account
    assert visitor.sign_in().status_code == 303
    let_in = editor.redeem(answer_of(person.consent(editor.url()))["code"]).json()
    assert editor.refresh(let_in["refresh_token"]).status_code == 200
    kit.admin.ok("DELETE", "/v1/sign_in_provider")
    assert editor.refresh(let_in["refresh_token"]).status_code == 400

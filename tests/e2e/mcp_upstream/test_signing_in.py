"""An engineer connects an MCP server by signing in to it, and its tokens stay good without them."""

import html
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bench.harness import Installed
from bench.kit import TenantKit
from broker.accounts.upstream_oauth.sign_ins import TRIES
from tests.e2e.cli.shell import Shell
from tests.e2e.mcp_upstream.conftest import McpServers
from tests.e2e.mcp_upstream.site import Site
from tests.e2e.oauth.person import OURS, field
from tests.security.canary import dump, find


@pytest.fixture
def site(servers: McpServers, tenant: TenantKit) -> Iterator[Site]:
    made = Site(servers, tenant, tenant.name)
    made.behaves()
    yield made
    for opened in made.open:
        opened.close()


def test_an_engineer_signs_in_by_a_link(site: Site) -> None:
    site.connection()
    up = site.connected()
    assert up.names() == ["up_ping"]
    told = up.call("ping")["data"]["content"][0]["text"]
    assert told == "pong [redacted by Keyreeve]", "a server that says the token again is not heard"
    account = site.account()
    assert (account["kind"], account["status"]) == ("oauth", "active")
    made = site.registered()
    assert [m["redirect_uris"] for m in made] == [[site.redirect()]]
    asked = site.asked("authorization_code")
    assert [a["resource"] for a in asked] == [f"{site.url}/oauth/{site.name}/mcp"]
    # A second engineer needs no second registration.
    other = site.by_link(site.kit.identity())
    assert other.get(site.answer(site.leave(other))).status_code == 200
    assert len(site.registered()) == 1
    changes = site.kit.admin.ok("GET", "/v1/audit/events?connection_name=up")["items"]
    assert {"account.sign_in_started", "account.connected"} <= {c.get("operation") for c in changes}


def test_an_engineer_signs_in_from_their_own_page(site: Site) -> None:
    site.connection(auth="oauth")
    person = site.person(site.identifier)
    action = f"/connect/{site.kit.name}/up"
    page = person.http.get(action).text
    assert "Paste" not in page, "this connection takes sign-ins only"
    done = person.http.get(site.answer(site.leave(person.http, action)))
    assert done.status_code == 200, done.text
    assert site.engineer().names() == ["up_ping"]


def test_a_state_works_once_in_one_browser_for_one_person(site: Site) -> None:
    site.connection()
    browser = site.by_link()
    back = site.answer(site.leave(browser))
    stranger = site.browser()
    assert stranger.get(back).status_code == 404, "another browser"
    assert browser.get(back).status_code == 404, "which uses the state up"
    # An attacker's answer, put into the browser of somebody who left too.
    attacker, victim = site.by_link(), site.by_link(site.kit.identity())
    theirs = site.answer(site.leave(attacker))
    own = site.answer(site.leave(victim))
    assert victim.get(theirs).status_code == 404
    assert attacker.get(own).status_code == 404
    assert site.asked() == [], "no code was sent anywhere"
    # The same browser, another identity's link meanwhile.
    browser = site.by_link()
    back = site.answer(site.leave(browser))
    login = site.person(site.kit.identity())
    for cookie in login.http.cookies.jar:
        browser.cookies.set(cookie.name, cookie.value or "", domain=cookie.domain, path=cookie.path)
    assert browser.get(back).status_code == 403
    again = site.by_link()
    back = site.answer(site.leave(again))
    assert again.get(back).status_code == 200
    assert again.get(back).status_code == 404, "replayed"
    assert len(site.asked("authorization_code")) == 1
    for odd in ("", "x" * 64, "A" * 64, "é" * 64):
        assert browser.get(urlsplit(site.redirect()).path, params={"state": odd, "code": "x"}).status_code == 404


ANSWERS: list[tuple[dict[str, str], str]] = [
    ({"iss": "https://evil.example"}, "another authorization server"),
    ({"iss": ""}, "does not say which authorization server"),
    ({"error": "access_denied"}, "access_denied"),
    ({"error": "<script>alert(1)</script>"}, "(other)"),
    ({"code": "injected-code"}, "invalid_grant"),
]


def test_answers_that_are_not_taken(site: Site) -> None:
    site.connection()
    browser = site.by_link()
    for answer, told in ANSWERS:
        site.behaves(keep=True, answer=answer)
        reply = browser.get(site.answer(site.leave(browser)))
        assert (reply.status_code, told in reply.text) == (422, True), (answer, reply.text)
        assert "<script>" not in reply.text
    assert site.kit.admin.ok("GET", "/v1/connected_accounts")["items"] == []
    site.behaves(keep=True, answer={})
    assert browser.get(site.answer(site.leave(browser))).status_code == 200, "the link is not used up by them"


def test_nobody_has_others_asked_without_end(site: Site) -> None:
    """Each try asks the server and its issuer several times, on nobody's budget: so there are only so many."""
    site.connection()
    site.behaves(metadata={"code_challenge_methods_supported": ["plain"]})
    person = site.person(site.identifier)
    page = person.http.get(f"/connect/{site.kit.name}/up").text
    action, form = f"/connect/{site.kit.name}/up/sign_in", {"csrf": field(page, "csrf")}
    found = [person.http.post(action, data=form, headers=OURS).status_code for _ in range(90)]
    workers = found.count(422) / TRIES
    assert set(found) == {422, 429}, "tried, then told to wait"
    assert 1 <= workers <= 4, "20 for each process"
    other = site.by_link(site.kit.identity())
    assert site.leave(other).status_code == 422, "which is nobody else's matter"


METADATA = "http://169.254.169.254/latest/meta-data"


LIES: list[tuple[dict[str, Any], str]] = [
    ({"metadata": {"issuer": "https://accounts.example.com"}}, "another issuer"),
    ({"metadata": {"code_challenge_methods_supported": ["plain"]}}, "PKCE"),
    ({"metadata": {"code_challenge_methods_supported": None}}, "PKCE"),
    ({"resource": "https://api.example.com/mcp"}, "another resource"),
    ({"metadata_redirect": METADATA}, "publishes no sign-in metadata"),
    ({"server": METADATA}, "names no authorization server"),
    ({"server": METADATA.replace("http:", "https:")}, "no metadata that could be fetched"),
    ({"server": "file:///etc/passwd"}, "names no authorization server"),
    ({"metadata_megabytes": True}, "no metadata that could be fetched"),
    ({"metadata": {"token_endpoint": "javascript:alert(1)"}}, "token_endpoint"),
    ({"metadata": {"authorization_endpoint": "http://public.example.com/a"}}, "authorization_endpoint"),
    ({"metadata": {"authorization_endpoint": "https://as.example.com/a?client_id=x"}}, "is a request already"),
    ({"server": "https://as.example.com/?tenant=1"}, "names no authorization server"),
    ({"metadata": {"registration_endpoint": None}}, "takes no new clients"),
]


def test_servers_that_lie_before_anybody_leaves(site: Site) -> None:
    site.connection()
    browser = site.by_link()
    for how, told in LIES:
        site.behaves(**how)
        reply = site.leave(browser)
        assert (reply.status_code, told in reply.text) == (422, True), (how, reply.text)
        assert '<a class="button" href="http' not in reply.text, "and nobody is sent anywhere"
    for private in (METADATA, "http://10.1.2.3/register"):
        site.behaves(metadata={"registration_endpoint": private})
        assert site.leave(browser).status_code == 422


TOKENS: list[dict[str, Any]] = [
    {"metadata": {"token_endpoint": "https://169.254.169.254/token"}},
    {"metadata": {"token_endpoint": "https://10.0.0.1/token"}},
    {"token_megabytes": True},
    {"token_redirect": METADATA},
    {"tokens": {"token_type": "DPoP"}},
    {"tokens": {"access_token": "a\r\nX-Injected: 1"}},
    {"tokens": {"access_token": "x" * 9000}},
    {"tokens": {"refresh_token": ["x"]}},
    {"tokens": {"error": "server_error"}},
]


def test_token_endpoints_that_lie(site: Site) -> None:
    site.connection()
    browser = site.by_link()
    for how in TOKENS:
        site.behaves(keep=True, **{"metadata": {}, "tokens": {}, "token_megabytes": False, **how})
        reply = browser.get(site.answer(site.leave(browser)))
        assert reply.status_code in (422, 502), (how, reply.text)
    assert site.kit.admin.ok("GET", "/v1/connected_accounts")["items"] == []


def test_a_connection_that_moved_gets_no_tokens(site: Site, servers: McpServers) -> None:
    site.connection()
    browser = site.by_link()
    back = site.answer(site.leave(browser))
    moved = servers.tell("elsewhere", tools=[])
    site.kit.platform.ok("PATCH", "/v1/connections/up", {"config": {"url": moved}})
    assert browser.get(back).status_code == 409
    assert site.asked() == []
    assert servers.journal("elsewhere", "server/discover") == []


def test_whoever_is_gone_meanwhile_connects_nothing(site: Site) -> None:
    """Offboarded, or the connection deleted, between leaving and coming back: no code is redeemed."""
    site.connection()
    person = site.person(site.identifier)
    by_login = site.answer(site.leave(person.http, f"/connect/{site.kit.name}/up"))
    linked = site.by_link()
    by_link = site.answer(site.leave(linked))
    told = {"reason": "left", "drain_seconds": 0}
    site.kit.admin.ok("POST", f"/v1/identities/{site.identifier}:offboard", told)
    assert person.http.get(by_login).status_code == 401
    assert linked.get(by_link).status_code in (401, 403, 404)
    other = site.kit.identity()
    browser = site.by_link(other)
    back = site.answer(site.leave(browser))
    site.kit.admin.ok("DELETE", "/v1/connections/up")
    assert browser.get(back).status_code in (403, 404)
    assert site.asked() == [], "no code went anywhere"


def test_tokens_are_renewed_before_they_end_and_when_refused(site: Site) -> None:
    site.behaves(expires_in=20)
    site.connection()
    up = site.connected()
    first = site.account()["credential"]["version"]
    for _ in range(2):
        assert not up.call("ping")["is_error"]
    assert len(site.asked("refresh_token")) >= 2, "20 s are always nearly over"
    assert site.account()["credential"]["version"] > first
    site.behaves(keep=True, expires_in=3600)
    up.call("ping")
    count = len(site.asked("refresh_token"))
    up.call("ping")
    assert len(site.asked("refresh_token")) == count, "an hour is not"
    assert not any("refused" in a for a in site.asked()), "and no refresh token was used twice"


def test_calls_at_the_same_time_renew_once(site: Site) -> None:
    """The installation runs several processes where it has the cores; all of them together renew once."""
    site.behaves(expires_in=1)
    site.connection()
    up = site.connected()
    site.behaves(keep=True, expires_in=3600, token_seconds=0.5)
    before = len(site.asked("refresh_token"))
    found: list[dict[str, Any]] = []

    def call() -> None:
        api = site.kit.stand.server.api(up.api.key)
        reply = api.send("POST", "/v1/tools/execute", json={"tool_name": "up_ping", "tool_input": {}})
        found.append(reply.json())
        api.close()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [f.get("is_error") for f in found] == [False] * 8, found
    assert len(site.asked("refresh_token")) - before == 1
    assert not any("refused" in a for a in site.asked())


def test_a_server_that_refuses_every_token_has_its_issuer_asked_once(site: Site) -> None:
    """Or whoever runs it could have us ask an authorization server, who may be another's, at each call."""
    site.connection()
    up = site.connected()
    site.behaves(keep=True, refuses_all=True)
    for _ in range(12):
        assert up.call("ping")["is_error"]
    assert 1 <= len(site.asked("refresh_token")) <= 4, "once in a while for each process, and not for each call"
    site.behaves(keep=True, refuses_all=False)
    assert not up.call("ping")["is_error"], "and the account was not harmed"


def test_a_sign_in_that_ended_asks_for_the_person(site: Site) -> None:
    site.connection()
    up = site.connected()
    site.behaves(expires_in=3600)  # forgets every token and client
    told = up.call("ping", status=409)
    assert (told["code"], told["fix"]) == ("needs_reauth", "user")
    assert told["connect_url"].endswith(f"/connect/{site.kit.name}/up")
    assert site.account()["status"] == "needs_reauth"
    count = len(site.asked())
    assert up.call("ping", status=409)["code"] == "needs_reauth"
    assert len(site.asked()) == count, "nothing is asked of a sign-in that has ended"
    actions = {c.get("operation") for c in site.kit.admin.ok("GET", "/v1/audit/events?connection_name=up")["items"]}
    assert "account.sign_in_ended" in actions


def test_a_server_without_refresh_tokens_ends_with_its_access_token(site: Site) -> None:
    site.behaves(refresh=False, expires_in=3600)
    site.connection()
    up = site.connected()
    assert not up.call("ping")["is_error"]
    assert site.account()["upstream"]["expires_at"]
    site.behaves()
    assert up.call("ping", status=409)["code"] == "needs_reauth"


def test_more_scope_is_asked_for_next_time(site: Site) -> None:
    site.behaves(step_up=True)
    site.connection()
    up = site.connected()
    told = up.call("ping")
    assert told["is_error"]
    assert "mcp:write" in told["error"]["detail"]
    person = site.person(site.identifier)
    left = site.leave(person.http, f"/connect/{site.kit.name}/up")
    found = re.search(r'href="(http[^"]+)"', left.text)
    assert found
    asked = parse_qs(urlsplit(html.unescape(found[1])).query)
    assert "mcp:write" in asked["scope"][0].split()
    assert person.http.get(site.answer(left)).status_code == 200
    assert not up.call("ping")["is_error"]


def test_a_client_that_an_admin_registered(site: Site) -> None:
    redirect = site.redirect()
    secret = "a-secret-of-the-admins"
    known = {"client_id": "ours", "client_secret": secret, "redirect_uris": [redirect]}
    site.behaves(metadata={"registration_endpoint": None}, clients={"ours": known})
    site.connection()
    browser = site.by_link()
    left = site.leave(browser)
    assert left.status_code == 422, "nobody can register"
    issuer = site.issuer()
    assert issuer in left.text, "but everybody is told what is to be registered where"
    assert redirect in left.text
    there = "/v1/connections/up/oauth_client"
    assert site.kit.admin.ok("GET", there) == {"issuer": issuer, "client_id": None, "redirect_uri": redirect}
    wanted = {"issuer": issuer, "client_id": "ours", "client_secret": secret}
    put = site.kit.admin.send("PUT", "/v1/connections/up/oauth_client", json=wanted)
    assert put.json() == site.kit.admin.ok("GET", there) == {**put.json(), "redirect_uri": redirect}
    assert browser.get(site.answer(site.leave(browser))).status_code == 200
    # A server that names another issuer all of a sudden does not get the secret sent there.
    other = f"{site.name}x"
    assert site.http.post(f"{site.url}/issuer-control/{other}", json={}).status_code == 200
    site.behaves(keep=True, server=f"{site.url}/issuer/{other}")
    browser = site.by_link()
    assert site.leave(browser).status_code == 403
    assert site.http.get(f"{site.url}/issuer-journal/{other}").json()["asked"] == []
    site.kit.admin.ok("DELETE", "/v1/connections/up/oauth_client")
    assert site.leave(browser).status_code == 200, "registered at that one now"
    bad = site.kit.admin.send("PUT", "/v1/connections/up/oauth_client", json={**wanted, "method": "none"})
    assert bad.status_code == 422
    assert secret not in bad.text


def test_an_admin_registers_a_client_from_a_shell(site: Site) -> None:
    site.behaves(metadata={"registration_endpoint": None})
    site.connection()
    assert site.kit.admin.key is not None
    shell = Shell({"KEYREEVE_URL": site.kit.stand.server.url, "KEYREEVE_API_KEY": site.kit.admin.key})
    shown = {"issuer": site.issuer(), "client_id": None, "redirect_uri": site.redirect()}
    assert shell.ok("connections", "client", "show", "up") == shown
    words = ("connections", "client", "set", "up", "--issuer", site.issuer(), "--client-id", "ours")
    assert shell.ok(*words, "--secret-file", "-", text="a-secret\n") == {**shown, "client_id": "ours"}
    assert shell.ok("connections", "client", "show", "up")["client_id"] == "ours"
    assert shell.ok("connections", "client", "remove", "up", "--yes")["removed_at"]
    assert shell.ok("connections", "client", "show", "up") == shown


@pytest.mark.parametrize(
    "issuer", ["https://a\u0000b", "https://a b.example", "ftp://a.example", "https://" + "a" * 2_000]
)
def test_what_is_no_issuer_is_refused(site: Site, issuer: str) -> None:
    site.connection()
    wanted = {"issuer": issuer, "client_id": "x"}
    assert site.kit.admin.send("PUT", "/v1/connections/up/oauth_client", json=wanted).status_code == 422


async def test_nothing_of_it_is_found_anywhere(site: Site, running_server: Installed[Any]) -> None:
    site.behaves(expires_in=20)
    site.connection()
    up = site.connected()
    up.call("ping")
    site.leave(site.by_link())
    found = site.http.get(f"{site.url}/issuer-journal/{site.name}").json()["secrets"]
    secrets = [secret for secret in found if secret]
    assert len(secrets) >= 6, "a client's secret, a code, a verifier, and two pairs of tokens"
    server = running_server.server
    folder = running_server.data_dir
    # Of PostgreSQL's files the tables stand here: tests/security searches all of them, for what goes the same ways.
    files = [path for path in folder.rglob("*") if path.is_file() and "postgres" not in path.parts]
    places: dict[str, bytes | Path] = {str(path.relative_to(folder)): path for path in files}
    tables: dict[str, bytes] = await dump(server.database())
    assert any(name.startswith("table broker.upstream_") for name in tables)
    assert find({**places, **tables, "logs": server.logs(), "replies": server.transcript.path}, secrets) == []


def test_a_form_of_the_api_holds_no_sign_in(site: Site) -> None:
    site.connection()
    for token in ("x", {"access_token": "x", "token_endpoint": "https://evil.example/token"}):
        credential = {"kind": "oauth", "token": token}
        body = {"connection_name": "up", "identifier": site.identifier, "credential": credential}
        assert site.kit.admin.send("PUT", "/v1/connected_accounts", json=body).status_code == 422


def test_without_a_public_address_there_is_no_client_document(site: Site) -> None:
    assert site.browser().get(f"/upstream/client/{'0' * 32}.json").status_code == 404

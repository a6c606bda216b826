"""The pure parts of the pages: tickets, paths to return to, forms, what is shown, what is copied."""

import json
import tomllib
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from broker.accounts.offers import Offer
from broker.clock import SystemClock
from broker.endpoints.pages import cookies, view
from broker.endpoints.pages.cookies import CONNECT_LINK, LOGIN, RETURN, SIGN_IN_LINK
from broker.endpoints.pages.deposits import credential_of, failures, filled
from broker.endpoints.pages.guesses import MOST, WINDOW, Guesses
from broker.endpoints.pages.hardening import harden
from broker.endpoints.pages.setups import setups
from broker.errors import Field, Problem
from broker.identity import tickets
from broker.identity.logins import return_path
from broker.ids import new_id
from broker.logs import redact
from connectors.cloudflare.connector import CloudflareConnector

TOKEN = "cfut_" + "Secret9" * 7


def offer() -> Offer:
    cloudflare = CloudflareConnector()
    return Offer(
        connection_name="cloudflare",
        title="Cloudflare",
        origin="https://api.cloudflare.com",
        official=True,
        kinds=tuple(cloudflare.kinds),
        permissions_help="",
        sentence=None,
        needed=(),
        needed_more=0,
        form_url=None,
        connected=False,
        status=None,
    )


def test_a_ticket_is_of_one_kind_and_shows_nothing() -> None:
    tenant = new_id()
    text, ticket = tickets.mint("connect", tenant)
    assert tickets.parse("connect", text) == ticket
    assert ticket.tenant_id == tenant
    for shown in (repr(ticket), str(ticket)):
        assert ticket.digest.hex() not in shown
        assert ticket.csrf not in shown
    for kind in ("login", "sign_in"):
        with pytest.raises(Problem):
            tickets.parse(kind, text)  # type: ignore[arg-type]


@given(st.text(max_size=100))
@example("krv_cl_" + "é" * 64)
@example("krv_cl_" + "=" * 64)
def test_what_is_no_ticket_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(Problem) as refused:
        tickets.parse("connect", text)
    assert refused.value.code == "not_found"
    assert len(text) < 8 or text not in str(refused.value)


def test_two_tickets_are_never_alike() -> None:
    tenant = new_id()
    made = {tickets.mint("login", tenant)[0] for _ in range(200)}
    assert len(made) == 200


def test_a_form_fits_its_own_ticket_alone() -> None:
    _, one = tickets.mint("login", new_id())
    _, other = tickets.mint("login", new_id())
    tickets.check_csrf(one.csrf, one.csrf)
    for wrong in (other.csrf, "", "é", one.csrf[:-1]):
        with pytest.raises(Problem, match="forbidden"):
            tickets.check_csrf(one.csrf, wrong)


@pytest.mark.parametrize("kind", ["login", "connect", "sign_in"])
def test_logs_mask_tickets(kind: Any) -> None:
    text, _ = tickets.mint(kind, new_id())
    assert text[10:] not in redact(json.dumps({"path": f"/c/{text}"}))


@given(st.text(max_size=60))
@example("//evil.example")
@example("/\\evil.example")
@example("/\t/evil.example")
@example("/\n/evil.example")
@example("https://evil.example")
@example("javascript:alert(1)")
@example("/%2f/evil.example")
@example("/..//evil.example")
@example("/;@evil.example")
def test_returning_stays_on_this_server(path: str) -> None:
    found = return_path(path)
    if found is not None:
        assert found == path
        assert urlsplit(urljoin("https://keyreeve.example/signin", found)).netloc == "keyreeve.example"
        assert found.startswith("/")
        assert found[1:2] not in ("/", "\\")


def test_a_path_of_ours_is_returned_to() -> None:
    for path in ("/", "/connect/acme/cloudflare", "/oauth/authorize?client_id=x&state=%2F%2Fy"):
        assert return_path(path) == path
    assert return_path(None) is None
    assert return_path("/" + "x" * 2000) is None


def test_what_cannot_be_seen_is_shown_as_such() -> None:
    assert view.plain("priya\u202ecom.evil\u200b\x07") == "priya\ufffdcom.evil\ufffd\ufffd"
    assert len(view.plain("x" * 9999)) == view.MAX_SHOWN + 1
    page = view.environment().from_string("<b title='{{ a }}'>{{ a }}</b>").render(a="<script>'\"&\u202e")
    assert page == "<b title='&lt;script&gt;&#39;&#34;&amp;\ufffd'>&lt;script&gt;&#39;&#34;&amp;\ufffd</b>"


def test_every_template_escapes_by_itself() -> None:
    for name in view.environment().list_templates():
        source = (view._HERE / "templates" / name).read_text(encoding="utf-8")
        assert "|safe" not in source.replace(" ", ""), name
        assert "style=" not in source, name
        assert "onclick" not in source, name
        assert "<script>" not in source, name


def test_a_form_becomes_the_credential_of_the_api() -> None:
    made = credential_of(
        offer(), {"kind": "account_token", "token": f" {TOKEN}\r\n", "account_id": "a" * 32, "permissions": "A, B\nC\n"}
    )
    assert made == {"kind": "account_token", "token": TOKEN, "account_id": "a" * 32, "permissions": ["A", "B", "C"]}
    with pytest.raises(Problem) as refused:
        credential_of(offer(), {"kind": TOKEN})
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("field", ["token", "account_id", "email", "key", "permissions", "kind"])
def test_a_token_in_any_field_is_not_shown_again(field: str) -> None:
    for kind in ("api_token", "account_token", "global_key"):
        fields = {"kind": kind, "account_id": "b" * 32, "email": "a@b.example", field: TOKEN}
        assert TOKEN not in str(filled(offer(), fields))


def test_what_is_no_secret_is_shown_again() -> None:
    assert filled(offer(), {"kind": "account_token", "account_id": "b" * 32}) == {"account_id": "b" * 32}
    assert filled(offer(), {"kind": "global_key", "email": "a@b.example"}) == {"email": "a@b.example"}


def test_failures_stand_at_their_fields() -> None:
    problem = Problem(
        "invalid_input",
        "x",
        fields=[Field("credential.token", "is short"), Field("credential.odd", "is odd")],
        hint="h",
    )
    shown = failures(problem, offer())
    assert shown.fields == {"token": "Is short."}
    assert shown.general == ("H.", "odd: Is odd.")
    assert "Nothing was changed" in failures(Problem("principal_changed", "x"), offer()).general[0]
    assert TOKEN not in str(failures(Problem("invalid_input", f"said {TOKEN}"), offer()))


def test_guesses_are_bounded_by_address_and_forgotten() -> None:
    now = 0.0
    guesses = Guesses(lambda: now)
    for _ in range(MOST):
        guesses.check("a")
        guesses.wrong("a")
    with pytest.raises(Problem) as refused:
        guesses.check("a")
    assert refused.value.code == "rate_limited"
    assert 0 < (refused.value.retry_after or 0) <= WINDOW + 1
    guesses.check("b")
    now = WINDOW + 1
    guesses.check("a")


def test_setups_are_what_their_editors_read() -> None:
    url = "https://keyreeve.example/t/acme/mcp"
    made = {s.editor: s.text for s in setups(url)}
    assert json.loads(made["Cursor"])["mcpServers"]["keyreeve"]["url"] == url
    assert json.loads(made["VS Code"])["servers"]["keyreeve"] == {"type": "http", "url": url}
    assert json.loads(made["Claude Desktop"])["mcpServers"]["keyreeve"]["args"][-1] == url
    assert tomllib.loads(made["Codex"])["mcp_servers"]["keyreeve"]["url"] == url
    assert made["Claude Code"].endswith(url)


def test_the_policy_lets_nothing_in_or_out() -> None:
    response = harden(Response("x"))
    policy = dict(p.strip().split(" ", 1) for p in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    wider = harden(Response("x"), forms="'self' http://127.0.0.1:1234")
    assert "form-action 'self' http://127.0.0.1:1234;" in wider.headers["content-security-policy"]


def test_cookies_over_https_can_be_set_by_nobody_else() -> None:
    assert LOGIN.named(secure=True).startswith("__Host-")
    assert RETURN.named(secure=True).startswith("__Host-")
    assert CONNECT_LINK.named(secure=True).startswith("__Secure-")
    assert SIGN_IN_LINK.named(secure=True).startswith("__Secure-")
    assert len({c.name for c in (LOGIN, RETURN, CONNECT_LINK, SIGN_IN_LINK)}) == 4


@pytest.mark.parametrize("base_url", ["https://keyreeve.example", "http://127.0.0.1:8700"])
def test_cookies_are_closed(base_url: str) -> None:
    clock = SystemClock()
    app = SimpleNamespace(state=SimpleNamespace(services=SimpleNamespace(base_url=base_url, clock=clock)))
    request = Request({"type": "http", "headers": [], "app": app})
    secure = base_url.startswith("https")
    for cookie in (LOGIN, RETURN, CONNECT_LINK, SIGN_IN_LINK):
        for change in ("put", "drop"):
            response = Response()
            if change == "put":
                cookies.put(request, response, cookie, "v", clock.now() + timedelta(minutes=5))
            else:
                cookies.drop(request, response, cookie)
            said = response.headers["set-cookie"]
            assert said.startswith(f"{cookie.named(secure=secure)}=")
            assert "HttpOnly" in said
            assert "SameSite=lax" in said
            assert f"Path={cookie.path};" in said
            assert ("; Secure" in said) is secure
            assert "Domain" not in said


def test_assets_are_known_files_with_addresses_of_their_content() -> None:
    assert set(view.assets()) == {"copy.js", "icon.svg", "page.css"}
    assert parse_qs(urlsplit(view.asset_path("page.css")).query)["v"]

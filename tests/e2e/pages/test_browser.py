"""The pages in a real browser, from the link in a message to the account that works."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from bench.harness import Stand
from bench.kit import TenantKit
from tests.browser import SCHEMES, WIDTHS, first_tab, launched, serious


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as made:
        yield made


@pytest.fixture
def context(browser: Browser, running_server: Stand) -> Iterator[BrowserContext]:
    """A fresh browser window that notes every request, and every complaint of the content policy."""
    made = browser.new_context()
    asked: list[str] = []
    complaints: list[str] = []
    made.on("request", lambda r: asked.append(r.url))
    made.on("console", lambda m: complaints.append(m.text) if "Policy" in m.text else None)
    yield made
    made.close()
    own = urlsplit(running_server.server.url).netloc
    assert {urlsplit(u).netloc for u in asked} <= {own}, "a page asked a third party for something"
    assert complaints == []


@pytest.fixture
def kit(tenant: TenantKit) -> TenantKit:
    tenant.connection()
    tenant.identity("priya@acme.example")
    tenant.grant({"identifier": "priya@acme.example"}, "write", operations=["GET /zones", "* /zones/*/dns_records/**"])
    return tenant


PRIYA = "priya@acme.example"


def connect_link(kit: TenantKit) -> str:
    made = kit.admin.ok("POST", "/v1/connect_links", {"connection_name": "cloudflare", "identifier": PRIYA})
    return str(made["url"])


def sign_in_link(kit: TenantKit) -> str:
    return str(kit.admin.ok("POST", "/v1/sign_in_links", {"identifier": PRIYA})["url"])


def sign_in(page: Page, kit: TenantKit) -> None:
    page.goto(sign_in_link(kit))
    with page.expect_navigation():  # to the end: the click is done when the answer begins, before there is a page
        page.get_by_role("button", name="Sign in").click()


def test_a_connect_link_from_message_to_connected(context: BrowserContext, kit: TenantKit) -> None:
    page = context.new_page()
    link = connect_link(kit)
    page.goto(link)
    ticket = link.rpartition("/")[2]
    assert page.url.endswith("/connect/link")
    assert ticket not in page.content()
    expect(page.get_by_role("heading", level=1)).to_have_text("Connect Cloudflare")
    expect(page.get_by_text("DNS Write", exact=True)).to_be_visible()
    secret = page.get_by_label("Token", exact=True)
    assert secret.get_attribute("type") == "password"
    assert secret.get_attribute("autocomplete") == "off"

    wrong = "cfut_" + "wrong" * 10
    secret.fill(wrong)
    page.get_by_role("button", name="Verify and connect").click()
    expect(page.get_by_role("alert")).to_be_focused()
    assert wrong not in page.content()
    expect(page.get_by_label("Token", exact=True)).to_have_attribute("aria-invalid", "true")

    upstream = kit.stand.upstream.token()
    page.get_by_label("Token", exact=True).fill(f"  {upstream['value']}\n")
    page.get_by_role("button", name="Verify and connect").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Cloudflare is connected")
    expect(page.get_by_text("Broader than needed.")).to_be_visible()
    assert upstream["value"] not in page.content()
    accounts = kit.admin.ok("GET", f"/v1/connected_accounts?identifier={PRIYA}")["items"]
    assert [a["status"] for a in accounts] == ["active"]

    page.goto(link)
    expect(page.get_by_text("This link has been used.")).to_be_visible()
    assert not [c for c in context.cookies() if c["name"] == "krv_connect"]


def test_from_a_refused_call_to_one_that_works_and_back(context: BrowserContext, kit: TenantKit) -> None:
    api = kit.stand.server.api(kit.session(PRIYA)["token"])
    refused = api.call("GET /zones").json()
    assert (refused["code"], refused["fix"]) == ("not_connected", "user")
    (missing,) = api.ok("GET", "/v1/tools/scoped")["unavailable"]
    assert missing["connect_url"] == refused["connect_url"]

    page = context.new_page()
    page.goto(refused["connect_url"])
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to connect cloudflare")
    sign_in(page, kit)
    assert page.url == refused["connect_url"], "signing in leads back to where the person was going"
    page.get_by_label("Token", exact=True).fill(kit.stand.upstream.token()["value"])
    page.get_by_role("button", name="Verify and connect").click()
    page.get_by_role("link", name="To your accounts").click()
    expect(page.get_by_text("connected", exact=True)).to_be_visible()
    assert api.call("GET /zones").status_code == 200

    page.get_by_text(re.compile(r"^\d+ tools?$")).click()
    expect(page.get_by_text("cloudflare_call")).to_be_visible()
    page.get_by_text(re.compile("^Revoke")).first.click()
    page.get_by_role("button", name=re.compile("^Revoke ")).click()
    expect(page.get_by_text("revoked", exact=True)).to_be_visible()
    cut = api.call("GET /zones").json()
    assert cut["code"] == "revoked"
    assert cut["connect_url"] == refused["connect_url"]

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert not [c for c in context.cookies() if c["name"] == "krv_login"]
    api.close()


def test_an_offboarded_person_is_out_at_once(context: BrowserContext, kit: TenantKit) -> None:
    page = context.new_page()
    sign_in(page, kit)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    kit.admin.ok("POST", f"/v1/identities/{PRIYA}:offboard", {"reason": "left", "drain_seconds": 0})
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)


def test_another_kind_of_credential(context: BrowserContext, kit: TenantKit) -> None:
    page = context.new_page()
    page.goto(connect_link(kit))
    page.get_by_role("link", name="Account token").click()
    page.get_by_label("Account ID").fill("a" * 32)
    page.get_by_label("Token", exact=True).fill("cfut_" + "y" * 48)
    page.get_by_role("button", name="Verify and connect").click()
    expect(page.locator("#e-token")).to_contain_text("api_token")
    assert page.get_by_label("Account ID").input_value() == "a" * 32


def test_it_all_works_without_scripts(browser: Browser, kit: TenantKit) -> None:
    window = browser.new_context(java_script_enabled=False)
    page = window.new_page()
    page.goto(connect_link(kit))
    page.fill("#f-token", kit.stand.upstream.token()["value"])
    page.click("main button[type=submit]")
    assert "is connected" in page.inner_text("h1")
    page.goto(sign_in_link(kit))
    page.click("main button[type=submit]")
    assert "Claude Code" in page.inner_text("main")
    assert page.locator("button.copy").count() == 0
    window.close()


def test_copying_and_the_keyboard(browser: Browser, kit: TenantKit) -> None:
    window = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = window.new_page()
    sign_in(page, kit)
    first_tab(page)
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.get_by_role("button", name="Copy: Claude Code").click()
    url = f"{kit.stand.server.url}/t/{kit.name}/mcp"
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"claude mcp add --transport http keyreeve {url}"
    window.close()


Step = Callable[[Page, TenantKit], None]


def _wrong(page: Page, kit: TenantKit) -> None:
    page.goto(connect_link(kit))
    page.fill("#f-token", "nonsense")
    page.get_by_role("button", name="Verify and connect").click()


def _connected(page: Page, kit: TenantKit) -> None:
    page.goto(connect_link(kit))
    page.fill("#f-token", kit.stand.upstream.token()["value"])
    page.get_by_role("button", name="Verify and connect").click()


def _home(page: Page, kit: TenantKit) -> None:
    sign_in(page, kit)
    page.goto(f"{kit.stand.server.url}/")
    for summary in page.locator("summary").all():
        summary.click()


PAGES: dict[str, Step] = {
    "welcome": lambda p, k: p.goto(f"{k.stand.server.url}/") and None,
    "sign in": lambda p, k: p.goto(f"{k.stand.server.url}/signin") and None,
    "sign in to connect": lambda p, k: p.goto(f"{k.stand.server.url}/connect/{k.name}/cloudflare") and None,
    "sign-in link": lambda p, k: p.goto(sign_in_link(k)) and None,
    "connect": lambda p, k: p.goto(connect_link(k)) and None,
    "connect, wrong": _wrong,
    "connected": _connected,
    "home": _home,
    "problem": lambda p, k: p.goto(f"{k.stand.server.url}/connect/link") and None,
}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_accessible_and_fits(browser: Browser, kit: TenantKit, name: str) -> None:
    """Light and dark, narrow and wide: axe-core finds nothing serious, and nothing is wider than the window."""
    kit.connection("second")
    kit.grant({"identifier": PRIYA}, "read", connection="second")
    if name == "home":
        kit.account(PRIYA, kit.stand.upstream.token()["value"])
    window = browser.new_context()
    page = window.new_page()
    PAGES[name](page, kit)
    assert page.locator("h1").count() == 1
    found = {}
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            wrong = serious(page)
            if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                wrong.append("wider than the window")
            if wrong:
                found[f"{scheme} {width}"] = wrong
    window.close()
    assert found == {}


def test_links_from_the_command_line(context: BrowserContext, kit: TenantKit) -> None:
    """What an admin types, and the pages that come of it."""
    environ = {**os.environ, "KEYREEVE_URL": kit.stand.server.url, "KEYREEVE_API_KEY": kit.admin.key or ""}
    page = context.new_page()
    for words, heading in (
        (["connect-link", "cloudflare", PRIYA], "Connect Cloudflare"),
        (["sign-in-link", PRIYA], f"Sign in as {PRIYA}"),
    ):
        command = [sys.executable, "-m", "broker.cli", *words, "--tenant", kit.name]
        said = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True).stdout
        url = json.loads(said)["url"]
        page.goto(url)
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)

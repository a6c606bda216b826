"""The consent page in a real browser: its answer reaches the program, and everybody can use it."""

import http.server
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from bench.kit import Engineer, TenantKit
from tests.browser import SCHEMES, WIDTHS, first_tab, launched, serious
from tests.e2e.oauth.person import Editor


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as made:
        yield made


@pytest.fixture
def engineer(tenant: TenantKit) -> Engineer:
    tenant.connection()
    tenant.connection("second")
    engineer = tenant.engineer()
    tenant.grant({"identifier": engineer.identifier}, "read", "second")
    return engineer


@pytest.fixture
def program() -> Iterator[tuple[str, list[str]]]:
    """A program on this machine that waits for its answer, and sends the person on to a page of its own elsewhere: its
    address, and what arrived there."""
    arrived: list[str] = []

    class Waiting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/callback"):
                arrived.append(self.path)
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{server.server_port}/done")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"done")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Waiting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/callback", arrived
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_from_the_editor_and_back(
    tenant: TenantKit, engineer: Engineer, browser: Browser, program: tuple[str, list[str]]
) -> None:
    address, arrived = program
    editor = Editor(tenant, redirect_uri=address)
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if "Policy" in m.text else None)
    page.goto(editor.base + editor.url(scope="tools:read tools:write"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Sign in")
    page.goto(tenant.admin.ok("POST", "/v1/sign_in_links", {"identifier": engineer.identifier})["url"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Let An editor use your tools?")
    expect(page.get_by_text("127.0.0.1").first).to_be_visible()
    for name in ("cloudflare", "second"):
        expect(page.get_by_label(name)).to_have_value("read")
    offered = page.get_by_label("cloudflare").get_by_role("option").all_inner_texts()
    assert offered == ["Nothing", "Read only", "Read and change"], "no more than the program asked for"
    page.get_by_label("second").select_option("Nothing")
    page.get_by_label("cloudflare").select_option("Read and change")
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_text("done")).to_be_visible()
    code = arrived[0].partition("code=")[2].partition("&")[0]
    tokens = editor.redeem(code).json()
    assert tokens["scope"] == "tools:read tools:write"
    names = {tool["name"].partition("_")[0] for tool in editor.tools(tokens["access_token"]).json()["result"]["tools"]}
    assert names == {"cloudflare"}
    page.goto(editor.base)
    expect(page.get_by_role("heading", name="Signed-in editors")).to_be_visible()
    page.get_by_role("button", name="Sign out An editor").click()
    expect(page.get_by_role("heading", name="Signed-in editors")).to_have_count(0)
    assert editor.tools(tokens["access_token"]).status_code == 401
    assert complaints == []
    context.close()


def test_by_the_keyboard_alone_each_connection_gets_its_own_access(
    tenant: TenantKit, engineer: Engineer, browser: Browser, program: tuple[str, list[str]]
) -> None:
    address, arrived = program
    editor = Editor(tenant, redirect_uri=address)
    context = browser.new_context(viewport={"width": 400, "height": 900})
    page = context.new_page()
    page.goto(tenant.admin.ok("POST", "/v1/sign_in_links", {"identifier": engineer.identifier})["url"])
    page.get_by_role("button", name="Sign in").click()
    page.goto(editor.base + editor.url(scope="tools:write"))
    first_tab(page)
    page.get_by_label("cloudflare").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("cloudflare")).to_have_value("write")
    page.keyboard.press("Tab")
    expect(page.get_by_label("second")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Allow", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("done")).to_be_visible()
    answer = parse_qs(urlsplit(arrived[0]).query)
    tokens = editor.redeem(answer["code"][0])
    assert tokens.status_code == 200, tokens.text
    assert tokens.json()["scope"] == "tools:read tools:write"
    page.goto(editor.base)
    shown = page.get_by_role("article", name="An editor")
    expect(shown).to_contain_text("cloudflare: read and change")
    expect(shown).to_contain_text("second: read")
    context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_everybody_can_use_it(tenant: TenantKit, engineer: Engineer, browser: Browser, scheme: str, width: int) -> None:
    editor = Editor(tenant)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(tenant.admin.ok("POST", "/v1/sign_in_links", {"identifier": engineer.identifier})["url"])
    page.get_by_role("button", name="Sign in").click()
    page.goto(editor.base + editor.url())
    expect(page.get_by_role("heading", level=1)).to_contain_text("use your tools?")
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()

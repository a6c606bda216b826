"""Consent where there are many connections: one choice for all, single ones besides, in a real browser and by hand."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from bench.kit import Engineer, TenantKit
from tests.browser import SCHEMES, WIDTHS, first_tab, launched, serious
from tests.e2e.oauth.many import add
from tests.e2e.oauth.person import OURS, Editor, Person, answer_of, field
from tests.e2e.oauth.test_browser import program

__all__ = ["program"]
EVERYTHING = "tools:read tools:write tools:destructive"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as made:
        yield made


@pytest.fixture
def engineer(tenant: TenantKit) -> Engineer:
    tenant.connection()
    return tenant.engineer()


def opened(browser: Browser, tenant: TenantKit, editor: Editor, engineer: Engineer, width: int, scheme: str) -> Page:
    """The consent page."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(tenant.admin.ok("POST", "/v1/sign_in_links", {"identifier": engineer.identifier})["url"])
    page.get_by_role("button", name="Sign in").click()
    page.goto(editor.base + editor.url(scope=EVERYTHING))
    expect(page.get_by_role("heading", level=1)).to_contain_text("use your tools?")
    return page


def usable(page: Page) -> None:
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("document.documentElement.scrollHeight") < 2500, "the list scrolls in itself"


@pytest.mark.parametrize(("width", "scheme"), list(zip(WIDTHS, SCHEMES, strict=True)))
def test_two_hundred_in_a_browser(
    tenant: TenantKit,
    engineer: Engineer,
    browser: Browser,
    program: tuple[str, list[str]],
    width: int,
    scheme: str,
) -> None:
    """By the keyboard: nothing on all, something on two; the list of 200 is skipped."""
    added = add(tenant, 199)
    editor = Editor(tenant, redirect_uri=program[0])
    page = opened(browser, tenant, editor, engineer, width, scheme)
    usable(page)
    rest = page.get_by_label("On all 200, where nothing else is chosen below")
    expect(rest).to_have_value("read")
    first_tab(page)
    rest.focus()
    page.keyboard.press("ArrowUp")
    expect(rest).to_have_value("none")
    page.get_by_label(added[7]).select_option("Read only")
    page.get_by_label(added[150]).select_option("Read and change")
    rest.focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip the list")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Allow", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("done")).to_be_visible()
    tokens = editor.redeem(program[1][0].partition("code=")[2].partition("&")[0]).json()
    assert tokens["scope"] == "tools:read tools:write"
    signed_in = tenant.admin.ok("GET", "/v1/audit/events?operation=client.signed_in")["items"]
    assert signed_in[0]["summary"]["access_by"] == {added[7]: "read", added[150]: "write"}
    page.goto(editor.base)
    expect(page.get_by_role("article", name="An editor")).to_contain_text(f"{added[150]}: read and change")
    page.context.close()


def test_more_than_that_have_one_access(tenant: TenantKit, engineer: Engineer, browser: Browser) -> None:
    add(tenant, 205)
    editor = Editor(tenant)
    page = opened(browser, tenant, editor, engineer, WIDTHS[0], SCHEMES[1])
    usable(page)
    expect(page.get_by_text("too many connections to choose among")).to_be_visible()
    expect(page.get_by_label("Read only")).to_be_checked()
    page.context.close()
    person = Person(tenant, engineer.identifier)
    url = editor.url(scope=EVERYTHING)
    tokens = editor.redeem(answer_of(person.consent(url, access="write"))["code"]).json()
    assert tokens["scope"] == "tools:read tools:write"
    html = person.http.get(url).text
    asked = {"csrf": field(html, "csrf"), "request": field(html, "request"), "decision": "allow", "access": "read"}
    for wrong, told in (({"c.cloudflare": "read"}, "cannot choose"), ({f"x{n}": "" for n in range(210)}, "not a form")):
        reply = person.http.post(url.partition("?")[0], data={**asked, **wrong}, headers=OURS)
        assert reply.status_code == 422, reply.text
        assert told in reply.text


def test_every_one_of_two_hundred_may_differ(tenant: TenantKit, engineer: Engineer) -> None:
    """The most that a post, a code, a session and the audit hold."""
    added = add(tenant, 199)
    by = {name: ("read", "write")[n % 2] for n, name in enumerate(["cloudflare", *added])}
    editor, person = Editor(tenant), Person(tenant, engineer.identifier)
    tokens = editor.redeem(answer_of(person.consent(editor.url(scope=EVERYTHING), by=by))["code"]).json()
    assert tokens["scope"] == "tools:read tools:write"
    shown = [s for s in tenant.admin.ok("GET", "/v1/sessions?page_size=1000")["items"] if s["access_by"] is not None]
    assert [s["access_by"] for s in shown] == [by, by]
    assert editor.tools(tokens["access_token"]).status_code == 200
    assert editor.refresh(tokens["refresh_token"]).json()["scope"] == tokens["scope"]


def test_reading_is_what_one_gets_without_choosing(tenant: TenantKit, engineer: Engineer) -> None:
    """A client that follows the first challenge asks for everything, and the token says what it came to."""
    add(tenant, 20)
    editor, person = Editor(tenant), Person(tenant, engineer.identifier)
    reply = editor.http.post(f"/t/{tenant.name}/mcp", json={})
    assert f'scope="{EVERYTHING}"' in reply.headers["www-authenticate"]
    for scope in (EVERYTHING, None, "offline_access"):
        url = editor.url(scope=scope)
        html = person.http.get(url).text
        given = {"csrf": field(html, "csrf"), "request": field(html, "request"), "rest": "read", "decision": "allow"}
        assert html.count('value="destructive"') == 22
        assert html.count(" selected") == 22
        assert html.count('value="read" selected') == 1
        answer = answer_of(person.http.post(url.partition("?")[0], data=given, headers=OURS))
        assert editor.redeem(answer["code"]).json()["scope"] == "tools:read"

"""A person in a real browser: signs in with their organisation, and lets an editor in."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from bench.harness import Stand
from connectors.simulators.oidc.provider import Provider
from tests.browser import SCHEMES, WIDTHS, launched, serious
from tests.e2e.oauth.person import Editor
from tests.e2e.oauth.test_browser import program
from tests.e2e.oidc.conftest import Organisation

__all__ = ["program"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as made:
        yield made


def test_from_the_front_page(running_server: Stand, provider: Provider, browser: Browser) -> None:
    kit = running_server.default_tenant()
    organisation = Organisation(kit, provider)
    organisation.set()
    identifier, _ = organisation.person()
    host = provider.issuer.removeprefix("http://")
    page = browser.new_context().new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if "Policy" in m.text else None)
    page.goto(running_server.url)
    page.get_by_role("link", name=f"Sign in with {host}").click()
    expect(page.get_by_text(f"Signed in as {identifier}")).to_be_visible()
    assert page.url == f"{running_server.url}/"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name=f"Sign in with {host}")).to_be_visible()
    page.goto(f"{running_server.url}/signin")
    page.get_by_role("link", name=f"Sign in with {host}").click()
    expect(page.get_by_text(f"Signed in as {identifier}")).to_be_visible()
    assert complaints == []
    kit.admin.ok("DELETE", "/v1/sign_in_provider")
    page.goto(running_server.url)
    expect(page.get_by_role("link", name="Sign in", exact=True)).to_be_visible()
    page.context.close()
    kit.close()


def test_from_the_editor_and_back(organisation: Organisation, browser: Browser, program: tuple[str, list[str]]) -> None:
    address, arrived = program
    kit = organisation.kit
    kit.connection()
    engineer = kit.engineer()
    organisation.person(engineer.identifier)
    editor = Editor(kit, redirect_uri=address)
    page = browser.new_context().new_page()
    page.goto(editor.base + editor.url())
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to use your tools from an editor")
    page.get_by_role("link", name="Sign in with 127.0.0.1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Let An editor use your tools?")
    expect(page.get_by_text(engineer.identifier).first).to_be_visible()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_text("done")).to_be_visible()
    code = arrived[0].partition("code=")[2].partition("&")[0]
    tokens = editor.redeem(code).json()
    names = {t["name"].partition("_")[0] for t in editor.tools(tokens["access_token"]).json()["result"]["tools"]}
    assert names == {"cloudflare"}
    page.context.close()


def test_by_the_organisations_name(organisation: Organisation, browser: Browser) -> None:
    identifier, _ = organisation.person()
    page = browser.new_context().new_page()
    page.goto(f"{organisation.kit.stand.url}/signin")
    page.get_by_label("Your organisation’s name on this server").fill(organisation.kit.name)
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("link", name="Sign in with 127.0.0.1").click()
    expect(page.get_by_text(f"Signed in as {identifier}")).to_be_visible()
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), list(zip(WIDTHS, SCHEMES, strict=True)))
def test_everybody_can_use_it(organisation: Organisation, browser: Browser, scheme: str, width: int) -> None:
    kit = organisation.kit
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    for path in (f"/t/{kit.name}/signin", "/signin", f"/t/{kit.name}/signin/callback?code=x&state=y"):
        page.goto(kit.stand.url + path)
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()

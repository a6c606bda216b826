"""A hostile authorization server passes people on to an honest one, to be handed its code (RFC 9700 § 4.4)."""

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from bench.kit import TenantKit
from tests.e2e.mcp_upstream.conftest import McpServers
from tests.e2e.mcp_upstream.site import Site

SILENT: dict[str, Any] = {
    "metadata": {"authorization_response_iss_parameter_supported": False},
    "answer": {"iss": ""},
}
"""An authorization server that does not name itself."""


@pytest.fixture
def hostile(servers: McpServers, tenant: TenantKit) -> Iterator[Site]:
    yield from _site(servers, tenant, tenant.name)


@pytest.fixture
def honest(servers: McpServers, tenant: TenantKit) -> Iterator[Site]:
    yield from _site(servers, tenant, f"{tenant.name}-honest")


def _site(servers: McpServers, tenant: TenantKit, name: str) -> Iterator[Site]:
    made = Site(servers, tenant, name)
    made.behaves(**SILENT)
    yield made
    for opened in made.open:
        opened.close()


def relayed(left: httpx.Response, honest: Site, client_id: str, redirect_uri: str | None = None) -> httpx.Response:
    """The honest server's answer to the request that the person was to take to the hostile one."""
    found = re.search(r'<a class="button" href="([^"]+)"', left.text)
    assert found, left.text
    asked = {name: values[0] for name, values in parse_qs(urlsplit(html.unescape(found[1])).query).items()}
    asked |= {"client_id": client_id, "redirect_uri": redirect_uri or asked["redirect_uri"]}
    return honest.http.get(f"{honest.issuer()}/authorize?{urlencode(asked)}")


def path_of(reply: httpx.Response) -> str:
    """Where the honest server sends the browser: a path of ours."""
    assert reply.status_code == 302, reply.text
    parts = urlsplit(reply.headers["location"])
    return f"{parts.path}?{parts.query}"


def test_an_honest_servers_answer_is_taken_at_its_own_address_alone(hostile: Site, honest: Site) -> None:
    ours = {"client_id": "ours", "redirect_uris": [honest.redirect()], "token_endpoint_auth_method": "none"}
    honest.behaves(**SILENT, clients={"ours": ours})
    hostile.connection()
    browser = hostile.by_link()
    assert hostile.redirect() != honest.redirect()
    back = path_of(relayed(hostile.leave(browser), honest, "ours", honest.redirect()))
    refused = browser.get(back)
    assert (refused.status_code, "address of another authorization server" in refused.text) == (422, True)
    assert browser.get(back).status_code == 404, "and that was this state's only use"
    # The hostile one's own address is none that the honest one would answer to.
    assert relayed(hostile.leave(browser), honest, "ours").status_code == 500
    assert hostile.asked() == [], "no code and no verifier went to the hostile one"
    assert hostile.kit.admin.ok("GET", "/v1/connected_accounts")["items"] == []


def test_an_answer_that_names_its_issuer_is_not_taken_for_anothers(hostile: Site, honest: Site) -> None:
    """Where anybody may register, the hostile one has registered its own address at the honest one."""
    theirs = {"client_id": "theirs", "redirect_uris": [hostile.redirect()], "token_endpoint_auth_method": "none"}
    honest.behaves(clients={"theirs": theirs})
    hostile.connection()
    browser = hostile.by_link()
    refused = browser.get(path_of(relayed(hostile.leave(browser), honest, "theirs")))
    assert (refused.status_code, "from another authorization server" in refused.text) == (422, True)
    assert hostile.asked() == []


def test_an_answer_moved_to_another_address_is_not_taken(hostile: Site, honest: Site) -> None:
    """The right answer of the right server, at any other address of ours."""
    hostile.connection()
    browser = hostile.by_link()
    for wrong in (urlsplit(honest.redirect()).path, urlsplit(hostile.redirect()).path.replace("callback/", "client/")):
        back = hostile.answer(hostile.leave(browser))
        moved = back.replace(urlsplit(hostile.redirect()).path, wrong if "client" not in wrong else f"{wrong}/callback")
        assert moved != back
        assert browser.get(moved).status_code == 422
    assert hostile.asked() == []
    assert browser.get("/upstream/callback?state=x&code=x").status_code == 404, "nothing answers to all of them"

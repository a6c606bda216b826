"""What a test of signing in needs: an issuer (signing_in.py), a server that names it, and an engineer with browsers."""

import html
import re
from typing import Any
from urllib.parse import urlsplit

import httpx

from bench.kit import TenantKit
from broker.accounts.upstream_oauth.redirects import Redirects
from tests.e2e.mcp_upstream.conftest import Connected, McpServers
from tests.e2e.oauth.person import OURS, Person, client, field


class Site:
    """An issuer, the server that names it, and an engineer who may connect to it."""

    def __init__(self, servers: McpServers, kit: TenantKit, name: str) -> None:
        self.url = servers.url
        self.name = name
        self.kit = kit
        self.http = httpx.Client(timeout=30, trust_env=False)
        self.identifier = kit.identity()
        self.open: list[Any] = [self.http]

    def behaves(self, **how: Any) -> None:
        assert self.http.post(f"{self.url}/issuer-control/{self.name}", json=how).status_code == 200

    def issuer(self) -> str:
        """The authorization server, by its name."""
        return f"{self.url}/issuer/{self.name}"

    def redirect(self) -> str:
        """Where its answers are taken, and nobody else's."""
        return Redirects(self.kit.stand.server.url).registered(self.issuer())

    def connection(self, **config: Any) -> None:
        wanted = {"url": f"{self.url}/oauth/{self.name}/mcp", **config}
        self.kit.platform.ok("POST", "/v1/connections", {"name": "up", "connector": "mcp", "config": wanted})
        self.kit.grant({"identifier": self.identifier}, "write", "up")

    def asked(self, grant_type: str | None = None) -> list[dict[str, Any]]:
        found = self.http.get(f"{self.url}/issuer-journal/{self.name}").json()["asked"]
        return [a for a in found if grant_type is None or a.get("grant_type") == grant_type]

    def registered(self) -> list[dict[str, Any]]:
        clients: list[dict[str, Any]] = self.http.get(f"{self.url}/issuer-journal/{self.name}").json()["clients"]
        return clients

    def by_link(self, identifier: str | None = None) -> httpx.Client:
        """A browser that has opened a connect link."""
        wanted = {"connection_name": "up", "identifier": identifier or self.identifier}
        link = self.kit.admin.ok("POST", "/v1/connect_links", wanted)
        browser = self.browser()
        assert browser.get(link["url"]).status_code == 303
        return browser

    def browser(self) -> httpx.Client:
        """One that has been nowhere yet."""
        self.open.append(client(self.kit))
        return self.open[-1]  # type: ignore[no-any-return]

    def person(self, identifier: str) -> Person:
        """A browser whose person is signed in to Keyreeve."""
        found = Person(self.kit, identifier)
        self.open.append(found.http)
        return found

    def engineer(self) -> Connected:
        """The engineer's agent."""
        found = Connected(self.kit, "up", self.identifier)
        self.open.append(found.api)
        return found

    def leave(self, browser: httpx.Client, action: str = "/connect/link") -> httpx.Response:
        """Presses the button."""
        page = browser.get(action)
        assert page.status_code == 200, page.text
        return browser.post(f"{action}/sign_in", data={"csrf": field(page.text, "csrf")}, headers=OURS)

    def answer(self, left: httpx.Response) -> str:
        """What the issuer sends the browser back to: a path of ours."""
        assert left.status_code == 200, left.text
        found = re.search(r'<a class="button" href="([^"]+)"', left.text)
        assert found, left.text
        reply = self.http.get(html.unescape(found[1]))
        assert reply.status_code == 302, reply.text
        parts = urlsplit(reply.headers["location"])
        assert f"{parts.scheme}://{parts.netloc}" == self.kit.stand.server.url
        return f"{parts.path}?{parts.query}"

    def connected(self) -> Connected:
        """Connects the engineer."""
        browser = self.by_link()
        done = browser.get(self.answer(self.leave(browser)))
        assert done.status_code == 200, done.text
        assert "is connected" in done.text
        return self.engineer()

    def account(self) -> dict[str, Any]:
        listed = self.kit.admin.ok("GET", f"/v1/connected_accounts?identifier={self.identifier}")["items"]
        assert len(listed) == 1, listed
        found: dict[str, Any] = listed[0]
        return found

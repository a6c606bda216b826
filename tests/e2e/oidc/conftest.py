"""An installation that may reach one OIDC provider on loopback, and a browser without a screen."""

import asyncio
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from bench.harness import Stand
from bench.kit import TenantKit
from connectors.simulators.cloudflare.clock import wall_seconds
from connectors.simulators.oidc.provider import Account, Client, Provider
from connectors.simulators.oidc.serving import serving
from tests.security.canary import dump, find, secrets_of


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    with serving(Provider(wall_seconds)) as provider:
        yield provider


@pytest.fixture(scope="session")
def running_server(provider: Provider) -> Iterator[Stand]:
    """As tests/running.py's, which may not reach the provider."""
    with Stand(arguments=("--allow-upstream", provider.issuer.removeprefix("http://"))) as stand:
        yield stand
        # The client secrets above all; the long search of every file is tests/running.py's.
        with ThreadPoolExecutor(1) as thread:
            tables = thread.submit(lambda: asyncio.run(dump(stand.server.database()))).result()
        left: dict[str, bytes | Path] = {"logs": stand.server.logs(), "replies": stand.server.transcript.path, **tables}
        hits = find(left, secrets_of(stand))
        faults = [line for line in stand.server.logs().splitlines() if b'"unhandled"' in line]
    assert not faults, f"{len(faults)} requests met a fault of ours, the first: {faults[0][:1500]!r}"
    assert not hits, f"secrets in what the run left behind: {hits}"


@dataclass
class Organisation:
    """A tenant with a sign-in provider, in which it is a client of its own."""

    kit: TenantKit
    provider: Provider

    def set(self, **wanted: Any) -> dict[str, Any]:
        secret = secrets.token_hex(24)
        self.kit.stand.server.transcript.minted.add(secret)
        body = {"issuer": self.provider.issuer, "client_id": self.kit.name, "client_secret": secret, **wanted}
        shown = self.kit.admin.ok("PUT", "/v1/sign_in_provider", body)
        uri = shown["backchannel_logout_uri"]
        self.provider.clients[self.kit.name] = Client(self.kit.name, secret, [shown["redirect_uri"]], uri)
        return shown

    def person(self, identifier: str | None = None) -> tuple[str, Account]:
        """A new identity, linked to somebody new at the provider, who is signed in there now."""
        chosen = self.kit.identity(identifier) if identifier is None else identifier
        account = Account(f"subject-{secrets.token_hex(6)}", chosen)
        self.kit.admin.ok("PUT", f"/v1/identities/{chosen}/sign_in", {"subject": account.subject})
        self.provider.current = account
        return chosen, account


@pytest.fixture
def organisation(tenant: TenantKit, provider: Provider) -> Organisation:
    provider.lies = set()
    made = Organisation(tenant, provider)
    made.set()
    return made


class Visitor:
    """A browser that follows nothing by itself."""

    def __init__(self, kit: TenantKit) -> None:
        self.kit = kit
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=kit.stand.url, trust_env=False, timeout=30, verify=False, limits=limits)  # noqa: S501
        self.elsewhere = httpx.Client(trust_env=False, timeout=30, verify=False, limits=limits)  # noqa: S501

    def start(self) -> str:
        """Where the button leads."""
        reply = self.http.get(f"/t/{self.kit.name}/signin/start")
        assert reply.status_code == 303, reply.text
        return reply.headers["location"]

    def answer(self, location: str) -> str:
        """Where the provider sends the browser: a path of this server's."""
        reply = self.elsewhere.get(location)
        assert reply.status_code == 302, reply.text
        back: str = reply.headers["location"]
        assert back.startswith(f"{self.kit.stand.url}/t/{self.kit.name}/signin/callback?")
        return back.removeprefix(self.kit.stand.url)

    def sign_in(self) -> httpx.Response:
        return self.http.get(self.answer(self.start()))

    def who(self) -> str | None:
        """Who this browser is signed in as."""
        page = self.http.get("/").text
        return None if "Signed in as" not in page else page.partition('class="as">')[2].split("<b>")[1].split("</b>")[0]


def parameters(path: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(path).query))

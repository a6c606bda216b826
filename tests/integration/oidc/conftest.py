"""A tenant, its provider on loopback, and a browser that is a cookie and a redirect."""

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import pytest_asyncio

from broker.db.database import Database
from broker.gate import revoke
from broker.identity.logins import Login, Logins, NewLogin
from broker.identity.oidc.fetching import Documents
from broker.identity.oidc.providers import Wanted
from broker.identity.oidc.server import OidcSignIn, Started, make_oidc
from connectors.egress import EgressPolicy
from connectors.http import HttpClient
from connectors.simulators.oidc.provider import Account, Client, Provider
from connectors.simulators.oidc.serving import serving
from tests.integration.identity.world import World, make_world

SECRET = "client-secret-of-a-test"
PRIYA = Account("priya-1", "priya@acme.example", name="Priya")


BASE = "https://k.test"
SOURCE = "192.0.2.7"


def redirect_uri(tenant: str) -> str:
    return f"{BASE}/t/{tenant}/signin/callback"


@pytest.fixture(scope="session")
def loopback() -> Iterator[Provider]:
    """One provider for all tests; `stage` puts it back as it was."""
    provider = Provider(lambda: 0.0)
    with serving(provider):
        yield provider


@dataclass
class Stage:
    """The services, and the short way through a sign-in."""

    world: World
    provider: Provider
    logins: Logins
    oidc: OidcSignIn

    async def set(self, **wanted: Any) -> dict[str, Any]:
        given = {"issuer": self.provider.issuer, "client_id": "keyreeve", "client_secret": SECRET, **wanted}
        return await self.oidc.providers.put(await self.world.caller(), Wanted(**given))

    async def begin(self, tenant: str | None = None) -> Started:
        return await self.oidc.begin(tenant or self.world.tenant, self.world.clock.now(), SOURCE)

    async def visit(self, started: Started) -> dict[str, str]:
        """What the provider sends the browser back with."""
        async with httpx.AsyncClient(trust_env=False, verify=False) as browser:  # noqa: S501 - plain http
            reply = await browser.get(started.location)
        assert reply.status_code == 302, reply.text
        return dict(parse_qsl(urlsplit(reply.headers["location"]).query))

    async def finish(self, started: Started, answer: dict[str, str], **more: Any) -> NewLogin:
        tenant, cookie = more.get("tenant", self.world.tenant), more.get("cookie", started.cookie)
        return await self.oidc.finish(tenant, cookie, answer, self.world.clock.now(), SOURCE)

    async def sign_in(self, account: Account | None = None) -> Login:
        """From the button to the login."""
        if account is not None:
            self.provider.current = account
        started = await self.begin()
        made = await self.finish(started, await self.visit(started))
        return await self.logins.resolve(made.cookie, self.world.clock.now())

    async def link(self, identifier: str = "priya", subject: str = PRIYA.subject, **more: Any) -> dict[str, Any]:
        caller = await self.world.caller()
        return await self.oidc.people.link(caller, identifier, issuer=more.get("issuer"), subject=subject)

    async def told(self, operation: str) -> list[dict[str, Any]]:
        """The audit's changes of that name, with what was written of each as `summary`."""
        found = [c for c in await self.world.changes() if c["operation"] == operation]
        return [c | {"summary": c["body"]["summary"]} for c in found]


@pytest_asyncio.fixture
async def stage(db: Database, loopback: Provider) -> AsyncIterator[Stage]:
    world = await make_world(db)
    loopback.now = lambda: world.clock.now().timestamp()
    loopback.lies, loopback.asked, loopback.arrived = set(), [], []
    loopback.announces_issuer, loopback.methods = True, ["client_secret_basic", "client_secret_post"]
    loopback.current = PRIYA
    loopback.clients = {"keyreeve": Client("keyreeve", SECRET, [redirect_uri(world.tenant), redirect_uri(world.home)])}
    egress = EgressPolicy.parse([loopback.issuer.removeprefix("http://")])
    logins = Logins(db=db, trail=world.trail, revocation=revoke)
    async with HttpClient(egress) as http:
        yield Stage(
            world=world,
            provider=loopback,
            logins=logins,
            oidc=make_oidc(
                db=db,
                trail=world.trail,
                revocation=revoke,
                logins=logins,
                http=http,
                documents=Documents(http, egress),
                vault_=world.sealed_storage,
                base_url=BASE,
                random=secrets.token_bytes,
            ),
        )

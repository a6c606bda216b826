"""A tenant with every service, the Cloudflare simulator, and what the pages stand on."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from broker.accounts.links import Links
from broker.accounts.offers import Offers
from broker.accounts.own import OwnAccounts
from broker.db.database import Database
from broker.gate import revoke
from broker.identity.logins import Logins
from broker.identity.signin import SignIn
from tests.integration.accounts.world import World, make


@dataclass
class People:
    """The services of the pages, beside the world they are in."""

    world: World
    logins: Logins
    sign_in: SignIn
    links: Links
    offers: Offers
    own: OwnAccounts

    async def ticket(self, identifier: str = "priya@acme.example", connection: str = "cloudflare") -> str:
        """A connect link's ticket, made by the admin."""
        made = await self.links.create(await self.world.admin(), connection_name=connection, identifier=identifier)
        return str(made["url"]).removeprefix("https://k.test/c/")

    async def sign_in_ticket(self, identifier: str = "priya@acme.example") -> str:
        made = await self.sign_in.create(await self.world.admin(), identifier)
        return str(made["url"]).removeprefix("https://k.test/s/")


@pytest_asyncio.fixture
async def people(db: Database, tmp_path: Path) -> AsyncIterator[People]:
    async with make(db, tmp_path) as world:
        base = world.base
        logins = Logins(db=db, trail=base.trail, revocation=revoke)
        offers = Offers(authenticator=base.authenticator, views=world.views)
        yield People(
            world=world,
            logins=logins,
            sign_in=SignIn(db=db, trail=base.trail, logins=logins, url=lambda t: f"https://k.test/s/{t}"),
            links=Links(
                db=db,
                trail=base.trail,
                clock=base.clock,
                accounts=world.accounts,
                offers=offers,
                url=lambda t: f"https://k.test/c/{t}",
            ),
            offers=offers,
            own=OwnAccounts(db=db, trail=base.trail),
        )


@pytest.fixture
def good_token(people: People) -> str:
    """Priya's own token at the upstream."""
    return str(people.world.demo.priya_token.value)


@pytest.fixture
def other_token(people: People) -> str:
    """Marco's."""
    return str(people.world.demo.marco_token.value)

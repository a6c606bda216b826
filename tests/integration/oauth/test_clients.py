"""Clients whose id is an address: read from the operator's folder or fetched once an hour; bounded, and forgotten."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from broker.db.database import Database
from broker.db.paging import PageRequest, read_page
from broker.errors import Problem
from broker.gate import revoke
from broker.identity.oauth import clients as module
from broker.identity.oauth.clients import Clients
from broker.identity.oauth.errors import OAuthRefusal
from connectors.base import RawAnswer
from connectors.errors import UpstreamUnreachable
from tests.integration.accounts.world import make

URL = "https://editor.example/client.json"
ABOUT = {"client_id": URL, "client_name": "Editor", "redirect_uris": ["http://127.0.0.1/cb"]}


class Publishing:
    """The editor's own site."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = False
        self.name = "Editor"

    async def send(self, *, origin: str, path: str, **_: object) -> RawAnswer:
        self.asked += 1
        if self.down:
            raise UpstreamUnreachable("down", sent=False)
        return RawAnswer(200, {}, json.dumps(ABOUT | {"client_id": origin + path, "client_name": self.name}).encode())


async def test_documents_and_registrations(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with make(db, tmp_path) as world:
        admin = await world.admin()
        tenant, now, site = admin.tenant_id, admin.now, Publishing()
        seeded = {
            "https://seeded.example/c": ABOUT | {"client_id": "https://seeded.example/c", "client_name": "Seeded"}
        }
        clients = Clients(db=db, trail=world.base.trail, revocation=revoke, http=site, seeds=seeded)  # type: ignore[arg-type]

        assert (await clients.find(tenant, "https://seeded.example/c", now)).name == "Seeded"
        assert site.asked == 0
        assert (await clients.find(tenant, URL, now)).redirect_uris == ("http://127.0.0.1/cb",)
        await clients.find(tenant, URL, now + timedelta(minutes=59))
        assert site.asked == 1
        site.name = "Renamed"
        assert (await clients.find(tenant, URL, now + timedelta(minutes=61))).name == "Renamed"
        site.down = True
        assert (await clients.find(tenant, URL, now + timedelta(hours=20))).name == "Renamed"
        with pytest.raises(Problem, match="cannot be used"):
            await clients.find(tenant, URL, now + timedelta(hours=30))
        site.down = False

        monkeypatch.setattr(module, "DOCUMENTS", 3)
        for n in range(6):
            await clients.find(tenant, f"https://editor.example/{n}", now + timedelta(hours=31 + n))
        kept = [c["client_id"] for c in (await clients.list(admin, PageRequest(1000))).items]
        assert kept == [f"https://editor.example/{n}" for n in (3, 4, 5)]
        first = await clients.list(admin, PageRequest(2))
        assert first.next_page_token is not None
        rest = await clients.list(admin, read_page(2, first.next_page_token))
        assert [c["client_id"] for c in (*first.items, *rest.items)] == kept
        assert rest.next_page_token is None

        monkeypatch.setattr(module, "PER_DAY", 4)
        made = [await clients.register(tenant, ABOUT, f"192.0.2.{n}", now) for n in range(4)]
        with pytest.raises(OAuthRefusal, match="today"):
            await clients.register(tenant, ABOUT, "192.0.2.9", now)
        async with db.tenant(tenant) as conn:
            await module.used(conn, tenant, made[0]["client_id"], now)
        later = now + timedelta(hours=25)
        await clients.register(tenant, ABOUT, "192.0.2.9", later)
        known = {c["client_id"] for c in (await clients.list(admin, PageRequest(1000))).items}
        assert made[0]["client_id"] in known
        assert made[1]["client_id"] not in known
        with pytest.raises(Problem, match="no client"):
            await clients.find(tenant, made[1]["client_id"], later)

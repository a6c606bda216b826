"""The connector over real HTTP against the simulator, as the gate would drive it: prepare, permit, send."""

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from connectors.base import Answer, Permit, Prepared, UpstreamIdentity
from connectors.cloudflare.connector import CloudflareConnector
from connectors.egress import EgressPolicy
from connectors.http import HttpClient
from connectors.openapi.compile import compile_spec
from connectors.openapi.index import SpecIndex
from connectors.simulators.cloudflare import Demo, demo_state, serve
from vault.secret import Secret

DOCUMENT = Path(__file__).resolve().parents[3] / "connectors" / "simulators" / "cloudflare" / "openapi.json"


@dataclass
class View:
    """A connection as a connector sees it."""

    name: str
    config: Mapping[str, Any]
    spec: SpecIndex


@dataclass
class Desk:
    """One deposited credential, and what can be done with it."""

    connector: CloudflareConnector
    http: HttpClient
    view: View
    credential: dict[str, Any]
    identity: UpstreamIdentity | None = None
    timeout: float = 5.0
    maintenance: list[Prepared] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.credential["kind"])

    async def send(self, prepared: Prepared) -> Answer:
        _, sealed, _ = self.connector.check_credential(self.credential)
        return await self.connector.send(
            self.http,
            prepared,
            self.kind,
            Secret(sealed),
            allowed_origins=self.connector.origins(self.view.config),
            timeout_seconds=self.timeout,
        )

    async def verify(self) -> UpstreamIdentity:
        async def perform(prepared: Prepared) -> Answer:
            self.maintenance.append(prepared)
            return await self.send(prepared)

        public = {k: v for k, v in self.credential.items() if k not in ("token", "key")}
        self.identity = await self.connector.verify(self.view, self.kind, public, perform)
        return self.identity

    def prepare(self, operation: str, **given: Any) -> Prepared:
        return self.connector.prepare(self.view, f"{self.view.name}_call", {"operation": operation, **given})

    async def call(self, operation: str, **given: Any) -> Answer:
        return await self.send(self.prepare(operation, **given))

    def permit(self, prepared: Prepared) -> Permit:
        assert self.identity is not None
        assert self.identity.permissions is not None
        return self.connector.permit(prepared, self.identity.permissions)


@dataclass
class World:
    """A simulator with the demo's people in it."""

    demo: Demo
    url: str
    base_url: str
    http: HttpClient
    spec: SpecIndex

    def desk(self, credential: dict[str, Any], **config: Any) -> Desk:
        connector = CloudflareConnector()
        checked = connector.check_config({"base_url": self.base_url, **config})
        return Desk(connector, self.http, View("cloudflare", checked, self.spec), credential)

    @property
    def priya(self) -> Desk:
        return self.desk({"kind": "api_token", "token": self.demo.priya_token.value})

    @property
    def marco(self) -> Desk:
        return self.desk({"kind": "api_token", "token": self.demo.marco_token.value})

    def fault(self, kind: str, path: str, **params: Any) -> None:
        self.demo.state.faults.add({"path": path}, kind, params=params)


@pytest.fixture(scope="session")
def spec() -> SpecIndex:
    return SpecIndex.load(compile_spec(DOCUMENT.read_bytes()))


@pytest_asyncio.fixture
async def world(spec: SpecIndex) -> AsyncIterator[World]:
    demo = demo_state()
    async with serve(demo.state) as running:
        host = running.url.removeprefix("http://")
        async with HttpClient(EgressPolicy.parse([host]), version="test") as http:
            yield World(demo, running.url, running.base_url, http, spec)


def plain(answer: Answer) -> Any:
    """An answer's data as plain values."""
    return orjson.loads(orjson.dumps(answer.data))


def content(answer: Answer) -> bytes:
    """The bytes of a binary answer."""
    return base64.b64decode(answer.data["$binary"]["base64"])

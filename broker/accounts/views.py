"""What is derived from a connection or an account, cached under the version it was derived from.

The versions come fresh from the database with every request, so a change is seen by the next call: there is no time to
live and nothing to invalidate. Descriptions are shared by their content hash across connections and tenants.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import select

from broker.accounts.permissions import read_permissions
from broker.accounts.tables import accounts, connections, definitions, spec_blobs
from broker.db.database import Database
from broker.domain import Account, Connection
from broker.errors import Problem
from connectors import catalog
from connectors.base import Connector, Permissions, Tool
from connectors.errors import InvalidConfig
from connectors.mcp_upstream.connector import McpConnector
from connectors.mcp_upstream.definitions import Pinned
from connectors.mcp_upstream.definitions import load as load_definitions
from connectors.openapi.index import SpecIndex


@dataclass(slots=True)
class View:
    """One version of a connection, ready for its connector: config with defaults, pinned description, tools."""

    name: str
    config: Mapping[str, Any]
    origins: tuple[str, ...]
    connector: Connector
    spec: SpecIndex | Pinned | None
    spec_digest: str | None
    tools: tuple[Tool, ...] = ()
    by_name: Mapping[str, Tool] = field(default_factory=dict)

    def tool(self, name: str) -> Tool | None:
        """The tool called `name`, or None."""
        return self.by_name.get(name)


K = TypeVar("K")
V = TypeVar("V")


class _Cache(Generic[K, V]):
    """Least recently used values, one version of each, made once however many ask at the same time."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[K, tuple[int, V]] = OrderedDict()
        self._making: dict[tuple[K, int], asyncio.Task[V]] = {}

    def peek(self, key: K, version: int) -> V | None:
        kept = self._kept.get(key)
        if kept is None or kept[0] != version:
            return None
        self._kept.move_to_end(key)
        return kept[1]

    async def get(self, key: K, version: int, make: Callable[[], Awaitable[V]]) -> V:
        value = self.peek(key, version)
        if value is not None:
            return value
        task = self._making.get((key, version))
        if task is None:
            task = asyncio.ensure_future(make())
            self._making[key, version] = task
            task.add_done_callback(lambda _: self._making.pop((key, version), None))
        # One asker's cancellation must not take the value from the others.
        value = await asyncio.shield(task)
        kept = self._kept.get(key)
        if kept is None or kept[0] <= version:
            self._kept[key] = (version, value)
            self._kept.move_to_end(key)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return value


class Views:
    """The caches of one process. Capacities in entries; a description of Cloudflare's size takes about 20 MB."""

    def __init__(self, db: Database, *, views: int = 2000, permissions: int = 20_000, specs: int = 4) -> None:
        self._db = db
        self._views: _Cache[UUID, View] = _Cache(views)
        self._permissions: _Cache[UUID, Permissions] = _Cache(permissions)
        self._specs: _Cache[str, SpecIndex] = _Cache(specs)

    def peek_connection(self, connection: Connection) -> View | None:
        """The view if it is at hand. Ids are unique across tenants, so the tenant is not part of the key."""
        return self._views.peek(connection.id, connection.version)

    async def connection(self, tenant_id: UUID, connection: Connection) -> View:
        """The view of exactly this version. Raises Problem `version_conflict` if it is already gone, `unavailable`."""

        async def make() -> View:
            return await self._load(tenant_id, connection)

        return await self._views.get(connection.id, connection.version, make)

    def peek_permissions(self, account: Account) -> Permissions | None:
        """The account's permissions if they are at hand."""
        return self._permissions.peek(account.id, account.permissions_version)

    async def permissions(self, tenant_id: UUID, account: Account) -> Permissions:
        """What the account's credential may do upstream, as known at this version."""

        async def make() -> Permissions:
            statement = select(accounts.c.permissions).where(
                accounts.c.tenant_id == tenant_id, accounts.c.id == account.id
            )
            async with self._db.tenant(tenant_id) as conn:
                stored = (await conn.execute(statement)).scalar_one_or_none()
            return read_permissions(stored)

        return await self._permissions.get(account.id, account.permissions_version, make)

    async def spec(self, digest: str) -> SpecIndex:
        """The description with this content hash, loaded off the event loop."""

        async def make() -> SpecIndex:
            async with self._db.platform() as conn:
                statement = select(spec_blobs.c.artifact).where(spec_blobs.c.digest == digest)
                artifact = (await conn.execute(statement)).scalar_one_or_none()
            if artifact is None:
                raise Problem("unavailable", "the pinned description is missing from the database", fix="operator")
            return await asyncio.to_thread(SpecIndex.load, bytes(artifact))

        return await self._specs.get(digest, 1, make)

    async def _load(self, tenant_id: UUID, connection: Connection) -> View:
        statement = select(
            connections.c.config, connections.c.origins, connections.c.spec_digest, connections.c.version
        ).where(connections.c.tenant_id == tenant_id, connections.c.id == connection.id)
        pinned = select(definitions.c.url, definitions.c.document, definitions.c.held).where(
            definitions.c.tenant_id == tenant_id, definitions.c.connection_id == connection.id
        )
        async with self._db.tenant(tenant_id) as conn:
            row = (await conn.execute(statement)).one_or_none()
            taken = None if connection.connector != "mcp" else (await conn.execute(pinned)).one_or_none()
        if row is None or row.version != connection.version:
            raise Problem("version_conflict", f"connection {connection.name} has just changed; try again", fix="wait")
        connector = catalog.get(connection.connector)
        try:
            config = connector.check_config(row.config)
            kept = None if taken is None or taken.url != config["url"] else await asyncio.to_thread(_pinned, taken)
            return await self.compose(connection.name, connector, row.config, tuple(row.origins), row.spec_digest, kept)
        except InvalidConfig:
            told = f"the configuration of connection {connection.name} is not one that this release takes"
            raise Problem("unavailable", told, hint="an admin can PATCH the connection", fix="admin") from None

    async def compose(
        self,
        name: str,
        connector: Connector,
        config: Mapping[str, Any],
        origins: tuple[str, ...],
        spec_digest: str | None,
        pinned: Pinned | None = None,
    ) -> View:
        """A view of what is given, stored or not. Raises InvalidConfig, Problem `unavailable`."""
        spec = pinned if spec_digest is None else await self.spec(spec_digest)
        view = View(name, connector.check_config(config), origins, connector, spec, spec_digest)
        view.tools = tuple(connector.tools(view))
        view.by_name = {tool.name: tool for tool in (*unlisted(connector, view), *view.tools)}
        return view


def unlisted(connector: Connector, view: View) -> Sequence[Tool]:
    """The tools that can be called and that no list shows."""
    return connector.unlisted(view) if isinstance(connector, McpConnector) else ()


def _pinned(row: Any) -> Pinned:
    return Pinned(load_definitions(row.document), frozenset(row.held))

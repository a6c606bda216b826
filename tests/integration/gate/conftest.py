"""Fixtures of the gate's tests: a world per test, a node, and the superuser for looking behind the functions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from broker.db.database import Database
from tests.integration.gate.world import Node, Upstream, World
from vault.keyring import Keyring
from vault.keystore import SqlKeyStore
from vault.store import Vault
from vault.testing import memory_sealed_storage, random_root


@pytest_asyncio.fixture(scope="session")
async def vault_(db: Database) -> Vault:
    made = Vault(Keyring(SqlKeyStore(db.tenant), random_root("gate-1")))
    # Its own, not the database's: other tests share that, with another root key.
    made._platform = (await memory_sealed_storage())._platform
    return made


@pytest.fixture
def make_world(
    db: Database, vault_: Vault, make_tenant: Callable[..., Awaitable[UUID]]
) -> Callable[[], Awaitable[World]]:
    async def make() -> World:
        return await World(db, vault_, await make_tenant()).set_up()

    return make


@pytest_asyncio.fixture
async def world(make_world: Callable[[], Awaitable[World]]) -> World:
    return await make_world()


@pytest.fixture
def node(db: Database, vault_: Vault) -> Node:
    return Node(db, vault_)


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest_asyncio.fixture
async def behind(server: Any) -> AsyncIterator[asyncpg.Connection]:
    """The superuser's connection: sees every tenant."""
    connection = await asyncpg.connect(**server.superuser)
    yield connection
    await connection.close()

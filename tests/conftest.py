"""A real PostgreSQL for integration tests: migrated once per run, a fresh tenant per test.

`KEYREEVE_TEST_DATABASE_URL` (a superuser's URL), else a testcontainer where Docker answers, else the embedded server.

And the end of what tests share: after the last test that uses it, not after the last test of all. A dozen installations
that nobody asks any more would take memory and time from those that follow.
"""

import asyncio
import contextlib
import inspect
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import text

from broker.clock import SystemClock
from broker.db.database import Database
from broker.db.migrate import migrate
from broker.ids import new_id

_TESTS = Path(__file__).resolve().parent
_ONCE_MORE = _TESTS / "e2e"
"""Where tests stand on other programs and on the clock of a machine that may have too much to do: one that fails is
tried once more, and the run's summary names it (`RERUN`). Nothing else gets a second chance, and no attack does: one
that succeeds one time in two has succeeded."""
_last_uses: dict[str, list[Any]] = {}
"""By a test's id: the fixtures of ours, shared by the whole run, that no later test uses."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks those that are tried once more."""
    for item in items:
        if item.path.is_relative_to(_ONCE_MORE) and "attack" not in item.path.name:
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=2))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Finds each shared fixture's last test. Only plain generators: asynchronous ones end with their event loop."""
    last: dict[Any, str] = {}
    for item in session.items:
        info: Any = getattr(item, "_fixtureinfo", None)
        for found in () if info is None else info.name2fixturedefs.values():
            for fixture in found:
                func = inspect.unwrap(fixture.func)
                ours = inspect.isgeneratorfunction(func) and Path(inspect.getfile(func)).is_relative_to(_TESTS)
                if fixture.scope == "session" and ours:
                    last[fixture] = item.nodeid
    for fixture, nodeid in last.items():
        _last_uses.setdefault(nodeid, []).append(fixture)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: Any) -> Iterator[None]:
    """Ends what was used for the last time; an error of theirs is this test's."""
    yield
    with contextlib.ExitStack() as ends:
        for fixture in _last_uses.pop(item.nodeid, ()):
            ends.callback(fixture.finish, item._request)


@dataclass(frozen=True)
class Server:
    """A migrated database: URLs and connection arguments for each role."""

    owner_url: str
    app_url: str
    app: dict[str, Any]
    superuser: dict[str, Any]


async def _external(url: str) -> Server:
    parts = urlsplit(url)
    base: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port or 5432,
        "user": parts.username,
        "password": parts.password,
    }
    name, password = f"krv_test_{secrets.token_hex(4)}", secrets.token_hex(12)
    admin = await asyncpg.connect(**base, database=parts.path.lstrip("/") or "postgres")
    for role in ("keyreeve_owner", "keyreeve_app"):
        if not await admin.fetchval("select 1 from pg_roles where rolname=$1", role):
            await admin.execute(f"create role {role} login")
        await admin.execute(f"alter role {role} password '{password}'")
    await admin.execute(f"create database {name} owner keyreeve_owner")
    await admin.close()
    where = f"{base['host']}:{base['port']}/{name}"
    return Server(
        owner_url=f"postgresql+asyncpg://keyreeve_owner:{password}@{where}",
        app_url=f"postgresql+asyncpg://keyreeve_app:{password}@{where}",
        app={**base, "user": "keyreeve_app", "password": password, "database": name},
        superuser={**base, "database": name},
    )


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "info"], capture_output=True, timeout=20, check=False).returncode == 0


@pytest_asyncio.fixture(scope="session")
async def server() -> AsyncIterator[Server]:
    url = os.environ.get("KEYREEVE_TEST_DATABASE_URL")
    if url:
        print("database: KEYREEVE_TEST_DATABASE_URL")
        made = await _external(url)
        await migrate(made.owner_url)
        yield made
        return
    if await asyncio.to_thread(_docker_answers):
        from testcontainers.postgres import PostgresContainer

        print("database: testcontainer postgres:17")
        with PostgresContainer("postgres:17", driver=None) as container:
            made = await _external(container.get_connection_url())
            await migrate(made.owner_url)
            yield made
        return
    from broker.db.embedded import EmbeddedPostgres

    print("database: the embedded server")
    folder = Path(tempfile.mkdtemp(prefix="krv-test-"))
    embedded = EmbeddedPostgres(folder / "data", durable=False)
    try:
        info = await embedded.start()
        made = Server(
            owner_url=info.url("owner"),
            app_url=info.url("app"),
            app=info.connect_kwargs("app"),
            superuser=info.connect_kwargs("superuser"),
        )
        await migrate(made.owner_url)
        yield made
    finally:
        await embedded.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="session")
async def db(server: Server) -> AsyncIterator[Database]:
    database = await Database.open(url=server.app_url, connect=server.app)
    yield database
    await database.close()


@pytest.fixture
def make_tenant(db: Database) -> Callable[..., Awaitable[UUID]]:
    """Makes a tenant row and returns its id."""

    async def make(name: str | None = None) -> UUID:
        tenant_id = new_id()
        async with db.platform() as conn:
            await conn.execute(
                text("insert into broker.tenants (id, name, created_at) values (:id, :name, :now)"),
                {"id": tenant_id, "name": name or f"t{tenant_id.hex}", "now": SystemClock().now()},
            )
        return tenant_id

    return make

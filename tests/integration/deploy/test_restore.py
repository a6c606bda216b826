"""The runbook's backup and restore, done with PostgreSQL's own programs, and the lock that must follow."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from broker.clock import SystemClock
from broker.db import functions
from broker.db.embedded.connection import ConnectionInfo
from broker.db.embedded.testing import start_for_tests
from broker.db.migrate import migrate
from broker.db.server_checks import check_server
from broker.ids import new_id
from tests.integration.deploy.support import APP, DEPLOY, make_roles, migrate_url, tool

TENANT, IDENTITY, CONNECTION, ACCOUNT, KEY, OTHER, SESSION = (new_id() for _ in range(7))


async def fill(info: ConnectionInfo) -> None:
    """One of each thing that a restore could bring back to life."""
    now = SystemClock().now()
    db = await asyncpg.connect(**info.connect_kwargs("superuser"))
    try:
        await db.execute("insert into broker.tenants (id, name, created_at) values ($1, 'acme', $2)", TENANT, now)
        await db.execute(
            "insert into broker.identities (tenant_id, id, identifier, created_at) values ($1, $2, 'priya', $3)",
            TENANT, IDENTITY, now,
        )  # fmt: skip
        await db.execute(
            "insert into broker.connections (tenant_id, id, name, connector, config, origins, created_at)"
            " values ($1, $2, 'cloudflare', 'cloudflare', '{}', '{https://upstream.example}', $3)",
            TENANT, CONNECTION, now,
        )  # fmt: skip
        await db.execute(
            "insert into broker.accounts (tenant_id, id, connection_id, identity_id, status, kind, created_at)"
            " values ($1, $2, $3, $4, 'active', 'api_token', $5)",
            TENANT, ACCOUNT, CONNECTION, IDENTITY, now,
        )  # fmt: skip
        for bearer, kind, role, owner in (
            (KEY, "operator", "platform_admin", None),
            (OTHER, "operator", "admin", None),
            (SESSION, "session", None, IDENTITY),
        ):
            await db.execute(
                "insert into broker.bearers (tenant_id, id, kind, token_hash, root_id, role, identity_id, created_at)"
                " values ($1, $2, $3, $4, $2, $5, $6, $7)",
                TENANT, bearer, kind, bearer.bytes * 2, role, owner, now,
            )  # fmt: skip
    finally:
        await db.close()


@pytest_asyncio.fixture(scope="module")
async def restored(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ConnectionInfo]:
    """A database that was dumped, lost, and restored as the runbook says."""
    folder = tmp_path_factory.mktemp("restore")
    dump = str(folder / "keyreeve.dump")
    async with start_for_tests(folder / "data", durable=True) as info:
        make_roles(info)
        await migrate(migrate_url(info))
        await fill(info)
        done = tool(info, "pg_dump", "-Fc", "-f", dump, "keyreeve")
        assert done.returncode == 0, done.stderr
        gone = "drop database keyreeve; drop role keyreeve_owner; drop role keyreeve_app"
        for statement in gone.split("; "):
            assert tool(info, "psql", "-X", "-d", "postgres", "-c", statement).returncode == 0
        make_roles(info)
        done = tool(info, "pg_restore", "-d", "keyreeve", "--exit-on-error", dump)
        assert done.returncode == 0, done.stderr
        yield info


async def as_app(info: ConnectionInfo) -> asyncpg.Connection:
    return await asyncpg.connect(
        **(info.connect_kwargs("superuser") | {"user": "keyreeve_app", "password": APP, "database": "keyreeve"})
    )


async def test_it_serves_and_tenants_are_as_far_apart_as_before(restored: ConnectionInfo) -> None:
    assert not await migrate(migrate_url(restored)), "the restored schema is whole"
    app = await as_app(restored)
    try:
        assert await check_server(app, SystemClock().now) == []
        assert await app.fetchval("select count(*) from broker.bearers") == 0
        async with app.transaction():
            await app.execute("select set_config('keyreeve.tenant', $1, true)", str(TENANT))
            assert await app.fetchval("select count(*) from broker.bearers") == 3
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute("delete from audit.events")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute("select * from broker.budgets")
        await app.fetch(functions.call("select * from broker.overdue_tenants{v}(make_interval(secs => 1), '{}', 1)"))
    finally:
        await app.close()


def lock(info: ConnectionInfo, *variables: str) -> "tuple[int, str]":
    done = tool(info, "psql", "-X", "-d", "keyreeve", *variables, "-f", str(DEPLOY / "after-restore.sql"))
    return done.returncode, done.stderr


@pytest.mark.parametrize("key", [None, OTHER, SESSION, new_id()])
async def test_it_locks_nobody_out(restored: ConnectionInfo, key: UUID | None) -> None:
    """Without a platform admin's key that stays, nobody could ever administer again."""
    code, told = lock(restored, *(() if key is None else ("-v", f"keep_key={key}")))
    assert code != 0
    assert "keep_key" in told
    db = await asyncpg.connect(**restored.connect_kwargs("superuser"))
    assert await db.fetchval("select count(*) from broker.bearers where revoked_at is null") == 3
    await db.close()


async def test_then_nothing_of_the_backup_works_but_the_one_key(restored: ConnectionInfo) -> None:
    code, told = lock(restored, "-v", f"keep_key={KEY}", "-v", "keep_accounts=yes")
    assert code == 0, told
    db = await asyncpg.connect(**restored.connect_kwargs("superuser"))
    try:
        left = await db.fetch("select id from broker.bearers where revoked_at is null")
        assert [row["id"] for row in left] == [KEY]
        assert await db.fetchval("select status from broker.accounts") == "active", "as asked"
        assert lock(restored, "-v", f"keep_key={KEY}")[0] == 0
        assert await db.fetchval("select status from broker.accounts") == "needs_reauth"
        assert await db.fetchval("select policy_version from broker.tenants where id = $1", TENANT) == 3
    finally:
        await db.close()


def test_the_runbook_says_what_is_tested_here() -> None:
    text = Path(DEPLOY / "README.md").read_text(encoding="utf-8")
    for words in (
        "pg_dump -U postgres -Fc keyreeve",
        "pg_restore -U postgres -d keyreeve --exit-on-error",
        "after-restore.sql",
    ):
        assert words in text

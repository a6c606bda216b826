"""The serving role and the functions it may call: no way round row-level security, no way to rewrite the audit."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import text

from broker.db.database import Database

PINNED = "search_path=pg_catalog, pg_temp"


@pytest_asyncio.fixture(scope="module")
async def owner(server: Any) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(**server.superuser)
    yield conn
    await conn.close()


@pytest_asyncio.fixture(scope="module")
async def app(server: Any) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(**server.app)
    yield conn
    await conn.close()


async def functions(owner: asyncpg.Connection) -> list[asyncpg.Record]:
    return list(
        await owner.fetch(
            "select p.oid::regprocedure::text as name, p.proname, p.prosecdef as definer, l.lanname as language, "
            " coalesce(p.proconfig, '{}') as config, pg_get_userbyid(p.proowner) as owner, "
            " has_function_privilege('public', p.oid, 'EXECUTE') as public, p.prosrc as source "
            "from pg_proc p join pg_language l on l.oid = p.prolang join pg_namespace n on n.oid = p.pronamespace "
            "where n.nspname in ('vault', 'broker', 'audit')"
        )
    )


async def test_every_function_is_closed_to_public(owner: asyncpg.Connection) -> None:
    found = await functions(owner)
    assert len(found) > 10
    assert [f["name"] for f in found if f["public"]] == []


async def test_every_function_looks_names_up_where_it_says(owner: asyncpg.Connection) -> None:
    """Definers above all, for they run as the owner; but a temporary table must fool no other either."""
    found = await functions(owner)
    assert [f["name"] for f in found if f["definer"] and PINNED not in f["config"]] == []
    assert [f["name"] for f in found if f["language"] == "plpgsql" and PINNED not in f["config"]] == []


async def test_definers_belong_to_the_owner_and_build_no_sql(owner: asyncpg.Connection) -> None:
    """A definer that puts text into a statement could be made to run any; only those that make partitions do."""
    definers = [f for f in await functions(owner) if f["definer"]]
    assert definers
    assert {f["owner"] for f in definers} == {"keyreeve_owner"}
    building = {f["proname"] for f in definers if "execute " in f["source"].lower()}
    assert building <= {"ensure_partitions", "drop_partitions"}


async def test_the_serving_role_is_nobody(owner: asyncpg.Connection) -> None:
    role = await owner.fetchrow("select * from pg_roles where rolname = 'keyreeve_app'")
    for power in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication"):
        assert not role[power], power
    member = "select count(*) from pg_auth_members where member = 'keyreeve_app'::regrole"
    assert await owner.fetchval(member) == 0
    owned = "select count(*) from pg_class where relowner = 'keyreeve_app'::regrole"
    assert await owner.fetchval(owned) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "set role keyreeve_owner",
        "create table broker.mine (x int)",
        "create table audit.mine (x int)",
        "create table vault.mine (x int)",
        "create table public.mine (x int)",
        "create schema mine",
        "create function public.mine() returns int language sql as 'select 1'",
        "alter table broker.identities disable row level security",
        "alter table broker.identities no force row level security",
        "drop policy tenant on broker.identities",
        "alter role keyreeve_app bypassrls",
        "update audit.events set actor = 'x'",
        "delete from audit.events",
        "truncate audit.events",
        "alter table audit.events add column x int",
        "drop table audit.events",
        "select * from broker.budgets",
        "select * from broker.budget_shares",
        "select * from broker.egress_leases",
        "update broker.budgets set cap = 30000",
        "insert into broker.db_clock default values",
        "update broker.spec_blobs set artifact = ''",
        "delete from broker.tenants",
        "delete from broker.bearers",
        "copy (select 1) to program 'true'",
        "copy broker.tenants to '/tmp/x'",
        "select pg_read_file('/etc/passwd')",
        "select * from pg_authid",
        "set session_replication_role = replica",
    ],
)
async def test_the_serving_role_may_not(app: asyncpg.Connection, statement: str) -> None:
    transaction = app.transaction()
    await transaction.start()
    try:
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)):
            await app.execute(statement)
    finally:
        await transaction.rollback()


async def test_a_scope_ends_with_its_transaction(db: Database, make_tenant: Any) -> None:
    """Pooled connections: what one request set, the next doesn't inherit."""
    tenant_id = await make_tenant()
    for _ in range(12):
        async with db.tenant(tenant_id) as conn:
            assert await conn.scalar(text("select broker.tenant()")) == tenant_id
    for _ in range(12):
        assert await db.pool.fetchval("select broker.tenant()") is None
    async with db.platform() as conn:
        assert await conn.scalar(text("select count(*) from broker.identities")) == 0


async def test_retention_cannot_be_shortened_to_nothing(app: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.RaiseError, match="at least one day"):
        await app.fetchval("select audit.drop_partitions((now() at time zone 'UTC')::date + 1)")

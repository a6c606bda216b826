"""Migrating: repeatable, safe beside itself, and refusing nothing that a newer release left."""

import asyncio

import asyncpg

from broker.db import functions
from broker.db.migrate import head, migrate
from tests.conftest import Server


async def test_repeating_and_racing_it_is_harmless(server: Server) -> None:
    assert await asyncio.gather(*(migrate(server.owner_url) for _ in range(4))) == [False] * 4


async def test_a_newer_schema_is_left_alone(server: Server) -> None:
    connection = await asyncpg.connect(**server.superuser)
    try:
        await connection.execute("update public.alembic_version set version_num = 'from-the-future'")
        assert await migrate(server.owner_url) is False
        assert await connection.fetchval("select version_num from public.alembic_version") == "from-the-future"
    finally:
        await connection.execute("update public.alembic_version set version_num = $1", head())
        await connection.close()


async def test_a_missing_function_is_installed_and_belongs_to_the_serving_role_alone(server: Server) -> None:
    connection = await asyncpg.connect(**server.superuser)
    name = f"resolve{functions.suffix()}"
    try:
        signature = await connection.fetchval("select oid::regprocedure::text from pg_proc where proname = $1", name)
        await connection.execute(f"drop function {signature}")
        others = await connection.fetch(
            "select oid::regprocedure::text as f from pg_proc where proname like $1", "%\\" + functions.suffix()
        )
        for row in others:
            await connection.execute(f"drop function if exists {row['f']} cascade")
        assert await migrate(server.owner_url) is True
        serving = "select has_function_privilege('keyreeve_app', oid, 'execute') from pg_proc where proname = $1"
        assert await connection.fetchval(serving, name) is True
        everybody = """
            select exists (select 1 from pg_proc p, aclexplode(p.proacl) a where p.proname = $1 and a.grantee = 0)"""
        assert await connection.fetchval(everybody, name) is False
    finally:
        await connection.close()

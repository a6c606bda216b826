"""Whether a start finds nothing to do: it must never believe so wrongly."""

from typing import Any

import asyncpg
import pytest

from broker.clock import SystemClock
from broker.db import functions, schema
from broker.db.migrate import head
from broker.db.server_checks import ExternalDatabase
from broker.identity.tenants import DEFAULT_TENANT
from broker.ids import NIL, new_id
from tests.conftest import Server


def place(server: Server) -> ExternalDatabase:
    given = server.app
    return ExternalDatabase(
        host=str(given["host"]),
        port=int(given["port"]),
        user=given["user"],
        database=given["database"],
        password=given["password"],
        verified=False,
    )


def test_the_constants_are_what_they_stand_for() -> None:
    assert head() == schema.HEAD
    assert schema.FIRST_TENANT == DEFAULT_TENANT


async def test_a_database_is_complete_only_with_all_of_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    connection: Any = await asyncpg.connect(**server.superuser)
    try:
        made = await complete(connection)
        assert await schema.is_complete(place(server))
        for table, column, value in (
            ("public.alembic_version", "version_num", schema.HEAD),
            ("broker.tenants", "name", schema.FIRST_TENANT),
        ):
            change = f"update {table} set {column} = $1 where {column} = $2"
            await connection.execute(change, "elsewhere", value)
            assert not await schema.is_complete(place(server))
            await connection.execute(change, value, "elsewhere")
            assert await schema.is_complete(place(server))
        monkeypatch.setattr(functions, "suffix", lambda: "_ffffffffff")
        assert not await schema.is_complete(place(server)), "another release's functions are not ours"
    finally:
        for statement, value in made:
            await connection.execute(statement, value)
        await connection.close()


async def complete(connection: Any) -> list[tuple[str, Any]]:
    """Makes what a first start makes, as far as it is looked for; how to take it back."""
    back: list[tuple[str, Any]] = []
    key = "select 1 from vault.tenant_keys where tenant_id = $1 and purpose = 'evidence'"
    if not await connection.fetchval(key, NIL):
        await connection.execute(
            "insert into vault.tenant_keys (tenant_id, purpose, version, root_key_id, wrapped, created_at) "
            "values ($1, 'evidence', 1, 'none', $2, now())",
            NIL,
            b"\0" * 60,
        )
        back.append(("delete from vault.tenant_keys where tenant_id = $1", NIL))
    if not await connection.fetchval("select 1 from broker.tenants where name = 'default'"):
        tenant = new_id()
        await connection.execute(
            "insert into broker.tenants (id, name, created_at) values ($1, 'default', $2)", tenant, SystemClock().now()
        )
        back.append(("delete from broker.tenants where id = $1", tenant))
    return back


async def test_a_database_without_a_schema_is_not_complete(server: Server) -> None:
    elsewhere = place(server)
    empty = ExternalDatabase(
        host=elsewhere.host,
        port=elsewhere.port,
        user=str(server.superuser["user"]),
        database="template1",
        password=server.superuser.get("password"),
        verified=False,
    )
    assert not await schema.is_complete(empty)

"""The tables that statements are built from are those that the migrations made: same columns, types and nullability."""

from typing import Any

import asyncpg
import pytest
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from broker.accounts import tables as accounts_tables
from broker.db.metadata import metadata
from broker.identity import tables as identity_tables
from broker.policy import tables as policy_tables
from tests.conftest import Server
from vault import tables as vault_tables

MODULES = (accounts_tables, identity_tables, policy_tables, vault_tables)
TABLES = [*metadata.tables.values(), vault_tables.credentials, vault_tables.tenant_keys]

_COLUMNS = """
select a.attname, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull
  from pg_attribute a where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped"""

SPELLED = {"timestamp with time zone": "TIMESTAMP WITH TIME ZONE"}


def type_of(column: Any) -> str:
    return str(column.type.compile(dialect=postgresql.dialect())).lower()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.fullname)
async def test_table_is_as_migrated(server: Server, table: Table) -> None:
    connection = await asyncpg.connect(**server.superuser)
    try:
        there = {row["attname"]: row for row in await connection.fetch(_COLUMNS, table.fullname)}
    finally:
        await connection.close()
    assert there, f"{table.fullname} does not exist"
    for column in table.columns:
        row = there.get(column.name)
        assert row is not None, f"{table.fullname} has no column {column.name}"
        assert type_of(column) == row["type"], column.name
        if not column.primary_key:
            assert column.nullable is not row["attnotnull"], f"{column.name}: nullable?"


def test_every_package_with_tables_is_looked_at() -> None:
    assert {t.fullname for t in TABLES} >= {
        "broker.connections",
        "broker.accounts",
        "broker.identities",
        "broker.bearers",
        "broker.grants",
        "vault.credentials",
    }
    assert all(module.__doc__ for module in MODULES)

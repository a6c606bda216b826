"""Every table × verb × {own, other, unset} tenant, as the role that serves, discovered from the catalogue.

A new table without row-level security, without tenant_id in its keys, or with a right that is not listed here fails.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from broker.ids import new_id

SCHEMAS = ["vault", "broker", "audit"]

# The platform tables: the few without a tenant. What the serving role may do with each, and nothing else.
PLATFORM = {
    "broker.tenants": {"SELECT", "INSERT", "UPDATE"},
    "broker.spec_blobs": {"SELECT", "INSERT"},
    "broker.budgets": set(),
    "broker.budget_shares": set(),
    "broker.db_clock": set(),
    "broker.egress_leases": set(),
    "broker.nodes": {"SELECT", "INSERT", "UPDATE", "DELETE"},
}
TENANT = {
    "vault.tenant_keys": {"SELECT", "INSERT", "UPDATE"},
    "vault.credentials": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "broker.identities": {"SELECT", "INSERT", "UPDATE"},
    "broker.bearers": {"SELECT", "INSERT", "UPDATE"},
    "broker.connections": {"SELECT", "INSERT", "UPDATE"},
    "broker.accounts": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "broker.grants": {"SELECT", "INSERT", "UPDATE"},
    "broker.links": {"SELECT", "INSERT", "UPDATE"},
    "broker.logins": {"SELECT", "INSERT", "UPDATE"},
    "broker.oauth_clients": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "broker.oauth_codes": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "broker.oauth_sign_ins": {"SELECT", "INSERT", "UPDATE"},
    "broker.provider_logouts": {"SELECT", "INSERT", "DELETE"},
    "broker.sign_in_providers": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "broker.sign_in_states": {"SELECT", "INSERT", "DELETE"},
    "broker.sign_ins": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "broker.definitions": {"SELECT", "INSERT", "UPDATE"},
    "broker.upstream_sign_ins": {"SELECT", "INSERT", "DELETE"},
    "broker.upstream_clients": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "broker.upstream_tokens": {"SELECT", "INSERT", "UPDATE"},
    "broker.programs": {"SELECT", "INSERT", "DELETE"},
    "broker.code_results": {"SELECT", "INSERT", "DELETE"},
    "broker.open_calls": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "broker.open_executions": {"SELECT", "INSERT", "DELETE"},
    "broker.idempotency": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "audit.events": {"SELECT", "INSERT"},
}
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")

# Values that a column's type alone does not give.
VALUES: dict[str, dict[str, Any]] = {
    "vault.tenant_keys": {"purpose": "credentials"},
    "vault.credentials": {"status": "active"},
    "broker.identities": {"status": "active"},
    "broker.bearers": {"kind": "operator", "role": "admin"},
    "broker.connections": {"name": "cloudflare", "status": "active"},
    "broker.accounts": {"status": "active"},
    "broker.grants": {"subject_kind": "everyone", "access": "read", "account": "own"},
    "broker.idempotency": {"state": "done"},
    "broker.links": {"kind": "sign_in", "attempts": 0},
    "broker.provider_logouts": {"person": b"p" * 32},
    "broker.sign_ins": {"linked_by": "admin"},
    "broker.definitions": {"digest": "0" * 64},
    "broker.oauth_clients": {"source": "admin"},
    "broker.oauth_codes": {"challenge": "x" * 43, "access": "read"},
    "broker.programs": {"digest": "0" * 64},
    "broker.code_results": {"access": "read"},
    "audit.events": {"kind": "change"},
}


@dataclass(frozen=True)
class Planted:
    """Two tenants and, of each tenant table, the two rows planted in them (by primary key)."""

    own: UUID
    other: UUID
    rows: dict[str, dict[UUID, dict[str, Any]]]


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


async def tables(owner: asyncpg.Connection) -> list[str]:
    """Every table but partitions."""
    rows = await owner.fetch(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = any ($1) and c.relkind in ('r', 'p') and not c.relispartition order by 1",
        SCHEMAS,
    )
    return [row[0] for row in rows]


async def row_for(owner: asyncpg.Connection, table: str, tenant_id: UUID) -> dict[str, Any]:
    """A row that the table's constraints take: its type's simplest value for each column that must have one."""
    columns = await owner.fetch(
        "select attname, format_type(atttypid, null) as type, attnotnull from pg_attribute "
        "where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = '' order by attnum",
        table,
    )
    simple: dict[str, Any] = {
        "uuid": new_id(),
        "text": "x",
        "integer": 1,
        "bigint": 1,
        "smallint": 1,
        "boolean": True,
        "bytea": new_id().bytes * 2,
        "jsonb": "{}",
        "timestamp with time zone": await owner.fetchval("select clock_timestamp()"),
        "text[]": ["x"],
        "integer[]": [1],
        "bigint[]": [1],
        "xid8": None,
    }
    made = {c["attname"]: simple[c["type"]] for c in columns if c["attnotnull"] and simple.get(c["type"]) is not None}
    return made | VALUES.get(table, {}) | {"tenant_id": tenant_id}


def insert_of(table: str, row: dict[str, Any]) -> tuple[str, list[Any]]:
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    return f"insert into {table} ({names}) values ({marks})", list(row.values())


@pytest_asyncio.fixture(scope="module")
async def planted(owner: asyncpg.Connection) -> AsyncIterator[Planted]:
    own, other = new_id(), new_id()
    rows: dict[str, dict[UUID, dict[str, Any]]] = {}
    # Foreign keys off for this session: what is tried here is who may see and touch a row, not whether it makes sense.
    await owner.execute("set session_replication_role = replica")
    for tenant_id in (own, other):
        for table in await tables(owner):
            if table not in PLATFORM:
                row = await row_for(owner, table, tenant_id)
                statement, values = insert_of(table, row)
                await owner.execute(statement, *values)
                rows.setdefault(table, {})[tenant_id] = row
    yield Planted(own, other, rows)
    for table in rows:
        await owner.execute(f"delete from {table} where tenant_id = any ($1)", [own, other])
    await owner.execute("set session_replication_role = origin")


async def test_every_table_is_known(owner: asyncpg.Connection) -> None:
    """A new table must choose: a platform table, or a tenant's with every promise below."""
    assert set(await tables(owner)) == PLATFORM.keys() | TENANT.keys()


@pytest.mark.parametrize("table", [*PLATFORM, *TENANT])
async def test_rights_are_exactly_these(owner: asyncpg.Connection, table: str) -> None:
    every = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    has = {
        verb
        for verb in every
        if await owner.fetchval("select has_table_privilege('keyreeve_app', $1::text, $2)", table, verb)
    }
    assert has == (PLATFORM | TENANT)[table]
    by_column = await owner.fetch(
        "select attname from pg_attribute where attrelid = $1::text::regclass and attacl is not null", table
    )
    assert not by_column, "rights are given by table, where this test sees them"


@pytest.mark.parametrize("table", TENANT)
async def test_a_tenants_table_keeps_its_promises(owner: asyncpg.Connection, table: str) -> None:
    found = await owner.fetchrow(
        "select relrowsecurity, relforcerowsecurity, pg_get_userbyid(relowner) as owner from pg_class "
        "where oid = $1::text::regclass",
        table,
    )
    assert found["relrowsecurity"]
    assert found["relforcerowsecurity"]
    assert found["owner"] == "keyreeve_owner"
    first = await owner.fetchval(
        "select attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] "
        "where i.indrelid = $1::text::regclass and i.indisprimary",
        table,
    )
    assert first == "tenant_id", "tenant_id comes first in the key: tables are shared out by it"
    policies = await owner.fetch(
        "select polname, polcmd::text, polpermissive, pg_get_expr(polqual, polrelid) as seen, "
        "pg_get_expr(polwithcheck, polrelid) as written, "
        "array(select pg_get_userbyid(r) from unnest(polroles) r) as roles "
        "from pg_policy where polrelid = $1::text::regclass",
        table,
    )
    for policy in policies:
        # A policy that lets more through is for the owner's own functions, never for the role that serves.
        if policy["seen"] != "(tenant_id = broker.tenant())":
            assert policy["roles"] == ["keyreeve_owner"]
        else:
            assert policy["written"] == "(tenant_id = broker.tenant())"
    assert any(policy["polcmd"] == "*" for policy in policies)


async def test_keys_between_tenants_tables_carry_the_tenant(owner: asyncpg.Connection) -> None:
    """A row can't point into another tenant, and no refused insert tells what another tenant has."""
    keys = await owner.fetch(
        "select conrelid::regclass::text as source, confrelid::regclass::text as target, conname, array("
        "  select attname from unnest(conkey) k join pg_attribute a on a.attrelid = conrelid and a.attnum = k) as cols "
        "from pg_constraint where contype = 'f' and conparentid = 0"
    )
    crossing = [k for k in keys if k["source"] in TENANT and k["target"] in TENANT]
    assert crossing
    assert [k["conname"] for k in crossing if "tenant_id" not in k["cols"]] == []
    unique = await owner.fetch(
        "select indrelid::regclass::text as source, indexrelid::regclass::text as name, "
        " exists (select from unnest(indkey::int2[]) k join pg_attribute a on a.attrelid = indrelid and a.attnum = k "
        "         where attname = 'tenant_id') as carried from pg_index where indisunique"
    )
    assert [u["name"] for u in unique if u["source"] in TENANT and not u["carried"]] == []


@pytest.mark.parametrize("scope", ["own", "other", "unset", "empty"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("table", TENANT)
async def test_cell(
    owner: asyncpg.Connection, app: asyncpg.Connection, planted: Planted, table: str, verb: str, scope: str
) -> None:
    """One cell, tried on a row of the tenant `own` from each scope."""
    row = planted.rows[table][planted.own]
    keys = [name for name in ("tenant_id", "id", "call_id", "scope", "purpose", "version") if name in row]
    where = " and ".join(f'"{name}" = ${n}' for n, name in enumerate(keys, 1))
    values = [row[name] for name in keys]
    transaction = app.transaction()
    await transaction.start()
    try:
        if scope != "unset":
            chosen = {"own": str(planted.own), "other": str(planted.other), "empty": ""}[scope]
            await app.execute("select set_config('keyreeve.tenant', $1, true)", chosen)
        touched: int | str
        try:
            if verb == "SELECT":
                touched = await app.fetchval(f"select count(*) from {table} where {where}", *values)
            elif verb == "INSERT":
                fresh = await row_for(owner, table, planted.own) | {"tenant_id": planted.own}
                statement, given = insert_of(table, fresh)
                await app.execute("set constraints all deferred")
                touched = int((await app.execute(statement, *given)).split()[-1])
            elif verb == "UPDATE":
                status = await app.execute(f"update {table} set tenant_id = tenant_id where {where}", *values)
                touched = int(status.split()[-1])
            else:
                touched = int((await app.execute(f"delete from {table} where {where}", *values)).split()[-1])
        except asyncpg.InsufficientPrivilegeError as error:
            touched = "row" if "row-level security" in str(error) else "right"
        except (asyncpg.ForeignKeyViolationError, asyncpg.UniqueViolationError):
            touched = "reached"
    finally:
        await transaction.rollback()
    if verb not in TENANT[table]:
        assert touched == "right"
    elif scope == "own":
        assert touched in (1, "reached")
    elif verb == "INSERT":
        assert touched == "row"
    else:
        assert touched == 0


@pytest.mark.parametrize("table", [name for name, rights in TENANT.items() if "UPDATE" in rights])
async def test_a_row_cannot_be_given_away(app: asyncpg.Connection, planted: Planted, table: str) -> None:
    async with app.transaction():
        await app.execute("select set_config('keyreeve.tenant', $1, true)", str(planted.own))
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with app.transaction():
                await app.execute(f"update {table} set tenant_id = $1", planted.other)


@pytest.mark.parametrize("table", TENANT)
async def test_whole_table_shows_one_tenant(app: asyncpg.Connection, planted: Planted, table: str) -> None:
    """Without any condition of the query's own."""
    async with app.transaction():
        await app.execute("select set_config('keyreeve.tenant', $1, true)", str(planted.own))
        seen = await app.fetch(f"select distinct tenant_id from {table}")
    assert {row["tenant_id"] for row in seen} == {planted.own}
    assert await app.fetchval(f"select count(*) from {table}") == 0


async def test_a_garbled_scope_shows_nothing(app: asyncpg.Connection, planted: Planted) -> None:
    transaction = app.transaction()
    await transaction.start()
    await app.execute("select set_config('keyreeve.tenant', $1, true)", f"{planted.own}' or true")
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await app.fetch("select * from broker.identities")
    await transaction.rollback()


async def test_partitions_are_closed(owner: asyncpg.Connection, app: asyncpg.Connection) -> None:
    parts = await owner.fetch(
        "select c.oid::regclass::text as name, relrowsecurity, relforcerowsecurity, "
        " has_table_privilege('keyreeve_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') as open "
        "from pg_class c where c.relispartition and c.relkind = 'r'"
    )
    assert len(parts) >= 8, "audit partitions are made ahead"
    for part in parts:
        assert part["relrowsecurity"], part["name"]
        assert part["relforcerowsecurity"], part["name"]
        assert not part["open"], part["name"]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.fetch(f"select * from {parts[0]['name']}")


async def test_nothing_else_is_there_to_read(owner: asyncpg.Connection) -> None:
    """No view (it would read as its owner), no sequence (it would count across tenants), no foreign table."""
    rows = await owner.fetch(
        "select c.oid::regclass::text as name, relkind::text from pg_class c join pg_namespace n "
        "on n.oid = c.relnamespace where n.nspname = any ($1) and relkind not in ('r', 'p', 'i', 'I', 't', 'c')",
        SCHEMAS,
    )
    assert [row["name"] for row in rows] == []

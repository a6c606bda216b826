"""deploy/roles.sql, run by psql on a PostgreSQL that has none of it, and then served from."""

import secrets
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from broker.clock import SystemClock
from broker.db.embedded.connection import ConnectionInfo
from broker.db.embedded.testing import start_for_tests
from broker.db.migrate import migrate
from broker.db.server_checks import check_server
from tests.integration.deploy.support import DEPLOY, tool

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest_asyncio.fixture(scope="module")
async def bare(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ConnectionInfo]:
    """A cluster without our roles and database."""
    async with start_for_tests(tmp_path_factory.mktemp("roles") / "data", durable=True) as info:
        connection = await asyncpg.connect(**(info.connect_kwargs("superuser") | {"database": "postgres"}))
        await connection.execute("drop database keyreeve")
        await connection.execute("drop role keyreeve_owner")
        await connection.execute("drop role keyreeve_app")
        await connection.close()
        yield info


@pytest.fixture
def run(bare: ConnectionInfo) -> Run:
    """Runs the script as the superuser, with these variables in the environment."""

    def psql(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        script = str(DEPLOY / "roles.sql")
        return tool(bare, "psql", "-X", "-d", "postgres", *arguments, "-f", script, **environment)

    return psql


def as_role(bare: ConnectionInfo, role: str, password: str) -> dict[str, Any]:
    return bare.connect_kwargs("superuser") | {"user": role, "password": password, "database": "keyreeve"}


def passwords() -> dict[str, str]:
    return {"KEYREEVE_OWNER_PASSWORD": secrets.token_hex(24), "KEYREEVE_APP_PASSWORD": secrets.token_hex(24)}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"KEYREEVE_OWNER_PASSWORD": "o" * 24},
        {"KEYREEVE_OWNER_PASSWORD": "o" * 24, "KEYREEVE_APP_PASSWORD": "short"},
        {"KEYREEVE_OWNER_PASSWORD": "same" * 8, "KEYREEVE_APP_PASSWORD": "same" * 8},
    ],
)
async def test_without_good_passwords_nothing_is_made(bare: ConnectionInfo, run: Run, given: dict[str, str]) -> None:
    connection = await asyncpg.connect(**(bare.connect_kwargs("superuser") | {"database": "postgres"}))
    before = await connection.fetch("select rolname, rolpassword from pg_authid order by 1")
    done = run(**given)
    after = await connection.fetch("select rolname, rolpassword from pg_authid order by 1")
    await connection.close()
    assert done.returncode != 0
    assert "KEYREEVE_OWNER_PASSWORD" in done.stderr
    assert before == after


async def test_a_migrated_database_serves_and_passes_every_check(bare: ConnectionInfo, run: Run) -> None:
    given = passwords()
    done = run(**given)
    assert done.returncode == 0, done.stderr
    assert not any(password in done.stdout + done.stderr for password in given.values())

    owner = as_role(bare, "keyreeve_owner", given["KEYREEVE_OWNER_PASSWORD"])
    url = f"postgresql+asyncpg://keyreeve_owner:{owner['password']}@/keyreeve?host={owner['host']}&port={owner['port']}"
    assert await migrate(url)

    app = await asyncpg.connect(**as_role(bare, "keyreeve_app", given["KEYREEVE_APP_PASSWORD"]))
    try:
        assert await check_server(app, SystemClock().now) == []
        assert await app.fetchval("select count(*) from broker.tenants") == 0
        for statement in (
            "create table public.mine (x int)",
            "create schema mine",
            "create temporary table mine (x int)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.execute(statement)
    finally:
        await app.close()


async def test_again_it_sets_new_passwords_and_takes_back_rights(bare: ConnectionInfo, run: Run) -> None:
    assert run(**passwords()).returncode == 0
    connection = await asyncpg.connect(**(bare.connect_kwargs("superuser") | {"database": "postgres"}))
    await connection.execute("alter role keyreeve_app createdb bypassrls superuser")
    await connection.execute("grant keyreeve_owner to keyreeve_app")
    await connection.execute("grant create on database keyreeve to keyreeve_app")
    new = passwords()
    done = run(**new)
    assert done.returncode == 0, done.stderr

    role = await connection.fetchrow("select * from pg_roles where rolname = 'keyreeve_app'")
    assert role is not None
    assert role["rolcanlogin"]
    for right in ("rolsuper", "rolcreatedb", "rolcreaterole", "rolreplication", "rolbypassrls"):
        assert not role[right], right
    assert not await connection.fetchval("select pg_has_role('keyreeve_app', 'keyreeve_owner', 'member')")
    assert not await connection.fetchval("select has_database_privilege('keyreeve_app', 'keyreeve', 'create')")
    stored = await connection.fetch("select rolpassword from pg_authid where rolname like 'keyreeve%'")
    await connection.close()
    assert all(row["rolpassword"].startswith("SCRAM-SHA-256$") for row in stored)
    for name in ("owner", "app"):
        password = new[f"KEYREEVE_{name.upper()}_PASSWORD"]
        await (await asyncpg.connect(**as_role(bare, f"keyreeve_{name}", password))).close()


async def test_it_takes_psql_variables_too(bare: ConnectionInfo, run: Run) -> None:
    given = passwords()
    owner, app = given.values()
    assert run("-v", f"owner_password={owner}", "-v", f"app_password={app}").returncode == 0
    await (await asyncpg.connect(**as_role(bare, "keyreeve_app", app))).close()

"""Starting, stopping and starting again: what comes up, who may reach it, and what it may reach."""

import asyncio
import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from broker.clock import SystemClock
from broker.db.embedded import ConnectionInfo, EmbeddedPostgres
from broker.db.embedded.errors import DataDirInUse
from broker.db.embedded.home import recorded
from broker.db.embedded.testing import start_for_tests
from broker.db.embedded.users import Account
from broker.db.server_checks import check_server
from tests.integration.embedded.conftest import (
    alive,
    ask,
    gone,
    internet_sockets,
    needs_root,
    other_users_python,
    start_parent,
    status_of,
    wait_until,
)

NOBODY = Account(65534, 65534, "nobody")


async def test_first_start_then_a_warm_one(folder: Path) -> None:
    embedded = EmbeddedPostgres(folder / "d")
    began = time.monotonic()
    info = await embedded.start()
    first = time.monotonic() - began
    await ask(info, "create table public.t as select 42 as x", "owner")
    connection = await asyncpg.connect(**info.connect_kwargs("app"))
    assert await check_server(connection, SystemClock().now) == []
    await connection.close()
    await embedded.stop()
    assert gone(info.socket_dir)

    began = time.monotonic()
    again = await embedded.start()
    warm = time.monotonic() - began
    assert await ask(again, "select x from public.t", "owner") == 42
    assert again.app_password == info.app_password
    assert recorded(folder / "d") == again
    await embedded.stop()
    await embedded.stop()
    print(f"first start {first:.2f} s, warm {warm:.2f} s")
    assert first < 15
    assert warm < 5


async def test_what_comes_up(folder: Path) -> None:
    async with start_for_tests(folder / "d", durable=True) as info:
        expected = {
            "listen_addresses": "",
            "data_checksums": "on",
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "TimeZone": "UTC",
            "server_encoding": "UTF8",
            "jit": "off",
            "log_min_error_statement": "panic",
        }
        connection = await asyncpg.connect(**info.connect_kwargs("superuser"))
        found = {name: await connection.fetchval("select current_setting($1)", name) for name in expected}
        assert found == expected
        assert await connection.fetchval("select 'é' < 'z' collate \"C\"") is False
        assert await connection.fetchval("select upper('é')") == "É"
        roles = await connection.fetch(
            "select rolname, rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls as strong "
            "from pg_roles where rolcanlogin order by 1"
        )
        assert [tuple(row) for row in roles] == [
            ("keyreeve_app", False),
            ("keyreeve_owner", False),
            ("postgres", True),
        ]
        await connection.close()


async def test_each_role_gets_what_it_needs_and_no_more(folder: Path) -> None:
    async with start_for_tests(folder / "d") as info:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(info, "create table public.t (x int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(info, "create schema s")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(replace(info, database="postgres"), "select 1")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(info, "select pg_read_file('PG_VERSION')", "owner")
        for role in ("owner", "app", "superuser"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await ask(replace(info, **{f"{role}_password": "x" * 43}), "select 1", role)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_files_are_private(folder: Path) -> None:
    data_dir = folder / "d"
    async with start_for_tests(data_dir):
        home = data_dir / "postgres"
        assert _mode(home / "connection.json") == 0o600
        assert (home / "connection.json").stat().st_uid == os.geteuid()
        assert {_mode(home), _mode(home / "data"), _mode(data_dir), _mode(folder)} == {0o700}


@needs_root
async def test_as_root_postgresql_is_another_user_that_cannot_read_the_root_key(folder: Path) -> None:
    data_dir = folder / "d"
    data_dir.mkdir()
    key = data_dir / "root.key"
    key.write_text("canary")
    key.chmod(0o600)
    embedded = EmbeddedPostgres(data_dir, durable=False)
    info = await embedded.start()
    try:
        account = embedded.account
        assert account is not None
        assert account.uid != 0
        fields = status_of(embedded.pid)
        assert set(fields["Uid"].split()) == {str(account.uid)}
        assert set(fields["Gid"].split()) == {str(account.gid)}
        assert fields["Groups"].split() == []
        assert int(fields["CapEff"], 16) == 0
        for path in (key, data_dir / "postgres" / "connection.json"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="Permission denied"):
                await ask(info, f"select pg_read_file('{path}')", "superuser")
        # Not even as code run by PostgreSQL's user, which inherited a descriptor of the folder inside.
        up = "/proc/self/fd/3/../.."
        await ask(info, "create table shown (line text)", "superuser")
        for path in (str(key), f"{up}/root.key", f"/proc/{embedded.pid}/cwd/../../root.key"):
            with pytest.raises(asyncpg.PostgresError):
                await ask(info, f"copy shown from program 'cat {path}'", "superuser")
        assert await ask(info, "select count(*) from shown", "superuser") == 0
    finally:
        await embedded.stop()


@needs_root
async def test_a_user_without_an_entry_in_passwd(folder: Path) -> None:
    embedded = EmbeddedPostgres(folder / "d", run_as=60711, durable=False)
    info = await embedded.start()
    assert set(status_of(embedded.pid)["Uid"].split()) == {"60711"}
    assert {path.lstat().st_uid for path in (folder / "d/postgres/data").rglob("*")} == {60711}
    assert await ask(info, "select 1") == 1
    await embedded.stop()
    await embedded.start()
    await embedded.stop()


async def test_two_side_by_side_and_long_paths(folder: Path) -> None:
    deep = folder.joinpath(*["x" * 60] * 4)
    one, two = EmbeddedPostgres(deep / "a", durable=False), EmbeddedPostgres(deep / "b", durable=False)
    infos = await asyncio.gather(one.start(), two.start())
    assert infos[0].socket_dir != infos[1].socket_dir
    for number, info in enumerate(infos):
        await ask(info, f"create table t as select {number} as x", "superuser")
    assert [await ask(info, "select x from t", "superuser") for info in infos] == [0, 1]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(replace(infos[0], app_password=infos[1].app_password), "select 1")
    await asyncio.gather(one.stop(), two.stop())


async def test_a_second_server_on_the_same_folder_is_refused(folder: Path) -> None:
    async with start_for_tests(folder / "d") as info:
        second = EmbeddedPostgres(folder / "d")
        with pytest.raises(DataDirInUse, match=f"in use by process {os.getpid()}: stop it"):
            await second.start()
        await second.stop()
        assert await ask(info, "select 1") == 1


async def test_lost_passwords_are_replaced(folder: Path) -> None:
    async with start_for_tests(folder / "d") as old:
        await ask(old, "create table t as select 7 as x", "owner")
    record = folder / "d/postgres/connection.json"
    for damage in (record.unlink, lambda: record.write_text('{"app_password": 1}')):
        damage()
        async with start_for_tests(folder / "d") as new:
            assert new.app_password != old.app_password
            assert await ask(new, "select x from t", "owner") == 7
            with pytest.raises(asyncpg.InvalidPasswordError):
                await ask(replace(new, app_password=old.app_password), "select 1")


async def test_a_start_that_is_cancelled_leaves_nothing(folder: Path) -> None:
    embedded = EmbeddedPostgres(folder / "d", durable=False)
    task = asyncio.create_task(embedded.start())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert embedded.pid is None
    async with start_for_tests(folder / "d") as info:
        assert await ask(info, "select 1") == 1


@needs_root
async def test_no_tcp_port_is_open(folder: Path) -> None:
    embedded = EmbeddedPostgres(folder / "d", durable=False)
    await embedded.start()
    try:
        assert internet_sockets(embedded.pid) == set()
    finally:
        await embedded.stop()


@needs_root
async def test_as_a_normal_user_it_runs_as_that_user(folder: Path) -> None:
    python = other_users_python(NOBODY)
    folder.chmod(0o755)
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY.uid, NOBODY.gid)
    who = {"user": NOBODY.uid, "group": NOBODY.gid, "extra_groups": []}
    popen, pid = await asyncio.to_thread(start_parent, home / "d", python=python, **who)
    try:
        assert set(status_of(pid)["Uid"].split()) == {str(NOBODY.uid)}
        info = recorded(home / "d")
        assert info is not None
        assert await ask(info, "select current_user::text") == "keyreeve_app"
    finally:
        popen.kill()
        popen.wait(10)
    wait_until(lambda: not alive(pid))


def test_the_record_of_a_server_that_never_ran(folder: Path) -> None:
    assert recorded(folder) is None
    assert "password" not in repr(ConnectionInfo("/x", app_password="secret-canary"))

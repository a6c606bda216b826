"""What goes wrong in practice: kills, leftovers, full disks, closed folders, another version's data."""
# ruff: noqa: ASYNC220, ASYNC221 - nothing else runs on the loop meanwhile

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from broker.clock import SystemClock
from broker.db.embedded import EmbeddedPostgres, binaries, cluster
from broker.db.embedded.binaries import Binaries, find_binaries
from broker.db.embedded.errors import BinariesMissing, DiskFull, EmbeddedError, ForeignDataDir, StartFailed
from broker.db.embedded.home import recorded
from broker.db.embedded.testing import start_for_tests
from broker.db.embedded.users import database_account
from broker.db.server_checks import check_server
from tests.integration.embedded.conftest import (
    alive,
    ask,
    gone,
    needs_linux,
    needs_root,
    serves,
    start_parent,
    wait_until,
)


async def test_killed_postgresql_is_reaped_and_back_within_five_seconds(folder: Path) -> None:
    told: list[int] = []
    embedded = EmbeddedPostgres(folder / "d", on_restart=told.append)
    info = await embedded.start()
    await ask(info, "create table t (x int)", "owner")
    for round_ in range(1, 4):
        await ask(info, "insert into t values (1) returning x", "owner")
        pid, began = embedded.pid, time.monotonic()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while embedded.restarts < round_:
            await asyncio.sleep(0.02)
            assert time.monotonic() - began < 5
        assert await ask(info, "select count(*) from t", "owner") == round_
        assert gone(f"/proc/{pid}")
    assert told == [1, 2, 3]
    assert embedded.gave_up() is None
    await embedded.stop()


async def test_a_start_that_cannot_succeed_says_why_and_lets_go(folder: Path) -> None:
    async with start_for_tests(folder / "d"):
        pass
    control = folder / "d/postgres/data/global/pg_control"
    kept = control.read_bytes()
    control.write_bytes(b"\xff" * len(kept))
    embedded = EmbeddedPostgres(folder / "d")
    for _ in range(2):
        with pytest.raises(StartFailed, match=r"before it was ready: [^ ]"):
            await embedded.start()
        assert embedded.pid is None
    control.write_bytes(kept)
    async with start_for_tests(folder / "d") as info:
        assert await ask(info, "select 1") == 1


async def test_it_gives_up_on_a_server_that_never_comes_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.db.embedded.server._GIVE_UP", 2)
    embedded = EmbeddedPostgres(folder / "d", durable=False)
    await embedded.start()
    (folder / "d/postgres/data/global/pg_control").unlink()
    assert embedded.pid is not None
    os.kill(embedded.pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while embedded.gave_up() is None:
            await asyncio.sleep(0.05)
    assert isinstance(embedded.gave_up(), StartFailed)
    await embedded.stop()


@needs_linux
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_parent_takes_postgresql_along(folder: Path, signum: signal.Signals) -> None:
    popen, pid = await asyncio.to_thread(start_parent, folder / "d")
    popen.send_signal(signum)
    popen.wait(10)
    wait_until(lambda: not alive(pid))
    async with start_for_tests(folder / "d") as info:
        assert await ask(info, "select 1") == 1


async def test_an_orphan_is_stopped_by_the_next_start(folder: Path) -> None:
    popen, pid = await asyncio.to_thread(start_parent, folder / "d", "loose")
    popen.kill()
    popen.wait(10)
    await asyncio.sleep(0.3)
    assert serves(pid, folder / "d/postgres/data")
    left = recorded(folder / "d")
    assert left is not None
    assert not gone(left.socket_dir)
    async with start_for_tests(folder / "d") as info:
        assert not alive(pid)
        assert gone(left.socket_dir)
        assert await ask(info, "select 1") == 1


async def test_a_pid_file_that_names_somebody_elses_process(folder: Path) -> None:
    async with start_for_tests(folder / "d"):
        pass
    account = database_account()
    who = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    sleeper = subprocess.Popen(["sleep", "60"], **who)  # type: ignore[call-overload]
    try:
        data = folder / "d/postgres/data"
        (data / "postmaster.pid").write_text(f"{sleeper.pid}\n{data}\n0\n5432\n/tmp\n\n")
        if account:
            os.chown(data / "postmaster.pid", account.uid, account.gid)
        async with start_for_tests(folder / "d") as info:
            assert await ask(info, "select 1") == 1
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


async def test_a_first_start_that_was_killed_is_begun_again(folder: Path) -> None:
    making = folder / "d/postgres/data.new/base"
    making.mkdir(parents=True)
    (making / "1").write_text("half")
    async with start_for_tests(folder / "d") as info:
        assert await ask(info, "select 1") == 1
    assert not making.parent.exists()


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    place = folder / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


async def test_a_disk_with_too_little_room_is_named_at_once(small_disk: Path) -> None:
    embedded = EmbeddedPostgres(small_disk / "d")
    with pytest.raises(DiskFull, match=r"has 2\d MiB free, the database needs 160 MiB: make room"):
        await embedded.start()


async def test_a_disk_that_fills_up_on_the_way(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "check_room", lambda home, new: None)
    embedded = EmbeddedPostgres(small_disk / "d")
    with pytest.raises(DiskFull, match="make room"):
        await embedded.start()
    assert {path.name for path in (small_disk / "d/postgres").iterdir()} <= {"lock", "connection.json"}


async def test_a_disk_that_filled_up_while_serving(small_disk: Path, folder: Path) -> None:
    data_dir = small_disk / "d"
    subprocess.run(["mount", "-o", "remount,size=250m", small_disk], check=True)
    async with start_for_tests(data_dir, durable=True) as info:
        await ask(info, "create table t as select 5 as x", "owner")
        filler = small_disk / "filler"
        try:
            with filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 65536)
        except OSError:
            pass
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await ask(info, "create table u as select generate_series(1, 3000000)", "owner")
    with pytest.raises(DiskFull):
        await EmbeddedPostgres(data_dir).start()
    filler.unlink()
    async with start_for_tests(data_dir) as info:
        assert await ask(info, "select x from t", "owner") == 5


def _debian_15() -> Binaries:
    found = shutil.which("initdb")
    if found is None:
        pytest.skip("no other PostgreSQL on this machine")
    place = Path(found).resolve().parent
    version = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return Binaries(place, int(version.split()[2].split(".")[0]))


async def test_another_major_version_is_refused_and_a_15_passes_the_checks(folder: Path) -> None:
    other = await asyncio.to_thread(_debian_15)
    embedded = EmbeddedPostgres(folder / "d", binaries=other)
    info = await embedded.start()
    connection = await asyncpg.connect(**info.connect_kwargs("app"))
    assert await check_server(connection, SystemClock().now) == []
    await connection.close()
    await embedded.stop()
    with pytest.raises(ForeignDataDir, match=f"made by PostgreSQL {other.major}; this release brings PostgreSQL 18"):
        await EmbeddedPostgres(folder / "d").start()


async def test_a_folder_of_something_else_is_refused(folder: Path) -> None:
    (folder / "d/postgres/data").mkdir(parents=True)
    with pytest.raises(ForeignDataDir, match="by something else"):
        await EmbeddedPostgres(folder / "d").start()
    shutil.rmtree(folder / "d")
    (folder / "d").mkdir()
    (folder / "d/postgres").symlink_to("/etc")
    with pytest.raises(EmbeddedError):
        await EmbeddedPostgres(folder / "d").start()


@needs_root
async def test_a_cluster_of_another_user_is_refused(folder: Path) -> None:
    async with start_for_tests(folder / "d"):
        pass
    with pytest.raises(ForeignDataDir, match=r"would run as uid 60711: .*chown"):
        await EmbeddedPostgres(folder / "d", run_as=60711).start()


@needs_root
async def test_programs_in_a_closed_folder_are_copied_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = binaries._bundled()
    package = folder / "closed" / original.parent.name
    shutil.copytree(original.parent.parent / f"{original.parent.name}.libs", package.parent / f"{package.name}.libs")
    for name in ("bin", "lib", "share"):
        shutil.copytree(original / name, package / original.name / name, symlinks=True)
    monkeypatch.setattr(binaries, "_bundled", lambda: package / original.name)
    cache = Path(f"/var/cache/keyreeve-test-{os.getpid()}")
    try:
        account = database_account()
        found = find_binaries(account, cache=cache)
        assert found.bin.is_relative_to(cache)
        copied = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
        assert find_binaries(account, cache=cache) == found
        assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == copied
        assert not any(path.stat().st_mode & 0o022 for path in copied)
        embedded = EmbeddedPostgres(folder / "d", binaries=found, durable=False)
        info = await embedded.start()
        assert await ask(info, "select 1") == 1
        await embedded.stop()
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def test_no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_PACKAGE", "no_such_package")
    with pytest.raises(BinariesMissing, match="set KEYREEVE_DATABASE_URL"):
        find_binaries(None)


async def test_findings_on_a_server_that_is_not_durable(folder: Path) -> None:
    async with start_for_tests(folder / "d") as info:
        connection = await asyncpg.connect(**info.connect_kwargs("superuser"))
        findings = await check_server(connection, SystemClock().now)
        await connection.close()
    found = {(finding.check, finding.level) for finding in findings}
    unsafe = {"fsync", "full_page_writes", "synchronous_commit", "role"}
    assert {(check, "fail") for check in unsafe} <= found

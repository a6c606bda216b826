"""A private folder per test, and what several tests ask about processes."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from broker.db.embedded.connection import ConnectionInfo, Role
from broker.db.embedded.leftovers import remove_socket_folder
from broker.db.embedded.users import Account, can_run

PARENT = Path(__file__).with_name("parent.py")
ROOT = PARENT.parents[3]
PYTHON_PATH = os.pathsep.join([str(ROOT), str(Path(asyncpg.__file__).parent.parent)])

AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can run PostgreSQL as another user")
needs_linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data directory's place, closed (0700) to every other user, as a home folder is. Ends servers left there."""
    made = Path(tempfile.mkdtemp(prefix="krv-e-"))
    yield made
    with contextlib.suppress(OSError, ValueError, IndexError):
        for pid_file in made.rglob("postmaster.pid"):
            pid = int(pid_file.read_text().split()[0])
            if serves(pid, pid_file.parent):
                os.kill(pid, signal.SIGKILL)
    for record in made.rglob("connection.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            remove_socket_folder(json.loads(record.read_text())["socket_dir"], frozenset(range(65536)))
    shutil.rmtree(made, ignore_errors=True)


def serves(pid: int, cluster: Path) -> bool:
    """Whether `pid` is the living postmaster of `cluster`."""
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", cluster)
    except OSError:
        return False


def alive(pid: int) -> bool:
    """Whether `pid` is a process that has not ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(what: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for `what` to hold, or fails."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


async def ask(info: ConnectionInfo, sql: str, role: Role = "app") -> object:
    """One value from the server."""
    connection = await asyncpg.connect(**info.connect_kwargs(role))
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def status_of(pid: int | None) -> dict[str, str]:
    """The fields of `/proc/PID/status`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def internet_sockets(pid: int | None) -> set[str]:
    """The inodes of the TCP and UDP sockets that a process holds."""
    links = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    held = {link.removeprefix("socket:[").removesuffix("]") for link in links}
    tables = [Path(f"/proc/net/{table}") for table in ("tcp", "tcp6", "udp", "udp6")]
    known = {row.split()[9] for table in tables if table.exists() for row in table.read_text().splitlines()[1:]}
    return held & known


def gone(path: str) -> bool:
    """Whether nothing is at `path`."""
    return not os.path.lexists(path)


def other_users_python(account: Account) -> str:
    """An interpreter that `account` can run this code with (the one of these tests may be in a closed home folder)."""
    code = f"import sys; sys.path[:0] = {PYTHON_PATH.split(os.pathsep)!r}; import broker.db.embedded.keeper"
    for python in (sys.executable, "/usr/bin/python3"):
        if can_run(account, [python, "-c", code]):
            return python
    pytest.skip(f"{account.name} can run no Python with this code here")


def start_parent(
    data_dir: Path, *more: str, python: str = sys.executable, **who: Any
) -> tuple["subprocess.Popen[str]", int]:
    """Runs `parent.py` until its server is up; returns the parent and the server's process id."""
    argv = [python, str(PARENT), str(data_dir), *more]
    env = {"PYTHONPATH": PYTHON_PATH, "PYTHONDONTWRITEBYTECODE": "1"}
    popen = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env, **who)
    assert popen.stdout is not None
    with popen.stdout:
        for line in popen.stdout:
            if line.strip().isdigit():
                return popen, int(line)
    raise AssertionError("the parent did not start")

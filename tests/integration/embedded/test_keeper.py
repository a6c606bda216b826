"""The keeper: order of starting and stopping, who gets which secret, restarts, and that nothing stays behind."""
# ruff: noqa: ASYNC221, ASYNC251 - nothing else runs on the loop meanwhile

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from broker.db.embedded.connection import ConnectionInfo, Handoff
from broker.db.embedded.users import Account, hand_over
from tests.integration.embedded.conftest import (
    PYTHON_PATH,
    ROOT,
    alive,
    ask,
    needs_linux,
    needs_root,
    other_users_python,
    serves,
    status_of,
    wait_until,
)

PROGRAM = Path(__file__).with_name("keeper_program.py")
SERVE = (
    'cat > "$0.in"; echo $$ >> "$0.pids"; trap \'echo drained >> "$0.log"; exit 0\' TERM; while :; do sleep 0.05; done'
)


class Run:
    """One keeper program under `folder`, and what its children wrote there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "d"
        self.popen: subprocess.Popen[str] | None = None

    def start(self, *before: str, **plan: Any) -> None:
        (self.folder / "plan.json").write_text(json.dumps(plan))
        argv = [*before, sys.executable, str(PROGRAM), str(self.data_dir), str(self.folder / "plan.json")]
        env = {"PYTHONPATH": PYTHON_PATH, "PATH": "/usr/bin:/bin"}
        self.popen = subprocess.Popen(
            argv, cwd=ROOT, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def server(self, name: str) -> list[str]:
        return ["/bin/sh", "-c", SERVE, str(self.folder / name)]

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def pids(self, name: str) -> list[int]:
        return [int(line) for line in self.read(f"{name}.pids").split()]

    def handoff(self, name: str) -> Handoff:
        with (self.folder / f"{name}.in").open("rb") as stream:
            return Handoff.read(stream)

    def database(self, name: str) -> ConnectionInfo:
        info = self.handoff(name).database
        assert info is not None
        return info

    @property
    def postmaster(self) -> int:
        return int((self.data_dir / "postgres/data/postmaster.pid").read_text().split()[0])

    def up(self, *names: str) -> None:
        """Waits until these servers run."""
        wait_until(lambda: all(self.pids(name) for name in names) or self.ended(), 30)
        assert not self.ended(), self.popen and self.popen.communicate()[1]

    def ended(self) -> bool:
        return self.popen is not None and self.popen.poll() is not None

    def end(self, signum: signal.Signals | None = None) -> tuple[int, str]:
        """Signals the keeper, waits for its end; returns its status and what it said to the operator."""
        assert self.popen is not None
        if signum is not None:
            self.popen.send_signal(signum)
        _, said = self.popen.communicate(timeout=40)
        return self.popen.returncode, said


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    made = Run(folder)
    yield made
    if made.popen is not None and made.popen.poll() is None:
        made.popen.kill()
        made.popen.communicate()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_a_life_from_start_to_drain(run: Run, signum: signal.Signals) -> None:
    prepare = ["/bin/sh", "-c", 'cat > "$0.in"; test ! -e "${0%/*}/a.pids"', str(run.folder / "prepare")]
    run.start(prepare={"migrate": prepare}, servers={"a": run.server("a"), "b": run.server("b")}, extra={"K": "canary"})
    run.up("a", "b")
    postmaster = run.postmaster
    assert await ask(run.database("a"), "select current_user::text") == "keyreeve_app"
    assert await ask(run.database("prepare"), "select current_user::text", "owner") == "keyreeve_owner"
    assert run.handoff("b").extra == {"K": "canary"}
    assert (run.database("b").owner_password, run.database("b").superuser_password) == (None, None)
    for name in ("a", "b"):
        process = Path(f"/proc/{run.pids(name)[0]}")
        if process.exists():
            app_password = run.database(name).app_password
            assert app_password is not None
            assert app_password.encode() not in process.joinpath("environ").read_bytes()
            assert b"canary" not in process.joinpath("environ").read_bytes() + process.joinpath("cmdline").read_bytes()
    status, said = run.end(signum)
    assert (status, said) == (0, "")
    assert run.read("a.log") == run.read("b.log") == "drained\n"
    assert not any(alive(pid) for pid in [postmaster, *run.pids("a"), *run.pids("b")])
    assert not (run.data_dir / "postgres/data/postmaster.pid").exists()


async def test_what_dies_comes_back(run: Run) -> None:
    run.start(servers={"a": run.server("a")})
    run.up("a")
    os.kill(run.pids("a")[0], signal.SIGKILL)
    wait_until(lambda: len(run.pids("a")) == 2)
    old = run.postmaster
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: not alive(old), 5)
    wait_until(lambda: (run.data_dir / "postgres/data/postmaster.pid").exists() and run.postmaster != old, 5)
    deadline = time.monotonic() + 5
    while True:
        try:
            assert await ask(run.database("a"), "select 1") == 1
            break
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    assert len(run.pids("a")) == 2
    assert run.end(signal.SIGTERM)[0] == 0


@needs_linux
async def test_a_killed_keeper_leaves_nothing_and_the_next_one_starts(run: Run) -> None:
    run.start(servers={"a": run.server("a")})
    run.up("a")
    pids = [run.postmaster, *run.pids("a")]
    run.end(signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in pids))
    run.start(servers={"again": run.server("again")})
    run.up("again")
    assert run.end(signal.SIGTERM)[0] == 0


@needs_root
async def test_as_process_1_of_a_container_it_reaps_what_it_inherits(run: Run) -> None:
    unshare = shutil.which("unshare")
    own = [str(unshare), "--pid", "--fork", "--kill-child", "--mount-proc"]
    if unshare is None or subprocess.run([*own, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("a process namespace of our own is not permitted here")
    run.start(*own, servers={"a": run.server("a")})
    run.up("a")

    def inside() -> list[str]:
        """The state (R, S, Z …) of every process in the keeper's namespace, the keeper first."""
        assert run.popen is not None
        keeper = Path(f"/proc/{run.popen.pid}/task/{run.popen.pid}/children").read_text().split()[0]
        space = os.readlink(f"/proc/{keeper}/ns/pid")
        states = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if process.name.isdigit() and os.readlink(process / "ns/pid") == space:
                    states.append((process / "stat").read_text().rpartition(")")[2].split()[0])
        return states

    postmaster = next(
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit()
        and serves(int(process.name), run.data_dir / "postgres/data")
        and _is_postmaster(process)
    )
    before = len(inside())
    os.kill(postmaster, signal.SIGKILL)
    wait_until(lambda: not alive(postmaster))
    wait_until(lambda: len(inside()) >= before and "Z" not in inside())
    assert run.popen is not None
    keeper = int(Path(f"/proc/{run.popen.pid}/task/{run.popen.pid}/children").read_text().split()[0])
    os.kill(keeper, signal.SIGTERM)
    assert run.end()[0] == 0
    assert run.read("a.log") == "drained\n"


def _is_postmaster(process: Path) -> bool:
    return b"-D" in (process / "cmdline").read_bytes()


async def test_a_child_that_does_not_end_is_killed(run: Run) -> None:
    stubborn = [
        "/bin/sh",
        "-c",
        'trap "" TERM; echo $$ >> "$0.pids"; while :; do sleep 0.05; done',
        str(run.folder / "a"),
    ]
    run.start(embedded=False, servers={"a": stubborn}, drain=0.5)
    run.up("a")
    began = time.monotonic()
    assert run.end(signal.SIGTERM)[0] == 0
    assert time.monotonic() - began < 5
    assert not alive(run.pids("a")[0])


async def test_a_second_signal_does_not_wait_for_draining(run: Run) -> None:
    stubborn = [
        "/bin/sh",
        "-c",
        'trap "" TERM; echo $$ >> "$0.pids"; while :; do sleep 0.05; done',
        str(run.folder / "a"),
    ]
    run.start(embedded=False, servers={"a": stubborn}, drain=60.0)
    run.up("a")
    assert run.popen is not None
    run.popen.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert run.end(signal.SIGTERM)[0] == 0
    assert not alive(run.pids("a")[0])


async def test_errors_are_told_and_nothing_stays(run: Run) -> None:
    run.start(prepare={"migrate": ["/bin/sh", "-c", "exit 7"]}, servers={"a": run.server("a")})
    assert run.end() == (3, "keyreeve: migrate ended with 7; its own messages say why\n")
    run.start(servers={"a": ["/bin/sh", "-c", f"echo $$ >> {run.folder}/quick.pids; exit 8"]})
    status, said = run.end()
    assert (status, said) == (3, "keyreeve: a ended 5 times in a row (last with 8); its own messages say why\n")
    assert len(run.pids("quick")) == 5
    assert run.read("a.pids") == ""
    assert not (run.data_dir / "postgres/data/postmaster.pid").exists()
    run.start(servers={"a": run.server("a")})
    run.up("a")
    second = Run(run.folder)
    second.start(servers={})
    status, said = second.end()
    assert status == 3
    assert "is in use by process" in said
    assert run.end(signal.SIGTERM)[0] == 0


@needs_root
async def test_started_as_root_serving_and_postgresql_are_two_other_users(run: Run) -> None:
    serving = Account(60712, 60712, "uid 60712")
    python = other_users_python(serving)
    run.folder.chmod(0o755)
    out = run.folder / "out"
    out.mkdir()
    out.chmod(0o777)
    run.data_dir.mkdir(mode=0o700)
    key = run.data_dir / "root.key"
    key.write_text("canary")
    key.chmod(0o600)
    (run.data_dir / "planted").symlink_to("/etc/hostname")
    connect = (
        f"import sys; sys.path[:0] = {PYTHON_PATH.split(os.pathsep)!r}\n"
        "import asyncio, asyncpg, os, time\n"
        "from pathlib import Path\n"
        "from broker.db.embedded.connection import Handoff\n"
        "info = Handoff.read(sys.stdin.buffer).database\n"
        "async def main():\n"
        "    connection = await asyncpg.connect(**info.connect_kwargs('app'))\n"
        "    return await connection.fetchval('select current_user::text')\n"
        f"out = Path({str(out)!r})\n"
        f"(out / 'said').write_text(asyncio.run(main()) + Path({str(key)!r}).read_text())\n"
        "(out / 'pid').write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    run.start(servers={"a": [python, "-c", connect]}, python=python, reach="import os, sys; os.chdir(sys.argv[1])")
    wait_until(lambda: (out / "pid").exists() or run.ended(), 30)
    assert not run.ended()
    assert (out / "said").read_text() == "keyreeve_appcanary"
    pid = int((out / "pid").read_text())
    fields = status_of(pid)
    assert set(fields["Uid"].split()) == {"60712"}
    assert set(fields["Gid"].split()) == {"60712"}
    assert fields["Groups"] == ""
    database_uid = status_of(run.postmaster)["Uid"].split()[0]
    assert database_uid not in ("0", "60712")
    assert key.stat().st_uid == 60712
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (run.data_dir / "postgres").stat().st_uid == 0
    assert os.stat("/etc/hostname").st_uid == 0
    socket_dir = Path(_socket_dir(run))
    assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o710
    for uid, may in ((60712, True), (65534, False)):
        assert _reaches(uid, socket_dir / ".s.PGSQL.5432") is may
    assert run.end(signal.SIGTERM)[0] == 0
    assert not alive(pid)


def _socket_dir(run: Run) -> str:
    record = json.loads((run.data_dir / "postgres/connection.json").read_text())
    return str(record["socket_dir"])


def _reaches(uid: int, path: Path) -> bool:
    """Whether a user can connect to a Unix socket."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_root
def test_handing_over_touches_nobody_elses_files(folder: Path) -> None:
    data_dir, outside = folder / "d", folder / "outside"
    (data_dir / "specs").mkdir(parents=True)
    (data_dir / "postgres").mkdir()
    outside.write_text("theirs")
    (data_dir / "specs/own.json").write_text("{}")
    (data_dir / "postgres/lock").write_text("")
    os.link(outside, data_dir / "specs/hard")
    (data_dir / "soft").symlink_to(outside)
    os.mkfifo(data_dir / "specs/fifo")
    hand_over(data_dir, Account(60712, 60712, "x"), skip=frozenset({"postgres"}))
    given = {path.name for path in [data_dir, *data_dir.rglob("*")] if path.lstat().st_uid == 60712}
    assert given == {"d", "specs", "own.json"}
    assert outside.stat().st_uid == 0

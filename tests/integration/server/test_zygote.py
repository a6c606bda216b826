"""The process that workers are forked from: what it holds, what it answers, and how it and its workers end."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from bench.processes import children
from broker.server.children import Worker
from broker.server.forking import Zygote, ZygoteGone
from broker.server.privileges import Serving
from broker.server.worker import ORPHANED

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into Linux's /proc")

ROOT = Path(__file__).resolve().parents[3]
AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root may look into a hardened process")


@pytest_asyncio.fixture(scope="module")
async def zygote() -> AsyncIterator[Zygote]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("KEYREEVE_CANARY", "not for the zygote")
        made = Serving(None).zygote()
    assert await made.is_here()
    yield made
    made.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def gone(pid: int) -> bool:
    """Whether it has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def sockets(pid: int) -> set[str]:
    """The sockets that a process holds."""
    links = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    return {link for link in links if link.startswith("socket:")}


async def until(what: Callable[[], object]) -> None:
    """Waits until it holds, or fails after 30 s."""
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)


async def test_workers_come_and_go_and_their_end_is_told(zygote: Zygote, listening: socket.socket) -> None:
    first, second = [await zygote.fork(listening) for _ in range(2)]
    assert set(children(zygote.pid)) == {first[0], second[0]}
    first[1].close()  # the parent is gone before it gave orders
    assert await zygote.reap(first[0]) == ORPHANED
    os.kill(second[0], signal.SIGKILL)
    await until(lambda: gone(second[0]))
    assert children(zygote.pid) == [second[0]], "its id is kept until it is asked for"
    assert await zygote.reap(second[0]) == -signal.SIGKILL
    assert children(zygote.pid) == []
    second[1].close()


@needs_root
async def test_it_holds_one_thread_no_setting_and_no_descriptor_to_spare(
    zygote: Zygote, listening: socket.socket
) -> None:
    pid, channel = await zygote.fork(listening)
    place = Path(f"/proc/{zygote.pid}")
    assert len(list((place / "task").iterdir())) == 1, "a lock that another thread holds would stay locked in a child"
    await until(lambda: len(list((place / "fd").iterdir())) == 4)  # three standard ones and the way to the parent
    assert b"KEYREEVE" not in (place / "environ").read_bytes()
    assert b"KEYREEVE" not in Path(f"/proc/{pid}/environ").read_bytes()
    await until(lambda: len(sockets(zygote.pid)) == 1)  # not the worker's two any more
    await until(lambda: not sockets(pid) & sockets(zygote.pid))  # a worker does not keep the zygote's own
    core = next(line for line in (place / "limits").read_text().splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    channel.close()
    await zygote.reap(pid)


async def test_signals_to_whole_groups_are_not_for_it(zygote: Zygote, listening: socket.socket) -> None:
    assert os.getpgid(zygote.pid) == zygote.pid, "Ctrl-C reaches its parent alone"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(zygote.pid, number)
    pid, channel = await zygote.fork(listening)
    os.kill(pid, signal.SIGTERM)
    assert await zygote.reap(pid) == -signal.SIGTERM, "its workers hear them again"
    channel.close()


async def test_whoever_leaves_early_does_not_mix_up_the_answers(zygote: Zygote, listening: socket.socket) -> None:
    leaving = [asyncio.ensure_future(zygote.fork(listening)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    worker = await Worker.fork(zygote, listening)
    left = [pid for pid in children(zygote.pid) if pid != worker.pid]
    await until(lambda: all(gone(pid) for pid in left))
    assert not gone(worker.pid), "the answer is the last question's, not an earlier one's"
    for pid in left:
        assert await zygote.reap(pid) == ORPHANED
    worker.signal(signal.SIGKILL)
    assert await worker.ended() == -signal.SIGKILL
    worker.signal(signal.SIGKILL)  # its id may be another's by now: not sent


async def test_its_workers_end_with_it(zygote: Zygote, listening: socket.socket) -> None:
    worker = await Worker.fork(zygote, listening)
    os.kill(zygote.pid, signal.SIGKILL)
    await until(lambda: gone(worker.pid))
    assert await worker.ended() == -signal.SIGKILL
    with pytest.raises(ZygoteGone):
        await zygote.fork(listening)
    assert zygote.gone  # and the tests below start their own


async def test_it_ends_with_its_parent() -> None:
    pid = await asyncio.to_thread(start_and_kill_a_parent)
    await until(lambda: gone(pid))


def start_and_kill_a_parent() -> int:
    """A program that starts a zygote and is killed; the zygote's process id."""
    program = """
import asyncio, sys
from broker.server.privileges import Serving
zygote = Serving(None).zygote()
assert asyncio.run(zygote.is_here())
print(zygote.pid, flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
    return pid


async def test_a_program_that_cannot_be_run_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found = Serving(None).zygote()
    assert await found.is_here() is False
    assert found.gone


def test_what_is_made_at_random_differs_between_workers() -> None:
    """Random generators in memory would be forked along: after a fork each must begin anew."""
    program = """
import os, random, secrets
from broker.ids import new_id
new_id(), random.random(), secrets.token_hex()
for _ in range(4):
    if os.fork() == 0:
        os.write(1, f"{str(new_id())[-12:]} {random.random()} {secrets.token_hex()}\\n".encode())
        os._exit(0)
    os.wait()
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ).stdout
    columns = list(zip(*[line.split() for line in said.splitlines()], strict=True))
    assert [len(set(column)) for column in columns] == [4, 4, 4]

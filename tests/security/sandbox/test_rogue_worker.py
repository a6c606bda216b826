"""A worker that was taken over can end its own runs, and nothing else: it is found out, killed and replaced."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from broker.tools.codemode.sandbox.errors import SandboxUnavailable
from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.pool import Sandbox
from tests.integration.sandbox.kit import HERE, TENANTS, THERE, Kit, kit

ROGUE = str(Path(__file__).with_name("rogue.py"))
MISDEEDS = [
    "garbage", "oversized", "another run", "run zero", "unknown kind", "greeting again", "waits for nothing",
    "drop unasked", "lengths that lie", "result cut short", "not JSON", "deep JSON", "wrong shape", "wrong logs",
    "too many logs", "wrong error", "wrong count", "more calls than allowed", "result too long", "call without a name",
    "call with a strange name", "call twice", "call flood", "call too long", "call cut short", "silence", "end",
]  # fmt: skip


async def _replaced(box: Kit, pids: tuple[int, ...]) -> None:
    async with asyncio.timeout(10):
        while set(pids) & set(box.sandbox.stats().pids) or len(box.sandbox.stats().pids) < len(pids):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("misdeed", MISDEEDS)
async def test_it_is_killed_and_replaced(images: Images, misdeed: str) -> None:
    async def slow(_name: str, _argument: bytes) -> bytes:
        await asyncio.sleep(1000)
        return b"null"

    async with kit(images, workers=1, command=(sys.executable, "-I", ROGUE, misdeed)) as box:
        pids = box.sandbox.stats().pids
        outcome = await box.run("async () => 1", slow, cpu_seconds=0.1, wall_seconds=5.0)
        assert not outcome.ok
        assert outcome.error is not None
        assert (outcome.error["kind"], outcome.error["limit"]) == ("limit", "worker")
        await _replaced(box, pids)
        assert (await box.run("async () => 'honest'")).ok
        assert box.sandbox.stats().replaced == 1


async def test_a_second_result_kills_it_but_the_first_stands(images: Images) -> None:
    async with kit(images, workers=1, command=(sys.executable, "-I", ROGUE, "done twice")) as box:
        pids = box.sandbox.stats().pids
        assert (await box.run("async () => 1")).ok
        await _replaced(box, pids)


async def test_a_killed_worker_harms_only_its_own_runs(images: Images) -> None:
    async def slow(_name: str, _argument: bytes) -> bytes:
        await asyncio.sleep(0.5)
        return b'{"argument":1}'

    code = "async () => (await cloudflare.request({})).argument"
    async with kit(images, workers=2) as box:
        one = asyncio.create_task(box.run(code, slow, tenant=HERE))
        await asyncio.sleep(0.1)
        two = asyncio.create_task(box.run(code, slow, tenant=THERE))
        await asyncio.sleep(0.1)
        pids = box.sandbox.stats().pids
        os.kill(pids[0], signal.SIGKILL)
        first, second = await asyncio.gather(one, two)
        assert sorted([first.ok, second.ok]) == [False, True]
        lost = second if first.ok else first
        assert lost.error is not None
        assert lost.error["limit"] == "worker"
        assert lost.host_calls == 1
        await _replaced(box, pids[:1])
        assert await box.value("async () => 2") == 2


async def test_a_stopped_worker_is_noticed(images: Images) -> None:
    async with kit(images, workers=1) as box:
        (pid,) = box.sandbox.stats().pids
        os.kill(pid, signal.SIGSTOP)
        started = time.perf_counter()
        outcome = await box.run("async () => 1", cpu_seconds=0.2)
        assert outcome.error is not None
        assert outcome.error["limit"] == "worker"
        assert time.perf_counter() - started < 3
        await _replaced(box, (pid,))
        assert await box.value("async () => 2") == 2


async def test_workers_that_cannot_start_are_said_so(images: Images) -> None:
    with pytest.raises(SandboxUnavailable, match="did not start"):
        async with Sandbox(images, command=(sys.executable, "-c", "raise SystemExit(1)")):
            pass
    with pytest.raises(SandboxUnavailable, match="did not start"):
        async with Sandbox(images, command=("/nonexistent",)):
            pass


async def test_without_hardening_it_does_not_start(images: Images) -> None:
    greeting = """import struct, sys, time
told = b'{"done":["rlimits"]}'
sys.stdout.buffer.write(struct.pack('>IcI', len(told), b'H', 0) + told)
sys.stdout.flush()
time.sleep(9)"""
    command = (sys.executable, "-I", "-c", greeting)
    with pytest.raises(SandboxUnavailable, match="landlock"):
        async with Sandbox(images, command=command):
            pass
    async with Sandbox(images, command=command, require_hardening=False) as sandbox:
        assert sandbox.stats().hardening == ("rlimits",)


async def test_losing_workers_over_and_over_ends_in_refusals_not_in_waiting(images: Images, tmp_path: Path) -> None:
    marker = tmp_path / "started"
    once = f"""import pathlib, runpy, sys
marker = pathlib.Path({str(marker)!r})
sys.exit(1) if marker.exists() else marker.touch()
sys.argv = ['rogue', 'end']
runpy.run_path({ROGUE!r}, run_name='__main__')"""
    async with kit(images, workers=1, command=(sys.executable, "-c", once)) as box:
        assert (await box.run("async () => 1")).error is not None
        with pytest.raises(SandboxUnavailable):
            await box.run("async () => 1", tenant=TENANTS[3])

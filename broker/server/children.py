"""The worker processes: started, watched, started again, and stopped."""

import asyncio
import contextlib
import socket
import sys
import time
from pathlib import Path
from typing import Any

import structlog

from broker import metrics
from broker.server.errors import CannotStart
from broker.server.orders import Orders
from broker.server.privileges import Serving
from broker.settings import environment

_log = structlog.get_logger(__name__)

READY_SECONDS = 60.0
STOP_GRACE_SECONDS = 10.0
RESTARTS = 20
RESTART_WINDOW_SECONDS = 60.0


class Workers:
    """`count` workers on one listening socket.

    `spawn` starts the processes, which takes them a second of importing; `start` hands them their orders when there is
    a database to serve from. One that ends by itself is started again; more than 20 such ends within a minute are given
    up on, for then something is wrong that a restart does not mend.
    """

    def __init__(self, serving: Serving, *, count: int, listening: socket.socket) -> None:
        self._serving = serving
        self._count = count
        self._listening = listening
        self._orders: Orders | None = None
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = False
        self._ends: list[float] = []

    async def spawn(self) -> None:
        """Starts the processes; they wait for their orders."""
        for number in range(self._count):
            self._running[number] = await self._process()

    async def start(self, orders: Orders) -> None:
        """Gives all their orders and waits until each serves. Raises CannotStart."""
        self._orders = orders
        await asyncio.gather(*(_obey(process, orders) for process in self._running.values()))

    async def _process(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # never import from the folder that somebody happened to start in
            "-m",
            "broker.server.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=None,
            pass_fds=(self._listening.fileno(),),
            env=_environment(),
            **_as_user(self._serving),
        )

    async def _again(self, number: int, orders: Orders) -> None:
        process = self._running[number] = await self._process()
        await _obey(process, orders)

    async def keep(self) -> None:
        """Starts workers again that end by themselves. Returns only by raising CannotStart."""
        await asyncio.gather(*(self._keep(number) for number in range(self._count)))

    async def _keep(self, number: int) -> None:
        while True:
            process = self._running[number]
            code = await process.wait()
            if self._stopping:
                await asyncio.Event().wait()
            orders = self._orders
            assert orders is not None  # noqa: S101 - `keep` comes after `start`
            if orders.metrics_folder is not None:
                metrics.process_ended(Path(orders.metrics_folder), process.pid)
            now = time.monotonic()
            self._ends = [end for end in self._ends if end > now - RESTART_WINDOW_SECONDS] + [now]
            if len(self._ends) > RESTARTS:
                raise CannotStart("workers keep ending", "their log says why")
            _log.error("worker ended", worker=number, code=code)
            await asyncio.sleep(0.05 * len(self._ends))
            try:
                await self._again(number, orders)
            except CannotStart:
                _log.error("worker did not start again", worker=number)

    async def stop(self) -> None:
        """Lets all drain; kills what is still there after the drain and its grace."""
        self._stopping = True
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        drain = 0.0 if self._orders is None else self._orders.settings.limits.drain_seconds
        limit = drain + STOP_GRACE_SECONDS
        ends = [asyncio.ensure_future(p.wait()) for p in self._running.values()]
        if ends:
            await asyncio.wait(ends, timeout=limit)
        for process in self._running.values():
            if process.returncode is None:
                _log.error("worker killed", pid=process.pid)
                process.kill()
                await process.wait()


async def _obey(process: asyncio.subprocess.Process, orders: Orders) -> None:
    """Hands one process its orders and waits until it serves. Raises CannotStart, and ends it then."""
    assert process.stdin is not None  # noqa: S101 - it was asked for
    assert process.stdout is not None  # noqa: S101 - it was asked for
    try:
        process.stdin.write(orders.encode() + b"\n")
        await process.stdin.drain()
        async with asyncio.timeout(READY_SECONDS):
            line = await process.stdout.readline()
    except (TimeoutError, ConnectionError):
        line = b""
    if line != b"ready\n":
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise CannotStart("a worker did not start", "its log, above, says why")


def _as_user(serving: Serving) -> dict[str, Any]:
    if serving.account is None:
        return {}
    return {"user": serving.account.uid, "group": serving.account.gid, "extra_groups": [], "cwd": "/"}


def _environment() -> dict[str, str]:
    """A worker's environment: only what finding Python and the time zone takes."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: value for name, value in environment().items() if name in kept}

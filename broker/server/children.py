"""The worker processes: forked, watched, forked again, and stopped."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import structlog

from broker.server.errors import CannotStart
from broker.server.forking import Zygote, ZygoteGone
from broker.server.orders import Orders
from broker.server.privileges import Serving

_log = structlog.get_logger(__name__)

READY_SECONDS = 60.0
STOP_GRACE_SECONDS = 10.0
RESTARTS = 20
RESTART_WINDOW_SECONDS = 60.0


class Worker:
    """One worker process, and the channel to it: what it is told goes down it, `ready` comes up, its end is the end."""

    def __init__(self, zygote: Zygote, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._zygote = zygote
        self._reader = reader
        self._writer = writer
        self._ready = asyncio.Event()
        self._life = asyncio.ensure_future(self._live())

    @classmethod
    async def fork(cls, zygote: Zygote, listening: socket.socket) -> "Worker":
        """A new one. Raises ZygoteGone, CannotStart."""
        pid, channel = await zygote.fork(listening)
        return cls(zygote, pid, *await asyncio.open_connection(sock=channel))

    async def obey(self, orders: Orders) -> None:
        """Hands it its orders and waits until it serves. Raises CannotStart, and ends it then."""
        self._writer.write(orders.encode() + b"\n")
        ready = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait({ready, self._life}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            self.signal(signal.SIGKILL)
            await self.ended()
            raise CannotStart("a worker did not start", "its log, above, says why")

    async def ended(self) -> int:
        """Waits for its end; how it ended, as `subprocess` counts it."""
        return await asyncio.shield(self._life)

    def signal(self, number: signal.Signals) -> None:
        """Signals it. Until it is reaped its id is its own; nothing afterwards."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def _live(self) -> int:
        with contextlib.suppress(OSError):  # killed with orders unread
            if await self._reader.readline() == b"ready\n":
                self._ready.set()
            while await self._reader.read(1024):
                pass
        self._writer.close()
        try:
            self.returncode = await self._zygote.reap(self.pid)
        except ZygoteGone:
            self.returncode = -signal.SIGKILL
        return self.returncode


class Workers:
    """`count` workers on one listening socket.

    `spawn` asks for the processes, which the zygote forks once it has imported everything; `start` hands them their
    orders when there is a database to serve from. One that ends by itself is forked again; more than 20 such ends
    within a minute are given up on, for then something is wrong that a restart does not mend.
    """

    def __init__(self, serving: Serving, zygote: Zygote, *, count: int, listening: socket.socket) -> None:
        self._serving = serving
        self._zygote = zygote
        self._count = count
        self._listening = listening
        self._replacing = asyncio.Lock()
        self._orders: Orders | None = None
        self._coming: list[asyncio.Task[Worker]] = []
        self._running: dict[int, Worker] = {}
        self._stopping = False
        self._ends: list[float] = []

    def spawn(self) -> None:
        """Asks for the processes; they wait for their orders."""
        self._coming = [asyncio.create_task(self._fork(number)) for number in range(self._count)]

    async def start(self, orders: Orders) -> None:
        """Gives all their orders and waits until each serves. Raises CannotStart."""
        self._orders = orders
        await asyncio.gather(*[self._first(task, orders) for task in self._coming])

    @staticmethod
    async def _first(coming: "asyncio.Task[Worker]", orders: Orders) -> None:
        await (await coming).obey(orders)

    async def _fork(self, number: int) -> Worker:
        """The number-th worker, from a new zygote where the old one is gone. Raises CannotStart."""
        async with self._replacing:
            if self._zygote.gone and not self._stopping:
                _log.error("starting another zygote", was=self._zygote.pid)
                self._zygote = self._serving.zygote()
                await self._zygote.is_here()
        try:
            worker = await Worker.fork(self._zygote, self._listening)
        except ZygoteGone:
            raise CannotStart("the process that workers are forked from has ended", "its log says why") from None
        self._running[number] = worker
        return worker

    async def keep(self) -> None:
        """Starts workers again that end by themselves. Returns only by raising CannotStart."""
        await asyncio.gather(*(self._keep(number) for number in range(self._count)))

    async def _keep(self, number: int) -> None:
        while True:
            worker = self._running[number]
            code = await worker.ended()
            if self._stopping:
                await asyncio.Event().wait()
            orders = self._orders
            assert orders is not None  # noqa: S101 - `keep` comes after `start`
            if orders.metrics_folder is not None:
                from broker import metrics  # heavy, and a start does without

                metrics.process_ended(Path(orders.metrics_folder), worker.pid)
            now = time.monotonic()
            self._ends = [end for end in self._ends if end > now - RESTART_WINDOW_SECONDS] + [now]
            if len(self._ends) > RESTARTS:
                raise CannotStart("workers keep ending", "their log says why")
            _log.error("worker ended", worker=number, code=code)
            await asyncio.sleep(0.05 * len(self._ends))
            try:
                await (await self._fork(number)).obey(orders)
            except CannotStart:
                _log.error("worker did not start again", worker=number)

    async def stop(self) -> None:
        """Lets all drain; kills what is still there after the drain and its grace. Nothing the second time."""
        self._stopping = True
        for task in self._coming:
            task.cancel()
        running = list(self._running.values())
        for worker in running:
            worker.signal(signal.SIGTERM)
        drain = 0.0 if self._orders is None else self._orders.settings.limits.drain_seconds
        ends = [asyncio.ensure_future(worker.ended()) for worker in running]
        if ends:
            await asyncio.wait(ends, timeout=drain + STOP_GRACE_SECONDS)
        for worker in running:
            if worker.returncode is None:
                _log.error("worker killed", pid=worker.pid)
                worker.signal(signal.SIGKILL)
                await worker.ended()
        self._zygote.close()

"""A worker: serves the application on the socket it is given. Forked from the zygote (broker/server/zygote.py).

What it needs comes as one JSON object down its channel to the parent, which then stays open: its end means that the
parent is gone, and the worker ends too, at once, for its database goes down with the parent. `ready` up the channel
says that it serves. SIGTERM drains: no new connections, running calls are finished or, after the bound, cancelled and
settled.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
import uvloop

from broker import logs
from broker.app import create_app
from broker.assembly import assemble
from broker.server.orders import Orders
from broker.server.protocol import BoundedProtocol
from vault.harden import harden_process

ORPHANED: Final = 70
"""The exit code of a worker whose parent is gone."""


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it serves and when it begins to drain (what never ends must be told to).

    It also leaves its signal handlers in place. uvicorn would give the signal that it ended for to the handlers before
    it, and the default one kills: nothing after the drain would be done, such as writing the last refusals down.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


async def serve(orders: Orders, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serves until told to stop."""
    async with assemble(orders) as services:
        app = create_app(services, orders.port)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            loop="none",
            http=BoundedProtocol,
            ws="none",
            proxy_headers=orders.settings.trusted_proxy,
            forwarded_allow_ips="*" if orders.settings.trusted_proxy else None,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(orders.settings.limits.drain_seconds),
            limit_concurrency=2000,
            backlog=1024,
        )
        # What lives as long as the process is not looked through again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        await _Server(config, on_ready, services.watching.close).serve(sockets=[listening])


async def _end_with_parent(reader: asyncio.StreamReader) -> None:
    """Ends this process when the channel does, however it does: the parent was killed."""
    with contextlib.suppress(OSError):  # reset, where the parent had not read all that we said
        while await reader.read(1024):
            pass
    os._exit(ORPHANED)


async def _run(orders: Orders, channel: socket.socket, listening: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)
    watch = asyncio.ensure_future(_end_with_parent(reader))
    try:
        await serve(orders, listening, lambda: writer.write(b"ready\n"))
    finally:
        watch.cancel()


def main(channel: socket.socket, listening: socket.socket) -> int:
    """The worker's whole life; its exit code."""
    harden_process()
    with channel.makefile("rb") as told:
        line = told.readline()
    if not line.endswith(b"\n"):
        return ORPHANED
    orders = Orders.decode(line)
    logs.configure(json=orders.settings.json_logs, node=orders.settings.node)
    channel.setblocking(False)  # noqa: FBT003 - its only parameter
    uvloop.run(_run(orders, channel, listening))
    return 0

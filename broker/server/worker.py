"""A worker: serves the application on the socket it inherits. Started as `python -m broker.server.worker`.

What it needs comes as one JSON object on its standard input, which then stays open: its end means that the parent is
gone, and the worker ends too, at once, for its database goes down with the parent. `ready` on its standard output says
that it serves. SIGTERM drains: no new connections, running calls are finished or, after the bound, cancelled and
settled.
"""

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Callable

import structlog
import uvicorn
import uvloop

from broker import logs
from broker.app import create_app
from broker.assembly import assemble
from broker.server.orders import Orders
from broker.server.protocol import BoundedProtocol
from vault.harden import harden_process

_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn's server, which tells the parent when it serves and leaves signals to us.

    `on_stop` is called before it drains: what never ends by itself must be told to.
    """

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write("ready\n")
        sys.stdout.flush()


async def serve(orders: Orders) -> None:
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
        listening = socket.socket(fileno=orders.socket_fd)
        await _Server(config, services.watching.close).serve(sockets=[listening])


async def _end_with_parent() -> None:
    """Ends this process when standard input closes: the parent was killed."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    os._exit(70)


async def _run(orders: Orders) -> None:
    watch = asyncio.ensure_future(_end_with_parent())
    try:
        await serve(orders)
    finally:
        watch.cancel()


def main() -> None:
    """The worker's entry."""
    harden_process()
    orders = Orders.decode(sys.stdin.buffer.readline())
    logs.configure(json=orders.settings.json_logs, node=orders.settings.node)
    uvloop.run(_run(orders))


if __name__ == "__main__":
    main()

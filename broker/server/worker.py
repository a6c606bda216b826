"""A worker: serves the application on the socket it inherits. Started as `python -m broker.server.worker`.

What it needs comes as one JSON object on its standard input, which then stays open: its end means that the parent is
gone, and the worker ends too, at once, for its database goes down with the parent. `ready` on its standard output says
that it serves. SIGTERM drains: no new connections, running calls are finished or, after the bound, cancelled and
settled.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import structlog
import uvicorn
import uvloop

from broker import logs
from broker.app import create_app
from broker.assembly import assemble
from broker.db.server_checks import ExternalDatabase
from broker.server.protocol import BoundedProtocol
from broker.settings import Limits, Settings
from vault.harden import harden_process

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Orders:
    """What the parent hands a worker. Everything secret is in `database` and `root_key`."""

    settings: Settings
    database: ExternalDatabase
    root_key: str = field(repr=False)
    socket_fd: int
    port: int
    metrics_folder: str | None
    base_url: str

    def encode(self) -> bytes:
        """One line of JSON."""
        s = self.settings
        return orjson.dumps(
            {
                "settings": {
                    "data_dir": str(s.data_dir),
                    "host": s.host,
                    "port": s.port,
                    "public_url": s.public_url,
                    "trusted_proxy": s.trusted_proxy,
                    "allow_upstream": [list(pair) for pair in sorted(s.allow_upstream)],
                    "workers": s.workers,
                    "node": s.node,
                    "json_logs": s.json_logs,
                },
                "limits": {name: getattr(s.limits, name) for name in s.limits.__slots__},
                "database": {**asdict(self.database), "root_certificates": _text(self.database.root_certificates)},
                "root_key": self.root_key,
                "socket_fd": self.socket_fd,
                "port": self.port,
                "metrics_folder": self.metrics_folder,
                "base_url": self.base_url,
            }
        )

    @classmethod
    def decode(cls, line: bytes) -> "Orders":
        """The orders in one line of JSON."""
        given = orjson.loads(line)
        s = given["settings"]
        settings = Settings(
            data_dir=Path(s["data_dir"]),
            host=s["host"],
            port=s["port"],
            public_url=s["public_url"],
            trusted_proxy=s["trusted_proxy"],
            allow_upstream=frozenset((host, port) for host, port in s["allow_upstream"]),
            workers=s["workers"],
            node=s["node"],
            json_logs=s["json_logs"],
            limits=Limits(**given["limits"]),
        )
        return cls(
            settings=settings,
            database=_place(given["database"]),
            root_key=given["root_key"],
            socket_fd=given["socket_fd"],
            port=given["port"],
            metrics_folder=given["metrics_folder"],
            base_url=given["base_url"],
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _place(given: Mapping[str, Any]) -> ExternalDatabase:
    certificates = given["root_certificates"]
    return ExternalDatabase(**{**given, "root_certificates": None if certificates is None else Path(certificates)})


class _Server(uvicorn.Server):
    """uvicorn's server, which tells the parent when it serves and leaves signals to us."""

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
        listening = socket.socket(fileno=orders.socket_fd)
        await _Server(config).serve(sockets=[listening])


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

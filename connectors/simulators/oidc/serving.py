"""Serves the provider on loopback: from a thread of its own, or as a process of its own."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from connectors.simulators.oidc.app import create_app
from connectors.simulators.oidc.provider import Provider

HOST: Final = "127.0.0.1"
STARTS_SECONDS: Final = 30


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, saying when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serves = threading.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, and says so."""
        await super().startup(sockets)
        self.serves.set()


@contextmanager
def serving(provider: Provider) -> Iterator[Provider]:
    """Serves `provider` from a thread until the block ends; its issuer is the origin it has got."""
    sock = _listen(0)
    provider.issuer = _origin(sock)
    server = _Server(_config(provider))
    thread = threading.Thread(target=server.run, args=([sock],), name="oidc-simulator", daemon=True)
    thread.start()
    try:
        if not server.serves.wait(STARTS_SECONDS):
            raise RuntimeError("the OIDC simulator did not start")
        yield provider
    finally:
        server.should_exit = True
        thread.join(STARTS_SECONDS)
        sock.close()


def run(provider: Provider, port: int, ready: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM; `ready` is called with the issuer once the socket listens."""
    sock = _listen(port)
    provider.issuer = _origin(sock)
    ready(provider.issuer)
    uvicorn.Server(_config(provider)).run([sock])


def _config(provider: Provider) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(provider),
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )


def _listen(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    sock.listen(128)
    return sock


def _origin(sock: socket.socket) -> str:
    return f"http://{HOST}:{sock.getsockname()[1]}"

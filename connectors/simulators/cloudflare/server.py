"""Serves the simulator on loopback: inside the caller's event loop, or as a process of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn

from connectors.simulators.cloudflare.app import create_app
from connectors.simulators.cloudflare.demo import demo_state
from connectors.simulators.cloudflare.state import CloudflareState

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Running:
    """A simulator that answers. `url` is its origin; the API is below `base_url`."""

    url: str
    state: CloudflareState

    @property
    def base_url(self) -> str:
        """What to configure instead of https://api.cloudflare.com/client/v4."""
        return f"{self.url}/client/v4"

    @property
    def spec_url(self) -> str:
        """Where its OpenAPI document is."""
        return f"{self.url}/openapi.json"


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: whoever embeds it owns those."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals alone."""
        yield


def _config(state: CloudflareState) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(state),
        host=HOST,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        lifespan="off",
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )


def listen(port: int = 0) -> socket.socket:
    """A loopback socket, listening; port 0 picks a free one. Raises OSError where the port is taken."""
    # Named TCP and without Nagle: uvicorn writes head and body apart, which would cost 40 ms an answer.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    sock.listen(2048)
    sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
    return sock


@asynccontextmanager
async def serve(state: CloudflareState | None = None, port: int = 0) -> AsyncIterator[Running]:
    """Run the simulator in this event loop until the block ends; without a `state`, the demo's."""
    held = state or demo_state().state
    sock = listen(port)
    server = _Server(_config(held))
    task = asyncio.create_task(server.serve([sock]), name="cloudflare-simulator")
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.005)
        yield Running(f"http://{HOST}:{sock.getsockname()[1]}", held)
    finally:
        server.should_exit = True
        await task
        sock.close()


def run(state: CloudflareState, port: int, ready: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM; `ready` is called with the origin once the socket listens."""
    sock = listen(port)
    ready(f"http://{HOST}:{sock.getsockname()[1]}")
    uvicorn.Server(_config(state)).run([sock])

"""A lean upstream for measurements: `python -m bench.upstream`. Verifies any token and answers 1 kB to the rest.

It speaks enough of Cloudflare's API for a deposit (token verification, user, policies, accounts), in Cloudflare's
envelope and with its `Ratelimit` header, at some 20 µs a request. What it promises of behaviour is nothing; that is the
simulator's business (connectors/simulators/cloudflare).
"""

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import uvloop

from bench.processes import Process

SPEC = Path(__file__).resolve().parents[1] / "connectors/simulators/cloudflare/openapi.json"
ZONE = "0123456789abcdef0123456789abcdef"
ACCOUNT = "fedcba9876543210fedcba9876543210"
BASE = "/client/v4"


def _answer(result: Any, pad: int = 0) -> bytes:
    body = {"success": True, "errors": [], "messages": [], "result": result}
    if pad:
        body["messages"] = [{"code": 1, "message": "x" * max(0, pad - len(json.dumps(body)) - 30)}]
    content = json.dumps(body).encode()
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncf-ray: 8f00000000000000-LAB\r\n"
        f'ratelimit: "default";r=1199;t=300\r\ncontent-length: {len(content)}\r\n\r\n'
    )
    return head.encode() + content


RECORDS = _answer(
    [
        {"id": ZONE[::-1], "type": "A", "name": "example.com", "content": "203.0.113.1", "proxied": False, "ttl": 300},
    ],
    pad=1000,
)
_POLICY = {
    "id": ZONE,
    "effect": "allow",
    "permission_groups": [{"id": ZONE, "name": "Zone Read"}, {"id": ZONE, "name": "DNS Write"}],
    "resources": {"com.cloudflare.api.account.zone.*": "*"},
}


def _verification(path: str, who: str) -> bytes:
    if path == "/user":
        return _answer({"id": who, "email": f"{who}@lab.example"})
    if path == "/accounts":
        return _answer([{"id": ACCOUNT, "name": "lab"}])
    return _answer({"id": who, "status": "active", "policies": [_POLICY]})


class _Lab(asyncio.Protocol):
    """One connection. Requests without a body, pipelined or not."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            self._transport.write(self._reply(head))

    def _reply(self, head: bytes) -> bytes:
        target = head.split(b" ", 2)[1]
        if target.startswith(b"/client/v4/zones"):
            return RECORDS
        path = target.decode("latin-1").partition("?")[0].removeprefix(BASE)
        at = head.lower().find(b"\r\nauthorization:")
        who = hashlib.sha256(head[at + 16 :].split(b"\r\n", 1)[0].strip()).hexdigest()[:32]
        return _verification(path, who)


async def serve() -> None:
    """Serves on a free loopback port until it is ended; says where in one JSON line."""
    server = await asyncio.get_running_loop().create_server(_Lab, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"event": "ready", "url": f"http://127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


class Lab:
    """The lean upstream as a process."""

    def __init__(self, folder: Path) -> None:
        self.process = Process("upstream", [sys.executable, "-m", "bench.upstream"], folder)
        self.url: str = self.process.start()["url"]
        self.base_url = f"{self.url}{BASE}"
        self.address = self.url.removeprefix("http://")

    def description(self) -> bytes:
        """The simulator's OpenAPI document."""
        return SPEC.read_bytes()

    def stop(self) -> None:
        """Ends it."""
        self.process.stop()


if __name__ == "__main__":
    uvloop.run(serve())

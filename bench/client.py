"""What the Python client costs: `python -m bench.client`.

The overhead of `execute_tool` over httpx itself (a POST of the same body with the same key, its answer's JSON read),
blocking and with asyncio, in alternating batches of one run: first against a server that answers at once, so that
nothing hides the client's own time, then against a whole installation with the simulator. And the time to import the
package, beyond Python's own start.
"""

import argparse
import asyncio
import http.server
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from keyreeve import AsyncKeyreeve, Keyreeve

from bench.harness import Stand

TARGET_OVERHEAD = 0.15
TARGET_IMPORT = 0.150
INPUT = {"operation": "GET /zones", "query": {"name": "example.com"}}
ANSWER = {
    "execution_id": "01938a1e-7c1b-7e0a-9c55-3f0f5f0a9b11",
    "is_error": False,
    "data": {"success": True, "errors": [], "messages": [], "result": [{"id": "0" * 32, "name": "example.com"}] * 5},
    "truncated": False,
    "replayed": False,
    "calls": [
        {"n": 1, "method": "GET", "path": "/client/v4/zones", "status": 200, "effect": "read", "sent": True},
    ],
    "logs": [],
    "warnings": [],
    "budget": {
        "connection_name": "cloudflare",
        "meter": "rest",
        "limit": 1200,
        "remaining": 1199,
        "window_seconds": 300,
        "reset_seconds": 0,
    },
}


class _AtOnce(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    body = json.dumps(ANSWER).encode()
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: %d\r\n\r\n"
        % len(body)
    )

    def do_POST(self) -> None:
        """Reads the body and answers."""
        self.rfile.read(int(self.headers["content-length"]))
        self.wfile.write(self.head + self.body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _serve(port: int) -> None:
    http.server.ThreadingHTTPServer(("127.0.0.1", port), _AtOnce).serve_forever()


@contextmanager
def at_once() -> Iterator[str]:
    """The URL of a server that answers at once, in a process of its own: it must not share our interpreter's lock."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _AtOnce) as probe:
        port = probe.server_address[1]
    process = subprocess.Popen([sys.executable, "-m", "bench.client", "--serve", str(port)])
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                httpx.post(url, content=b"{}", trust_env=False)
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


def _body(identifier: str) -> dict[str, Any]:
    return {"tool_name": "cloudflare_call", "tool_input": INPUT, "identifier": identifier}


def _batches(ways: dict[str, Callable[[int], list[float]]], calls: int, batch: int) -> dict[str, float]:
    """Medians in seconds; the ways take turns, so that a machine's moods meet all alike."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(batch)
    for _ in range(max(1, calls // batch)):
        for name, way in ways.items():
            took[name] += way(batch)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def _timed(call: Callable[[], Any]) -> Callable[[int], list[float]]:
    def run(count: int) -> list[float]:
        took = []
        for _ in range(count):
            began = time.perf_counter()
            call()
            took.append(time.perf_counter() - began)
        return took

    return run


def compare(url: str, key: str, identifier: str, calls: int, batch: int) -> dict[str, float]:
    """Median seconds of a call: `httpx` and `client` blocking, `httpx async` and `client async`; with `keyed`, the
    client's call with an idempotency key."""
    headers = {"authorization": f"Bearer {key}", "accept": "application/json"}
    endpoint = f"{url}/v1/tools/execute"
    loop = asyncio.new_event_loop()

    def in_loop(call: Callable[[], Awaitable[Any]]) -> Callable[[int], list[float]]:
        async def many(count: int) -> list[float]:
            took = []
            for _ in range(count):
                began = time.perf_counter()
                await call()
                took.append(time.perf_counter() - began)
            return took

        return lambda count: loop.run_until_complete(many(count))

    raw = httpx.Client(headers=headers, trust_env=False)
    araw = httpx.AsyncClient(headers=headers, trust_env=False)
    kr, akr = Keyreeve(url, key), AsyncKeyreeve(url, key)
    number = iter(range(10**9))

    async def asked() -> Any:
        return (await araw.post(endpoint, json=_body(identifier))).json()

    ways = {
        "httpx": _timed(lambda: raw.post(endpoint, json=_body(identifier)).json()),
        "client": _timed(lambda: kr.execute_tool("cloudflare_call", INPUT, identifier=identifier)),
        "client keyed": _timed(
            lambda: kr.execute_tool(
                "cloudflare_call", INPUT, identifier=identifier, idempotency_key=f"bench-{next(number)}"
            )
        ),
        "httpx async": in_loop(asked),
        "client async": in_loop(lambda: akr.execute_tool("cloudflare_call", INPUT, identifier=identifier)),
    }
    try:
        return _batches(ways, calls, batch)
    finally:
        raw.close()
        kr.close()
        loop.run_until_complete(araw.aclose())
        loop.run_until_complete(akr.close())
        loop.close()


def imports(runs: int) -> dict[str, float]:
    """Median seconds to start Python and import: the bare start is taken off."""
    statements = {
        "nothing": "pass",
        "import httpx": "import httpx",
        "import keyreeve": "import keyreeve",
        "from keyreeve import Keyreeve, AsyncKeyreeve": "from keyreeve import Keyreeve, AsyncKeyreeve",
        "and Keyreeve(url, key)": "import keyreeve; keyreeve.Keyreeve('http://127.0.0.1:1', 'krv_ag_x')",
    }
    took: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(runs):
        for name, statement in statements.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True, cwd=Path(__file__).parent)
            took[name].append(time.perf_counter() - began)
    bare = statistics.median(took.pop("nothing"))
    return {name: statistics.median(seconds) - bare for name, seconds in took.items()}


def _report(title: str, found: dict[str, float]) -> dict[str, float]:
    print(f"\n{title}")
    for name, seconds in found.items():
        print(f"  {name:<14} {seconds * 1e6:8.0f} µs")
    over = {
        "blocking": found["client"] / found["httpx"] - 1,
        "async": found["client async"] / found["httpx async"] - 1,
    }
    print("  overhead       " + ", ".join(f"{name} {ratio:+.1%}" for name, ratio in over.items()))
    return over


def main() -> int:
    """Prints the figures; 1 where one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--imports", type=int, default=15)
    parser.add_argument("--no-stand", action="store_true", help="only against the server that answers at once")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        _serve(given.serve)
        return 0
    with at_once() as url:
        over = _report("against a server that answers at once", compare(url, "krv_ag_x", "a", given.calls, given.batch))
    missed = [f"overhead {name}: {ratio:.1%}" for name, ratio in over.items() if ratio > TARGET_OVERHEAD]
    if not given.no_stand:
        with Stand() as stand:
            # Five ways of 200 calls and as many to warm up stay below the budget of 1,200 in 300 s.
            _report("against `keyreeve up` and the simulator", compare(stand.url, *_engineer(stand), 200, 10))
    took = imports(given.imports)
    print("\nimport, beyond Python's own start")
    for name, seconds in took.items():
        print(f"  {name:<46} {seconds * 1e3:6.1f} ms")
    if took["import keyreeve"] > TARGET_IMPORT:
        missed.append(f"import: {took['import keyreeve'] * 1e3:.0f} ms")
    print("\nmissed: " + "; ".join(missed) if missed else "\nall within their targets")
    return 1 if missed else 0


def _engineer(stand: Stand) -> tuple[str, str]:
    kit = stand.tenant()
    kit.connection()
    engineer = kit.engineer()
    return kit.key("agent", identifiers=[engineer.identifier])["key"], engineer.identifier


if __name__ == "__main__":
    sys.exit(main())

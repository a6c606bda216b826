"""What an MCP server costs more through Keyreeve: `python -m bench.mcp_upstream [--calls 600]`.

One tool of a lean server (2026-07-28, JSON answers), called one at a time, in turns: directly, through `/mcp`, and
through REST. What is added is a bearer looked up, a decision, a durable intent, a credential opened, and a durable
outcome. Everything shares the cores of the machine.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn

from bench.harness import Installed, free_port
from bench.processes import Process

VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}
TOOL = {"name": "noop", "description": "Does nothing.", "inputSchema": {"type": "object"}}
RESULTS: dict[str, Any] = {
    "server/discover": {"supportedVersions": [VERSION], "capabilities": {"tools": {}}},
    "tools/list": {"tools": [TOOL]},
    "tools/call": {"content": [{"type": "text", "text": "ok"}], "isError": False},
}


async def server(scope: Any, receive: Any, send: Any) -> None:
    """The lean server."""
    if scope["type"] != "http":
        return
    message = orjson.loads((await receive())["body"])
    result = {"resultType": "complete", **RESULTS[message["method"]]}
    body = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]},
    )
    await send({"type": "http.response.body", "body": body})


class Lean:
    """It, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "bench.mcp_upstream", "--serve", str(free_port())]
        self.process = Process("mcp-server", command, folder)
        self.url: str = self.process.start()["url"]
        self.base_url = f"{self.url}/mcp"
        self.address = self.url.removeprefix("http://")

    def description(self) -> bytes:
        """It has none."""
        return b"{}"

    def stop(self) -> None:
        """Ends it."""
        self.process.stop()


def caller(url: str, headers: dict[str, str], body: dict[str, Any]) -> Callable[[], float]:
    """Makes one call; milliseconds until its answer."""
    client = httpx.Client(headers=headers, trust_env=False, timeout=30)
    raw = json.dumps(body).encode()

    def call() -> float:
        began = time.perf_counter()
        reply = client.post(url, content=raw)
        took = (time.perf_counter() - began) * 1000
        assert reply.status_code == 200, reply.text
        assert b'"ok"' in reply.content, reply.text
        return took

    return call


def tool_call(url: str, name: str, bearer: str) -> Callable[[], float]:
    """`tools/call` of one tool."""
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "mcp-method": "tools/call",
        "mcp-name": name,
        "authorization": f"Bearer {bearer}",
    }
    params = {"name": name, "arguments": {}, "_meta": META}
    return caller(url, headers, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def percentile(times: list[float], share: float) -> float:
    """Of sorted times."""
    return times[min(len(times) - 1, int(len(times) * share))]


def measure(calls: int) -> None:
    """Prints p50 and p90 of each way, and what is added."""
    with Installed(Lean, arguments=["--workers", "1"]) as stand:
        kit = stand.tenant()
        config = {"url": stand.upstream.base_url}
        kit.platform.ok("POST", "/v1/connections", {"name": "up", "connector": "mcp", "config": config})
        who = kit.identity()
        credential = {"kind": "bearer", "token": "bench-token"}
        body = {"connection_name": "up", "identifier": who, "credential": credential}
        kit.admin.ok("PUT", "/v1/connected_accounts", body)
        kit.grant({"identifier": who}, "write", "up")
        session = kit.session(who)["token"]
        rest = {"authorization": f"Bearer {session}", "content-type": "application/json"}
        ways = {
            "direct": tool_call(stand.upstream.base_url, "noop", "bench-token"),
            "through /mcp": tool_call(f"{stand.url}/t/{kit.name}/mcp", "up_noop", session),
            "through REST": caller(
                f"{stand.url}/v1/tools/execute", rest, {"tool_name": "up_noop", "tool_input": {}, "as": "content"}
            ),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for n in range(calls + 50):
            for way, call in ways.items():
                took = call()
                if n >= 50:
                    times[way].append(took)
        kit.close()
    direct = percentile(sorted(times["direct"]), 0.5)
    for way, taken in times.items():
        p50, p90 = (percentile(sorted(taken), share) for share in (0.5, 0.9))
        print(f"{way:14} p50 {p50:6.2f} ms   p90 {p90:6.2f} ms   adds {p50 - direct:5.2f} ms at p50")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--serve", type=int)
    given = parser.parse_args()
    if given.serve is None:
        measure(given.calls)
        return
    print(json.dumps({"event": "ready", "url": f"http://127.0.0.1:{given.serve}"}), flush=True)
    uvicorn.run(server, host="127.0.0.1", port=given.serve, log_level="warning", lifespan="off")


if __name__ == "__main__":
    main()

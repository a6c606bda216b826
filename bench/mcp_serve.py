"""What serving MCP costs: `python -m bench.mcp_serve [--seconds 8] [--workers 1] [--principals 64]`.

Against a lean upstream, over many upstream principals: one tool through the gate (durable intent and outcome), over
REST and over MCP in both eras; `tools/list` of 200 tools; and the smallest request, for what remains. Load generator,
upstream, server and PostgreSQL share the cores of the machine. CPU per request (of the server's processes, from /proc)
is the steady number on a busy one.
"""

import argparse
import json
import os
from typing import Any

import uvloop

from bench.harness import Installed
from bench.kit import TenantKit
from bench.load import PreparedRequest, Sample, prepare, run
from bench.processes import cpu_seconds, family
from bench.upstream import ZONE, Lab

TOOLS = 200
OPERATION = "GET /zones/{zone_id}/dns_records"
VERSION = "2026-07-28"


class WideLab(Lab):
    """The lean upstream, described as if it had many operations more."""

    def description(self) -> bytes:
        """Its OpenAPI document."""
        described: dict[str, Any] = json.loads(super().description())
        like = described["paths"]["/zones/{zone_id}"]["get"]
        for n in range(TOOLS):
            described["paths"][f"/zones/{{zone_id}}/bench_{n}"] = {
                "get": {**like, "operationId": f"bench-zone-details-{n}"}
            }
        return json.dumps(described).encode()


def modern(method: str, params: dict[str, Any], *, name: str | None = None) -> tuple[dict[str, Any], list[str]]:
    """A message of 2026-07-28 and its headers."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    }
    headers = [f"MCP-Protocol-Version: {VERSION}", f"Mcp-Method: {method}"]
    if name is not None:
        headers.append(f"Mcp-Name: {name}")
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}, headers


def legacy(method: str, params: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A message of 2025-11-25 and its headers."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, ["MCP-Protocol-Version: 2025-11-25"]


class Bench:
    """An installation with engineers on principals of their own, and one connection with 200 typed tools."""

    def __init__(self, stand: Installed[Any], principals: int) -> None:
        self.stand = stand
        self.kit: TenantKit = stand.tenant("bench")
        self.kit.connection()
        self.kit.connection("wide", tools=[f"bench-zone-details-{n}" for n in range(TOOLS - 1)])
        self.kit.grant({"everyone": True}, "read")
        self.kit.grant({"everyone": True}, "read", "wide")
        self.host = stand.url.removeprefix("http://")
        self.sessions = []
        for n in range(principals):
            identifier = self.kit.identity(f"engineer-{n:03}")
            for connection in ("cloudflare", "wide"):
                self.kit.account(identifier, f"cfut_{n:048d}", connection)
            self.sessions.append(self.kit.session(identifier)["token"])

    def requests(self, path: str, body: dict[str, Any], headers: list[str]) -> list[PreparedRequest]:
        """The same request of every engineer."""
        accept = ["Accept: application/json, text/event-stream", *headers]
        return [
            prepare("POST", path, host=self.host, bearer=session, body=body, headers=accept)
            for session in self.sessions
        ]

    def kinds(self) -> dict[str, list[PreparedRequest]]:
        """What is measured."""
        given = {"operation": OPERATION, "path_params": {"zone_id": ZONE}}
        params = {"name": "cloudflare_call", "arguments": given}
        every, wide = f"/t/{self.kit.name}/mcp", f"/t/{self.kit.name}/mcp/wide"
        rest = {"tool_name": "cloudflare_call", "tool_input": given, "as": "content"}
        return {
            "execute, REST": self.requests("/v1/tools/execute", rest, []),
            "tools/call, 2026-07-28": self.requests(every, *modern("tools/call", params, name="cloudflare_call")),
            "tools/call, 2025-11-25": self.requests(every, *legacy("tools/call", params)),
            f"tools/list of {TOOLS}": self.requests(wide, *modern("tools/list", {})),
            "prompts/list (empty)": self.requests(every, *modern("prompts/list", {})),
        }

    def cpu(self) -> tuple[float, float]:
        """CPU seconds of the server's processes and of PostgreSQL's so far."""
        database = family(self.stand.server.postgres_pid())
        server = [pid for pid in family(self.stand.server.process.pid) if pid not in database]
        return cpu_seconds(server), cpu_seconds(database)

    async def measure(self, requests: list[PreparedRequest], concurrency: int, seconds: float) -> Sample:
        """One run."""

        def numbered(n: int) -> PreparedRequest:
            return requests[n % len(requests)]

        host, port = self.host.split(":")
        return await run(numbered, host=host, port=int(port), concurrency=concurrency, seconds=seconds)


async def main() -> None:
    """Reads the arguments and measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.mcp_serve", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement")
    parser.add_argument("--workers", type=int, default=1, help="serving processes")
    parser.add_argument("--principals", type=int, default=64, help="upstream principals")
    chosen = parser.parse_args()
    with Installed(WideLab, arguments=["--workers", str(chosen.workers)]) as stand:
        bench = Bench(stand, chosen.principals)
        print(f"{os.cpu_count()} cores, {chosen.workers} serving process(es), {chosen.principals} principals")
        print(f"{'':<30}{'rate':>10}{'p50 ms':>9}{'p99 ms':>9}{'bytes':>9}   CPU µs: server, database")
        for name, requests in bench.kinds().items():
            await bench.measure(requests, 8, 1)
            for concurrency in (1, 16):
                sizes: list[int] = []
                before = bench.cpu()
                sample = await bench.measure(requests, concurrency, chosen.seconds)
                after = bench.cpu()
                each = 1e6 / max(1, len(sample.latencies))
                sizes.append(await size_of(bench, requests[0]))
                print(
                    f"{name + f' c={concurrency}':<30}{sample.rate:>8,.0f}/s{sample.quantile(0.5):>9.2f}"
                    f"{sample.quantile(0.99):>9.2f}{sizes[0]:>9,}   {(after[0] - before[0]) * each:,.0f}, "
                    f"{(after[1] - before[1]) * each:,.0f}"
                )
                for body in sample.odd[:1]:
                    print("   ", body[:300].decode(errors="replace"))


async def size_of(bench: Bench, request: PreparedRequest) -> int:
    """Bytes of the answer's body; a run of one request."""
    seen: list[int] = []
    host, port = bench.host.split(":")
    await run(
        lambda _: request,
        host=host,
        port=int(port),
        concurrency=1,
        seconds=0.001,
        seen=lambda _, __, body: seen.append(len(body)),
    )
    return seen[0] if seen else 0


if __name__ == "__main__":
    uvloop.run(main())

"""What brokering costs: `python -m bench.call [--seconds 8] [--sustain 60] [--workers 1] [--principals 96]`.

One machine, one run: the same request straight to a lean upstream and as `execute_tool` through Keyreeve, at
concurrency 1, 16 and 64, over at least 64 upstream principals. Load generator, upstream, server and PostgreSQL share
the cores of the machine; every call has its durable intent and outcome (counted in the database at the end).

Prints latencies, calls a second, CPU per call by process, the database round trips' time per call, and the ratios.
`--upstream simulator` measures against the simulator instead, which itself costs several hundred µs a request.
`--wrk` also lets wrk, where it is installed, drive the sustained run.
"""

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import uvloop

from bench.harness import Installed, Simulator
from bench.kit import TenantKit
from bench.load import PreparedRequest, Sample, prepare, run
from bench.processes import cpu_seconds, family
from bench.upstream import ZONE, Lab

CONCURRENCY = (1, 16, 64)
OPERATION = "GET /zones/{zone_id}/dns_records"
_METRIC = re.compile(r"^keyreeve_(admit|settle|upstream|call)_seconds_(sum|count) (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Cost:
    """CPU seconds of each part of the machine, and the server's own timings, at one moment."""

    server: float
    database: float
    upstream: float
    load: float
    timings: dict[str, float]


class Bench:
    """An installation with so many upstream principals, each with an identity and a session of its own."""

    def __init__(self, stand: Installed[Any], principals: int) -> None:
        self.stand = stand
        kit = stand.tenant("bench")
        self.kit: TenantKit = kit
        connection = kit.connection()
        assert connection["spec"] is not None
        kit.grant({"everyone": True}, "read")
        host = stand.url.removeprefix("http://")
        self.host, port = host.split(":")
        self.port = int(port)
        upstream = stand.upstream.address
        self.upstream_host, self.upstream_port = upstream.split(":")[0], int(upstream.split(":")[1])
        simulated = isinstance(stand.upstream, Simulator)
        self.zone = stand.upstream.zones["example.com"] if simulated else ZONE
        self._through: list[PreparedRequest] = []
        self._direct: list[PreparedRequest] = []
        for n in range(principals):
            identifier = kit.identity(f"engineer-{n:03}")
            value = stand.upstream.token()["value"] if simulated else f"cfut_{n:048d}"
            kit.account(identifier, value)
            session = kit.session(identifier)["token"]
            body = {
                "tool_name": "cloudflare_call",
                "tool_input": {"operation": OPERATION, "path_params": {"zone_id": self.zone}},
            }
            self._through.append(prepare("POST", "/v1/tools/execute", host=host, bearer=session, body=body))
            path = f"/client/v4/zones/{self.zone}/dns_records"
            self._direct.append(prepare("GET", path, host=upstream, bearer=value))

    def through(self, number: int) -> PreparedRequest:
        """The number-th call, through Keyreeve."""
        return self._through[number % len(self._through)]

    def direct(self, number: int) -> PreparedRequest:
        """The number-th call, straight to the upstream."""
        return self._direct[number % len(self._direct)]

    def cost(self) -> Cost:
        """What everything has used so far."""
        postmaster = self.stand.server.postgres_pid()
        database = family(postmaster)
        server = [pid for pid in family(self.stand.server.process.pid) if pid not in database]
        text = httpx.get(f"{self.stand.url}/metrics", trust_env=False).text
        timings = {f"{name}_{what}": float(value) for name, what, value in _METRIC.findall(text)}
        return Cost(
            server=cpu_seconds(server),
            database=cpu_seconds(database),
            upstream=cpu_seconds([self.stand.upstream.process.pid]),
            load=time.process_time(),
            timings=timings,
        )

    async def measure(self, what: str, concurrency: int, seconds: float) -> Sample:
        """One run of `direct` or `through`."""
        requests: Callable[[int], PreparedRequest] = self.direct if what == "direct" else self.through
        host, port = (self.upstream_host, self.upstream_port) if what == "direct" else (self.host, self.port)
        return await run(requests, host=host, port=port, concurrency=concurrency, seconds=seconds)

    async def stored(self) -> tuple[int, int]:
        """How many intents and outcomes of calls (deposits' own included) are in the database."""
        conn = await asyncpg.connect(**self.stand.server.database())
        try:
            row = await conn.fetchrow(
                "select count(*) filter (where kind = 'intent') i, count(*) filter (where kind = 'outcome') o "
                "from audit.events"
            )
            return int(row["i"]), int(row["o"])
        finally:
            await conn.close()


def line(name: str, sample: Sample) -> str:
    """One row of the table."""
    return (
        f"{name:<22}{sample.rate:>10,.0f}/s{sample.quantile(0.5):>10.2f}{sample.quantile(0.99):>10.2f}"
        f"{len(sample.latencies):>10,}{sum(n for s, n in sample.statuses.items() if s != 200):>8}"
    )


def told(before: Cost, after: Cost, calls: int) -> str:
    """Where the time of a call went."""
    each = 1e6 / max(1, calls)
    spent = ", ".join(
        f"{name} {(getattr(after, name) - getattr(before, name)) * each:,.0f}"
        for name in ("server", "database", "upstream", "load")
    )
    timed = []
    for name in ("admit", "settle", "upstream", "call"):
        count = after.timings.get(f"{name}_count", 0) - before.timings.get(f"{name}_count", 0)
        total = after.timings.get(f"{name}_sum", 0) - before.timings.get(f"{name}_sum", 0)
        if count:
            timed.append(f"{name} {total / count * 1e6:,.0f}")
    return f"    CPU µs per call: {spent}\n    mean µs as the server saw it: {', '.join(timed) or 'no metrics'}"


async def compare(bench: Bench, seconds: float) -> None:
    """The table of both ways at each concurrency, and their ratios."""
    print(f"{'':<22}{'rate':>12}{'p50 ms':>10}{'p99 ms':>10}{'calls':>10}{'not 200':>8}")
    for concurrency in CONCURRENCY:
        direct = await bench.measure("direct", concurrency, min(seconds, 4))
        before = bench.cost()
        through = await bench.measure("through", concurrency, seconds)
        after = bench.cost()
        print(line(f"direct   c={concurrency}", direct))
        print(line(f"keyreeve c={concurrency}", through))
        print(told(before, after, len(through.latencies)))
        added = through.quantile(0.5) - direct.quantile(0.5)
        print(f"    adds p50 {added:.2f} ms; {direct.rate / max(through.rate, 1e-9):.1f} times fewer calls a second")
        for body in through.odd[:1]:
            print("   ", body[:300].decode(errors="replace"))


async def sustain(bench: Bench, seconds: float, concurrency: int) -> None:
    """One long run, and whether every call of it left an intent and an outcome."""
    intents, outcomes = await bench.stored()
    before = bench.cost()
    sample = await bench.measure("through", concurrency, seconds)
    after = bench.cost()
    print(line(f"sustained {seconds:g} s c={concurrency}", sample))
    print(told(before, after, len(sample.latencies)))
    wrote_intents, wrote_outcomes = await bench.stored()
    ok = sample.statuses[200]
    print(f"    answered {ok:,}; intents {wrote_intents - intents:,}, outcomes {wrote_outcomes - outcomes:,}")
    if wrote_intents - intents < ok or wrote_outcomes - outcomes < ok:
        raise SystemExit("a call is missing from the audit")
    for body in sample.odd[:2]:
        print("   ", body[:300].decode(errors="replace"))


def with_wrk(bench: Bench, seconds: float, concurrency: int) -> None:
    """The same through wrk, with one principal's request (wrk has one script; enough for a cross-check)."""
    wrk = shutil.which("wrk")
    if wrk is None:
        print("wrk is not installed; left out")
        return
    raw = bench.through(0)
    head, _, body = raw.partition(b"\r\n\r\n")
    bearer = next(line for line in head.split(b"\r\n") if line.startswith(b"Authorization"))
    script = bench.stand.folder / "wrk.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = [==[{body.decode()}]==]\n"
        f"wrk.headers['Content-Type'] = 'application/json'\nwrk.headers['Authorization'] = '{bearer.decode()[15:]}'\n"
    )
    command = [wrk, "-t1", f"-c{concurrency}", f"-d{int(seconds)}s", "--latency", "-s", str(script)]
    subprocess.run([*command, f"{bench.stand.url}/v1/tools/execute"], check=False)


async def main() -> None:
    """Reads the arguments and measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.call", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement")
    parser.add_argument("--sustain", type=float, default=0, help="seconds of one long run at the end; 0 for none")
    parser.add_argument("--sustain-concurrency", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1, help="serving processes")
    parser.add_argument("--principals", type=int, default=96, help="upstream principals, at least 64")
    parser.add_argument("--upstream", choices=("lean", "simulator"), default="lean")
    parser.add_argument("--wrk", action="store_true")
    chosen = parser.parse_args()
    upstream: Any = Lab if chosen.upstream == "lean" else Simulator
    with Installed(upstream, arguments=["--workers", str(chosen.workers)]) as stand:
        bench = Bench(stand, max(64, chosen.principals))
        print(f"{os.cpu_count()} cores, {chosen.workers} serving process(es), {max(64, chosen.principals)} principals")
        await bench.measure("through", 8, 2)
        await compare(bench, chosen.seconds)
        if chosen.sustain:
            await sustain(bench, chosen.sustain, chosen.sustain_concurrency)
        if chosen.wrk:
            await asyncio.to_thread(with_wrk, bench, chosen.sustain or chosen.seconds, chosen.sustain_concurrency)


if __name__ == "__main__":
    uvloop.run(main())

"""What Code Mode costs, end to end: `python -m bench.codemode [--description FILE] [--soak 10000] [--hostile 6]
[--only] [--workers 1]`.

A whole installation, programs over REST with a session, against the simulator: searches over the published description,
programs that make requests beside the same request through `NAME_call`, runs a second, memory of the sandbox's
workers, and what the server's answers feel of an image being built. Latencies are medians, taken in turn in one run.
"""

import argparse
import asyncio
import gzip
import json
import os
import secrets
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import uvloop

from bench.codemode_neighbours import beside_hostile, hostile_codes, told
from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from bench.load import PreparedRequest, connect, prepare, run
from bench.processes import family
from bench.sandbox import DESCRIPTION, SEARCHES, memory

ROW = "{:<52}{}"
TARGETS = {
    "typical": "≤ 20 ms",
    "find": "≤ 20 ms",
    "all text, by $text": "≤ 300 ms",
    "all text, by stringify": "≤ 1,300 ms",
}
TINY = "async () => 1 + 1"
ONE = "async () => (await cloudflare.request({ path: '/zones' })).result.length"
TWENTY = """async () => (await Promise.all(Array.from({ length: 20 }, () =>
  cloudflare.request({ path: '/zones' })))).length"""
PATH = "/v1/tools/execute"


def say(what: str, told: object) -> None:
    """A line of the report."""
    print(ROW.format(what, told), flush=True)


def spread(seconds: list[float]) -> str:
    """Median and 95th percentile in milliseconds."""
    ordered = sorted(seconds)
    return f"p50 {statistics.median(ordered) * 1000:.1f} ms, p95 {ordered[int(len(ordered) * 0.95)] * 1000:.1f} ms"


class Bench:
    """An installation with engineers, each on a principal of its own."""

    def __init__(self, stand: Stand, description: bytes | None, engineers: int) -> None:
        self.stand = stand
        self.kit: TenantKit = stand.tenant("bench")
        self.kit.connection()
        self.described = "cloudflare" if description is None else "described"
        if description is not None:
            self.place("published.json", description)
            self.kit.connection(self.described, spec={"source": "published.json"}, permission_check="advise")
        self.engineers: list[Engineer] = [self.kit.engineer() for _ in range(engineers)]
        if description is not None:
            for one in self.engineers:
                self.kit.account(one.identifier, one.token, self.described)
                self.kit.grant({"identifier": one.identifier}, "destructive", self.described)
        host = stand.url.removeprefix("http://")
        self.host = host
        self.address = host.split(":")[0], int(host.split(":")[1])

    def place(self, name: str, description: bytes) -> None:
        """Puts a description into the installation's folder of them."""
        file = self.stand.data_dir / "specs" / name
        file.write_bytes(description)
        file.chmod(0o644)

    def program(self, code: str, *, search: bool = False, engineer: int = 0) -> PreparedRequest:
        """One program's request."""
        name = f"{self.described}_search" if search else "cloudflare_execute"
        return self.request({"tool_name": name, "tool_input": {"code": code}}, engineer)

    def call(self, engineer: int = 0) -> PreparedRequest:
        """The same request as `ONE`'s, through the call tool."""
        given = {"operation": "GET /zones"}
        return self.request({"tool_name": "cloudflare_call", "tool_input": given}, engineer)

    def request(self, body: dict[str, Any], engineer: int) -> PreparedRequest:
        """A request to the tool call, ready to be written."""
        bearer = self.engineers[engineer % len(self.engineers)].session
        return prepare("POST", PATH, host=self.host, bearer=bearer, body=body)

    async def times(self, *kinds: Callable[[int], PreparedRequest], count: int) -> list[list[float]]:
        """How long each kind takes, asked in turn `count` times over one connection."""
        wire = await connect(*self.address)
        taken: list[list[float]] = [[] for _ in kinds]
        for number in range(count):
            for kind, list_ in zip(kinds, taken, strict=True):
                started = time.perf_counter()
                status, body = await wire.ask(kind(number))
                list_.append(time.perf_counter() - started)
                told = orjson.loads(body)
                assert (status, told["is_error"]) == (200, False), body[:500]
        wire.close()
        return taken

    def sandboxes(self) -> list[int]:
        """The process ids of the sandbox's workers."""
        database = set(family(self.stand.server.postgres_pid()))
        found = []
        for pid in family(self.stand.server.process.pid):
            line = Path(f"/proc/{pid}/cmdline")
            if pid not in database and line.exists() and b"codemode.sandbox.worker" in line.read_bytes():
                found.append(pid)
        return found


def _always(request: PreparedRequest) -> Callable[[int], PreparedRequest]:
    return lambda _: request


async def searches(bench: Bench, runs: int) -> None:
    """Searches over the published description."""
    for name, code in SEARCHES.items():
        request = bench.program(code, search=True)
        count = runs if "all text" not in name else max(5, runs // 5)
        same = _always(request)
        await bench.times(same, count=2)
        (taken,) = await bench.times(same, count=count)
        say(f"search, {name} ({TARGETS[name]})", spread(taken))


async def executes(bench: Bench, runs: int) -> None:
    """Programs with requests, beside the plain call."""

    def running(code: str) -> Callable[[int], PreparedRequest]:
        return lambda n: bench.program(code, engineer=n)

    kinds = (bench.call, *(running(code) for code in (TINY, ONE, TWENTY)))
    await bench.times(*kinds, count=5)
    called, tiny, one, twenty = await bench.times(*kinds, count=runs)
    say("NAME_call, one request", spread(called))
    say("NAME_execute, none", spread(tiny))
    say("NAME_execute, one request", spread(one))
    more = (statistics.median(one) - statistics.median(called)) * 1000
    say("one request over NAME_call (≤ 6 ms more)", f"{more:.1f} ms more")
    say("NAME_execute, 20 in Promise.all (≤ 60 ms)", spread(twenty))


async def rate(bench: Bench, seconds: float) -> float:
    """Tiny runs a second, from eight connections of as many engineers."""
    requests = [bench.program(TINY, engineer=n) for n in range(len(bench.engineers))]
    sample = await run(
        lambda n: requests[n % len(requests)],
        host=bench.address[0],
        port=bench.address[1],
        concurrency=8,
        seconds=seconds,
    )
    assert set(sample.statuses) == {200}, (sample.statuses, sample.odd[:1])
    return sample.rate


async def soak(bench: Bench, runs: int) -> None:
    """Many runs, and what memory, open files and tables do: none may go on growing."""
    pids = bench.sandboxes()
    seen = [await _sizes(bench)]
    done = 0
    for _ in range(4):
        upto = done + runs // 4
        while done < upto:
            done += await _ran(bench, min(500, upto - done))
        seen.append(await _sizes(bench))
    for name in seen[0]:
        say(f"{name} over {done:,} runs", " -> ".join(str(one[name]) for one in seen))
    say("the same workers at the end", pids == bench.sandboxes())


async def _ran(bench: Bench, count: int) -> int:
    """So many runs, from eight connections: tiny ones, and every tenth with a request and a kept result."""
    requests = [bench.program(TINY if n % 10 else ONE, engineer=n) for n in range(10 * len(bench.engineers))]
    numbers = iter(range(count))

    async def some() -> None:
        wire = await connect(*bench.address)
        for number in numbers:
            status, body = await wire.ask(requests[number % len(requests)])
            assert status == 200, body[:500]
        wire.close()

    await asyncio.gather(*(some() for _ in range(8)))
    return count


async def _sizes(bench: Bench) -> dict[str, Any]:
    """What could grow, now. Kept results are bounded for each engineer; the audit and the programs grow by design."""
    serving = bench.stand.server.workers()
    connection = await asyncpg.connect(**bench.stand.server.database())
    tables = ("open_calls", "open_executions", "code_results", "idempotency", "nodes")
    counts = {name: await connection.fetchval(f"select count(*) from broker.{name}") for name in tables}
    await connection.close()
    return {
        "RSS of the sandbox's workers, MB": [memory(pid)["rss"] for pid in bench.sandboxes()],
        "RSS of the serving processes, MB": [memory(pid)["rss"] for pid in serving],
        "open files of the serving processes": [len(os.listdir(f"/proc/{pid}/fd")) for pid in serving],
        "rows": counts,
    }


async def hostile(bench: Bench, rounds: int) -> None:
    """What another tenant's engineers feel of hostile programs, and the event loop."""
    victim = bench.stand.tenant("victim")
    victim.connection()
    one = victim.engineer()
    find = "async () => find('create dns record', { limit: 10 })"

    def work(name: str, given: dict[str, Any]) -> Callable[[], PreparedRequest]:
        ready = prepare(
            "POST", PATH, host=bench.host, bearer=one.session, body={"tool_name": name, "tool_input": given}
        )
        return lambda: ready

    works = [
        ("a plain call", work("cloudflare_call", {"operation": "GET /zones"})),
        ("a program with one request", work("cloudflare_execute", {"code": ONE})),
        ("a search", work("cloudflare_search", {"code": find})),
    ]
    attacks = [bench.program(code) for code in hostile_codes()]
    found = await beside_hostile(bench.address, attacks, works, rounds=rounds, url=bench.stand.url)
    for name, _ in works:
        say(f"{name}, quiet -> beside hostile", told(*found[name]))
    quiet, beside = ([round(lag * 1000, 1) for lag in lags] for lags in found["lag"])
    say("event-loop lag p95 (≤ 5 ms), quiet; beside hostile", f"at most {quiet}; {beside} ms")
    victim.close()


async def building(bench: Bench, description: bytes) -> None:
    """A new description is connected: how long until it can be searched, and how late the server answers meanwhile."""
    named = json.loads(description)
    named["info"]["title"] = secrets.token_hex(8)
    named["paths"].popitem()
    bench.place("again.json", orjson.dumps(named))
    ping = prepare("GET", "/healthz", host=bench.host)
    wire = await connect(*bench.address)
    quiet = await _pings(wire, ping, until=asyncio.get_running_loop().create_future(), most=200)
    started = time.perf_counter()
    made = asyncio.ensure_future(asyncio.to_thread(_connect_and_search, bench))
    during = await _pings(wire, ping, until=made)
    took = time.perf_counter() - started
    say("connecting a description and its first search", f"{took:.1f} s, of which connecting {made.result():.1f} s")
    say("/healthz meanwhile (quiet)", f"{spread(during)} ({spread(quiet)})")
    wire.close()


def _connect_and_search(bench: Bench) -> float:
    started = time.perf_counter()
    bench.kit.connection("again", spec={"source": "again.json"}, permission_check="advise")
    connected = time.perf_counter() - started
    one = bench.engineers[0]
    bench.kit.account(one.identifier, one.token, "again")
    bench.kit.grant({"identifier": one.identifier}, "read", "again")
    body = {"tool_name": "again_search", "tool_input": {"query": "list zones"}}
    assert not one.api.ok("POST", PATH, body)["is_error"]
    return connected


async def _pings(wire: Any, ping: PreparedRequest, *, until: asyncio.Future[Any], most: int = 1_000_000) -> list[float]:
    taken: list[float] = []
    while not until.done() and len(taken) < most:
        started = time.perf_counter()
        await wire.ask(ping)
        taken.append(time.perf_counter() - started)
        await asyncio.sleep(0.005)
    return taken


async def main() -> None:
    """Reads the arguments and measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.codemode", description=__doc__)
    parser.add_argument("--description", type=Path, default=DESCRIPTION, help="an OpenAPI document, gzipped or not")
    parser.add_argument("--runs", type=int, default=60, help="of each program")
    parser.add_argument("--soak", type=int, default=0, help="so many tiny runs, and what memory does")
    parser.add_argument("--hostile", type=int, default=0, help="so many quiet and hostile stretches of 3 s, in turn")
    parser.add_argument("--only", action="store_true", help="nothing but --soak and --hostile")
    parser.add_argument("--workers", type=int, default=1, help="serving processes")
    chosen = parser.parse_args()
    description = None
    if chosen.description.exists():
        raw = chosen.description.read_bytes()
        description = gzip.decompress(raw) if chosen.description.suffix == ".gz" else raw
    else:
        print(f"no published description: {chosen.description} is not there; the simulator's is searched")
    with Stand(arguments=["--workers", str(chosen.workers)]) as stand:
        bench = Bench(stand, description, 24)
        say("processors, serving processes", f"{os.cpu_count()}, {chosen.workers}")
        await rate(bench, 1.0)
        if not chosen.only:
            await usual(bench, chosen.runs)
        if chosen.soak:
            await soak(bench, chosen.soak)
        if chosen.hostile:
            await hostile(bench, chosen.hostile)
        say("memory per sandbox worker, MB (≤ 60)", [memory(pid) for pid in bench.sandboxes()])
        if description is not None and not chosen.only:
            await building(bench, description)


async def usual(bench: Bench, runs: int) -> None:
    """Latencies, and runs a second."""
    await searches(bench, runs)
    await executes(bench, runs)
    await rate(bench, 1.0)
    say(
        "tiny runs a second over REST (≥ 300)",
        f"{statistics.median([await rate(bench, 3.0) for _ in range(3)]):.0f}",
    )


if __name__ == "__main__":
    uvloop.run(main())

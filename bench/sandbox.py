"""What the sandbox costs: `python -m bench.sandbox [--description FILE] [--runs N]`.

Prints runs a second, latencies, memory per worker, the time an image takes to build and what the event loop feels of
it, growth over many runs, and what a neighbour and the loop feel of programs that spin. With the product's own prelude.
"""

import argparse
import asyncio
import gzip
import os
import resource
import statistics
import tempfile
import time
import zlib
from collections.abc import Awaitable, Sequence
from pathlib import Path
from uuid import UUID

from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.limits import SEARCH, RunLimits
from broker.tools.codemode.sandbox.pool import Sandbox
from broker.tools.codemode.sandbox.program import ImageRef, Program
from broker.tools.codemode.spec.prepare import PREPARE, order
from connectors.openapi.compile import compile_spec
from connectors.openapi.index import SpecIndex

TENANTS = [UUID(int=number) for number in range(1, 9)]
EXECUTING = b'{"kind":"execute"}'
LOOKING = b'{"kind":"search","visible":null,"hidden":{"not_permitted":0,"not_granted":0},"whoami":{}}'
DESCRIPTION = Path(__file__).parents[2] / "shared" / "data" / "cloudflare-openapi-2026-07.json.gz"
SEARCHES = {
    "typical": """async () => {
  const found = [];
  for (const [path, methods] of Object.entries(spec.paths))
    if (path.includes('/zones/') && (path.includes('firewall') || path.includes('rulesets') || path.includes('dns')))
      for (const [method, op] of Object.entries(methods)) found.push({ method, path, summary: op.summary });
  return found.slice(0, 20);
}""",
    "find": "async () => find('create dns record', { limit: 10 })",
    "all text, by $text": """async () => {
  const found = [];
  for (const [path, methods] of Object.entries(spec.paths))
    for (const [method, op] of Object.entries(methods)) if (op.$text.includes('hostname')) found.push(method + path);
  return found.length;
}""",
    "all text, by stringify": """async () => {
  const found = [];
  for (const [path, methods] of Object.entries(spec.paths))
    for (const [method, op] of Object.entries(methods))
      if (JSON.stringify(op).includes('hostname')) found.push(method + path);
  return found.length;
}""",
}
SPIN = "async () => { for (;;); }"
TINY = "async () => 1 + 1"
ONE = "async () => (await cloudflare.request({ method: 'GET', path: '/zones' })).status"
TWENTY = """async () => (await Promise.all(Array.from({ length: 20 }, (_, i) =>
  cloudflare.request({ method: 'GET', path: '/zones/' + i })))).length"""
ROW = "{:<58}{}"


async def host(_name: str, _argument: bytes) -> bytes:
    """An upstream that answers at once."""
    return b'{"status":200,"body":{"success":true,"errors":[],"messages":[],"result":[]}}'


def say(what: str, told: object) -> None:
    """A line of the report."""
    print(ROW.format(what, told), flush=True)


def spread(seconds: Sequence[float]) -> str:
    """Median and 95th percentile in milliseconds."""
    ordered = sorted(seconds)
    worst = ordered[int(len(ordered) * 0.95)]
    return f"p50 {statistics.median(ordered) * 1000:.2f} ms, p95 {worst * 1000:.2f} ms ({len(ordered)})"


def memory(pid: int) -> dict[str, float]:
    """Resident memory of a process in MB, and how much of it is shared with nobody (proc_pid_smaps(5))."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, size, *_ = line.split()
        found[name[:-1]] = int(size) / 1024
    return {"rss": round(found["Rss"], 1), "private": round(found["Private_Dirty"] + found["Private_Clean"], 1)}


def built() -> tuple[float, int]:
    """CPU seconds of all builders so far, and the most memory that one of them had, in MB (getrusage(2))."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, used.ru_maxrss // 1024


async def building(what: str, work: Awaitable[object]) -> None:
    """Reports what making an image takes. Before any worker has ended, children are builders."""
    started, (before, _) = time.perf_counter(), built()
    late = await lag_during(work)
    after, most = built()
    told = f"{time.perf_counter() - started:.2f} s, {after - before:.2f} s of CPU, {most} MB"
    say(what, f"{told}; event-loop lag {spread(late)}")


async def lag_during(work: Awaitable[object]) -> list[float]:
    """How late the event loop was, sampled each 2 ms, until `work` was done."""
    loop, late = asyncio.get_running_loop(), []
    task = asyncio.ensure_future(work)
    while not task.done():
        due = loop.time() + 0.002
        await asyncio.sleep(0.002)
        late.append(loop.time() - due)
    await task
    return late


class Bench:
    """A sandbox under measurement."""

    def __init__(self, sandbox: Sandbox, image: ImageRef, context: bytes = EXECUTING) -> None:
        self.sandbox = sandbox
        self.image = image
        self.context = context

    async def run(self, code: str, tenant: UUID = TENANTS[0], limits: RunLimits | None = None) -> None:
        """One run that must succeed."""
        outcome = await self.sandbox.run(Program(self.image, code, self.context), host, tenant=tenant, limits=limits)
        assert outcome.ok, outcome.error

    async def times(self, code: str, count: int, tenant: UUID = TENANTS[0], pause: float = 0.0) -> list[float]:
        """How long each of `count` runs took, one after another."""
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            await self.run(code, tenant, SEARCH)
            taken.append(time.perf_counter() - started)
            if pause:
                await asyncio.sleep(pause)
        return taken

    async def rate(self, count: int, tenants: int) -> float:
        """Tiny runs a second, with four of each tenant under way."""

        async def some(tenant: UUID) -> None:
            for _ in range(count // tenants // 4):
                await self.run(TINY, tenant)

        started = time.perf_counter()
        await asyncio.gather(*(some(tenant) for tenant in TENANTS[:tenants] for _ in range(4)))
        return count / (time.perf_counter() - started)


async def spinning(bench: Bench) -> None:
    """What others feel while two tenants only spin."""

    async def spin(tenant: UUID, times: int) -> None:
        for _ in range(times):
            await bench.sandbox.run(Program(bench.image, SPIN, EXECUTING), host, tenant=tenant)

    await asyncio.gather(*(spin(tenant, 1) for tenant in TENANTS[:2]))  # from here on they are known to compute much
    spinners = [asyncio.create_task(spin(tenant, 2)) for tenant in TENANTS[:2] for _ in range(2)]
    await asyncio.sleep(0.05)
    taken: list[float] = []

    async def neighbour() -> None:
        taken.extend(await bench.times(ONE, 80, TENANTS[5], pause=0.01))

    late = await lag_during(neighbour())
    say("one-request program beside spinners", spread(taken))
    say("event-loop lag beside spinners", spread(late))
    await asyncio.gather(*spinners)


async def soak(bench: Bench, runs: int) -> None:
    """Many runs, and what the workers' memory does."""
    before = [memory(pid)["rss"] for pid in bench.sandbox.stats().pids]
    await bench.rate(runs, 4)
    after = [memory(pid)["rss"] for pid in bench.sandbox.stats().pids]
    say(f"RSS over {runs} runs, MB", f"{before} -> {after}")


async def execute(folder: Path, runs: int) -> None:
    """Programs that make requests."""
    images = Images(folder)
    image = await images.execute_image()
    for workers in (1, 2):
        started = time.perf_counter()
        async with Sandbox(images, workers=workers, runs_per_tenant=8) as sandbox:
            up = time.perf_counter() - started
            bench = Bench(sandbox, image)
            await bench.times(TINY, 50)
            say(f"{workers} worker(s): up in", f"{up * 1000:.0f} ms")
            say(f"{workers} worker(s): tiny runs a second", f"{await bench.rate(2000, 4):.0f}")
            if workers == 2:
                for name, code in (("no request", TINY), ("one request", ONE), ("20 requests at once", TWENTY)):
                    say(f"execute, {name}", spread(await bench.times(code, 200)))
                say("memory per worker, MB", [memory(pid) for pid in sandbox.stats().pids])
                await soak(bench, runs)
                await spinning(bench)


async def first(folder: Path) -> None:
    """What a server makes at its first start: the machine code, and the image that needs no description."""
    await building("first start: machine code and the execute image", Images(folder).execute_image())


async def search(folder: Path, raw: bytes) -> None:
    """Programs that look through a description."""
    index = SpecIndex.load(compile_spec(raw))
    asked = order(zlib.compress(raw), index.rows, lambda _row: {"permissions": [], "effect": "read"})

    async def load() -> Sequence[bytes]:
        return asked.parts

    images = Images(folder)
    await building("build of the search image", images.search_image(asked.digest, load, prepare=PREPARE))
    image = await images.search_image(asked.digest, load, prepare=PREPARE)
    size = image.path.stat().st_size
    say("search image", f"{image.memory_bytes / 1e6:.1f} MB of memory, {size / 1e6:.1f} MB on disk")
    async with Sandbox(images, workers=2) as sandbox:
        bench = Bench(sandbox, image, LOOKING)
        for name, code in SEARCHES.items():
            await bench.run(code, limits=SEARCH)
            say(f"search, {name}", spread(await bench.times(code, 30)))
        say("memory per worker with both images, MB", [memory(pid) for pid in sandbox.stats().pids])


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="runs of the soak")
    parser.add_argument("--description", type=Path, default=DESCRIPTION, help="an OpenAPI document, gzipped or not")
    options = parser.parse_args()
    say("processors", os.cpu_count())
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(first(Path(folder) / "images"))
        if options.description.exists():
            data = options.description.read_bytes()
            raw = gzip.decompress(data) if options.description.suffix == ".gz" else data
            asyncio.run(search(Path(folder) / "images", raw))
        else:
            print(f"no search: {options.description} is not there")
        asyncio.run(execute(Path(folder) / "images", options.runs))


if __name__ == "__main__":
    main()

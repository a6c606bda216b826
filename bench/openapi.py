"""What a real description costs: `python -m bench.openapi [FILE.json[.gz]]`.

Prints the compile time in the child process, load time, memory growth of the server's process (steady, after every
operation's details were touched), the cost of judging and building one call over all operations, and of nearest names.
"""

import asyncio
import gc
import gzip
import os
import statistics
import sys
import time
from pathlib import Path

from connectors.openapi.examples import example_input
from connectors.openapi.index import SpecIndex
from connectors.openapi.load import compile_in_subprocess
from connectors.openapi.request import build
from connectors.openapi.schema import input_schema

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data" / "cloudflare-openapi-2026-07.json.gz"


def resident_mb() -> float:
    """The process's resident memory in MB, from /proc."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def quantiles(times: list[float], scale: float) -> str:
    """Median, p99 and worst of times in seconds, scaled."""
    ordered = sorted(times)
    points = (statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1])
    return " / ".join(f"{point * scale:.1f}" for point in points)


def main(file: Path) -> None:
    """Runs every measurement on one description."""
    data = file.read_bytes()
    raw = gzip.decompress(data) if file.suffix == ".gz" else data
    times = []
    for _ in range(3):
        started = time.perf_counter()
        artifact = asyncio.run(compile_in_subprocess(raw))
        times.append(time.perf_counter() - started)
    size = len(raw)
    del raw, data
    print(f"compile in the child     {min(times):.2f} s of {size / 1e6:.1f} MB, artifact {len(artifact) / 1e6:.2f} MB")

    before = resident_mb()
    started = time.perf_counter()
    opened = SpecIndex.load(artifact)
    print(f"load                     {(time.perf_counter() - started) * 1e3:.0f} ms, {len(opened.rows)} operations")
    print(f"memory after load        +{resident_mb() - before:.1f} MB")

    cold, warm, tools, near = [], [], [], []
    for row in opened.rows:
        started = time.perf_counter()
        details = opened.details(row)
        cold.append(time.perf_counter() - started)
        made = example_input(details)
        for keep in (False, True):
            started = time.perf_counter()
            build(details, path_params=made.path_params, query=made.query, body=made.body)
            if keep:
                warm.append(time.perf_counter() - started)
        started = time.perf_counter()
        input_schema(details)
        tools.append(time.perf_counter() - started)
    for row in opened.rows[:: max(1, len(opened.rows) // 200)]:
        started = time.perf_counter()
        opened.nearest(row.ref[:-3], lambda _: True)
        near.append(time.perf_counter() - started)
    print(f"memory after everything  +{resident_mb() - before:.1f} MB (every operation's details and body touched)")
    print(f"details, cold            {quantiles(cold, 1e6)} µs (median / p99 / worst)")
    print(f"judge and build a call   {quantiles(warm, 1e6)} µs")
    print(f"typed tool's schema      {quantiles(tools, 1e6)} µs")
    print(f"nearest names            {quantiles(near, 1e3)} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT)

"""What others feel of hostile programs, end to end: part of `python -m bench.codemode --hostile ROUNDS`.

One tenant sends hostile programs from several connections, another one works: a plain call, a program with one request,
a small search, in turn. Quiet and hostile stretches alternate in one run, so that both meet the same machine.
"""

import asyncio
import re
import statistics
import time
from collections.abc import Callable, Sequence

import httpx

from bench.load import PreparedRequest, connect
from tests.security.sandbox.programs import PROGRAMS

ATTACKERS = 6
STRETCH_SECONDS = 3.0
PAUSE_SECONDS = 0.01
_LAG = "keyreeve_event_loop_lag_seconds_bucket"

Requests = Sequence[tuple[str, Callable[[], PreparedRequest]]]


def hostile_codes() -> list[str]:
    """Every hostile program of the security battery."""
    return [one.code.encode("utf-8", "replace").decode() for one in PROGRAMS]


async def beside_hostile(
    address: tuple[str, int], attacks: Sequence[PreparedRequest], works: Requests, *, rounds: int, url: str
) -> dict[str, tuple[list[float], list[float]]]:
    """The neighbour's latencies in seconds by kind of work: (quiet, beside hostile programs). Also the event loop's lag
    as (quiet, hostile) 95th percentiles, under the name `lag`."""
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name, _ in works}
    lag: tuple[list[float], list[float]] = ([], [])
    attacked = asyncio.Event()
    attackers = [asyncio.create_task(_attack(address, attacks, n, attacked)) for n in range(ATTACKERS)]
    wire = await connect(*address)
    try:
        for turn in range(2 * rounds):
            hostile = turn % 2
            if hostile:
                attacked.set()
            await asyncio.sleep(0.3)
            before = lag_buckets(url)
            until = time.perf_counter() + STRETCH_SECONDS
            while time.perf_counter() < until:
                for name, make in works:
                    started = time.perf_counter()
                    status, body = await wire.ask(make())
                    taken[name][hostile].append(time.perf_counter() - started)
                    assert status == 200, body[:500]
                    await asyncio.sleep(PAUSE_SECONDS)
            lag[hostile].append(lag_quantile(before, lag_buckets(url)))
            attacked.clear()
            await asyncio.sleep(1.5 if hostile else 0.0)  # the last of them ends
    finally:
        for task in attackers:
            task.cancel()
        done = await asyncio.gather(*attackers, return_exceptions=True)
        wire.close()
    for one in done:
        if isinstance(one, Exception) and not isinstance(one, asyncio.CancelledError):
            raise one
    return {**taken, "lag": lag}


async def _attack(
    address: tuple[str, int], attacks: Sequence[PreparedRequest], first: int, attacked: asyncio.Event
) -> None:
    wire = await connect(*address)
    number = first * 11
    while True:
        await attacked.wait()
        await wire.ask(attacks[number % len(attacks)])
        number += 1


def lag_buckets(url: str) -> dict[float, float]:
    """The cumulative counts of the server's lag histogram, by upper bound in seconds; empty where it has none."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    found = re.findall(rf'^{_LAG}{{le="([^"]+)"}} ([0-9.e+]+)$', text, re.MULTILINE)
    return {float(bound): float(count) for bound, count in found}


def lag_quantile(before: dict[float, float], after: dict[float, float], share: float = 0.95) -> float:
    """The quantile of what came between two readings, in seconds: the upper bound of its bucket."""
    counts = {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}
    whole = max(counts.values(), default=0.0)
    return next((bound for bound, count in counts.items() if whole and count >= whole * share), float("nan"))


def told(quiet: Sequence[float], hostile: Sequence[float]) -> str:
    """Both medians and 95th percentiles in milliseconds, and how many times worse."""

    def at(seconds: Sequence[float], share: float) -> float:
        ordered = sorted(seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    q50, h50 = statistics.median(quiet) * 1000, statistics.median(hostile) * 1000
    q95, h95 = at(quiet, 0.95), at(hostile, 0.95)
    counted = f"{len(quiet)} and {len(hostile)}"
    return f"p50 {q50:.1f} -> {h50:.1f} ms, p95 {q95:.1f} -> {h95:.1f} ms ({h95 / q95:.2f} times; {counted})"

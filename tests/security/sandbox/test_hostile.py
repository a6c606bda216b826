"""Every hostile program ends, and clearly; the workers live; neighbours and the event loop do not notice."""

import asyncio
import json
import time
from dataclasses import dataclass

import pytest
import pytest_asyncio

from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.program import Outcome
from tests.integration.sandbox.kit import HERE, TENANTS, THERE, Kit, kit
from tests.security.sandbox.programs import PROGRAMS, SLOW, Hostile

CPU_SECONDS = 0.15
SLOW_CPU_SECONDS = 3.0


@dataclass
class Battery:
    outcomes: dict[str, tuple[Outcome, float]]
    neighbour: list[float]
    lag: list[float]
    before: tuple[int, ...]
    after: tuple[int, ...]


def _cpu_seconds(hostile: Hostile) -> float:
    return SLOW_CPU_SECONDS if hostile.name in SLOW else CPU_SECONDS


def _worst(times: list[float], share: float = 0.95) -> float:
    return sorted(times)[int(len(times) * share)]


async def _neighbour(box: Kit, times: list[float]) -> None:
    for number in range(1_000_000):
        started = time.perf_counter()
        code = f"async () => {{ const a = await cloudflare.request({{ n: {number} }}); return a.argument.n + 1; }}"
        assert await box.value(code, tenant=THERE) == number + 1
        times.append(time.perf_counter() - started)
        await asyncio.sleep(0.02)


async def _lag(times: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.01
        await asyncio.sleep(0.01)
        times.append(loop.time() - due)


@pytest_asyncio.fixture(scope="module")
async def battery(images: Images) -> Battery:
    """All of them, one after another, by one tenant, while another one works."""
    outcomes: dict[str, tuple[Outcome, float]] = {}
    neighbour: list[float] = []
    lag: list[float] = []
    async with kit(images, workers=2) as box:
        before = box.sandbox.stats().pids
        others = [asyncio.create_task(_neighbour(box, neighbour)), asyncio.create_task(_lag(lag))]
        for hostile in PROGRAMS:
            started = time.perf_counter()
            outcome = await box.run(hostile.code, tenant=HERE, wall_seconds=20.0, cpu_seconds=_cpu_seconds(hostile))
            outcomes[hostile.name] = outcome, time.perf_counter() - started
        for task in others:
            assert not task.done(), task.exception()
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await box.quiet()
        after = box.sandbox.stats().pids
    return Battery(outcomes, neighbour, lag, before, after)


def test_there_are_enough_of_them() -> None:
    assert len(PROGRAMS) >= 60
    assert len({hostile.name for hostile in PROGRAMS}) == len(PROGRAMS)


@pytest.mark.parametrize("hostile", PROGRAMS, ids=lambda hostile: hostile.name)
def test_it_ends_as_it_should(battery: Battery, hostile: Hostile) -> None:
    outcome, seconds = battery.outcomes[hostile.name]
    error = outcome.error or {}
    ended = "ok" if outcome.ok else str(error.get("limit") or error["kind"])
    assert ended in hostile.ends, outcome
    assert outcome.cpu_ms <= _cpu_seconds(hostile) * 1000 + 60
    assert seconds < 10
    assert outcome.host_calls <= 200
    assert sum(len(line.text) for line in outcome.logs) <= 64 * 1024
    if outcome.ok:
        assert outcome.value is not None
        assert hostile.value is None or json.loads(outcome.value) == hostile.value
    else:
        assert outcome.value is None
        assert 0 < len(error["message"]) <= 8000
        assert error["name"]


def test_the_workers_outlived_them(battery: Battery) -> None:
    assert battery.after == battery.before


def test_the_neighbour_was_served(battery: Battery) -> None:
    assert len(battery.neighbour) > 50
    assert _worst(battery.neighbour) < 0.5, sorted(battery.neighbour)[-10:]


def test_the_event_loop_did_not_stall(battery: Battery) -> None:
    assert _worst(battery.lag) < 0.05, sorted(battery.lag)[-10:]


async def test_all_at_once(images: Images) -> None:
    """Many tenants, all hostile, at the same time: all end, and then the sandbox is as good as before."""
    async with kit(images, workers=2, runs_per_tenant=4) as box:
        chosen = PROGRAMS[::3]
        outcomes = await asyncio.gather(
            *(
                box.run(hostile.code, tenant=TENANTS[number % 12], cpu_seconds=0.1, wall_seconds=40.0)
                for number, hostile in enumerate(chosen)
            )
        )
        for hostile, outcome in zip(chosen, outcomes, strict=True):
            error = outcome.error or {}
            assert ("ok" if outcome.ok else error.get("limit") or error["kind"]) in (*hostile.ends, "cpu_seconds")
        await box.quiet()
        assert box.sandbox.stats().replaced == 0
        assert await box.value("async () => 1 + 1") == 2

"""Requests that are taken back: here, elsewhere, twice, and far too often. PostgreSQL is a list here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from broker.metrics import Metrics
from broker.tools import underway
from broker.tools.underway import PER_BEARER, PER_NOTICE, PER_TENANT, Underway

TENANT, OTHER = UUID(int=1), UUID(int=2)


class Channel:
    """Stands for `Notices`: what one process tells, all hear."""

    def __init__(self) -> None:
        self.hearers: list[Callable[[str], None]] = []
        self.told: list[str] = []
        self.arrived = asyncio.Event()
        self.away = False

    def hear(self, channel: str, heard: Callable[[str], None]) -> None:
        assert channel == underway.CHANNEL
        self.hearers.append(heard)

    async def tell(self, channel: str, payload: str) -> None:
        self.arrived.set()
        if self.away:
            raise ConnectionResetError
        self.told.append(payload)
        for heard in self.hearers:
            heard(payload)


def process(channel: Channel, metrics: Metrics | None = None) -> Underway:
    anything: Any = channel
    return Underway(anything, metrics or Metrics())


@asynccontextmanager
async def running(*processes: Underway) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one.run()) for one in processes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(underway, "PERIOD", 0)


async def test_what_runs_here_ends_at_once_and_nobody_else_is_told() -> None:
    channel = Channel()
    here = process(channel)
    with here.request("a") as mine, here.request("b") as other:
        here.take_back("a", TENANT, b"x")
        assert mine.done()
        assert not other.done()
        here.take_back("a", TENANT, b"x")
    async with running(here):
        await asyncio.sleep(0)
    assert channel.told == []


async def test_what_runs_elsewhere_is_told_there(no_pause: None) -> None:
    channel = Channel()
    here, there = process(channel), process(channel)
    async with running(here, there):
        with there.request("a") as wanted, there.request("b") as other:
            here.take_back("a", TENANT, b"x")
            await asyncio.wait_for(wanted, 30)
            assert not other.done()
    assert channel.told == ["a"]


async def test_of_two_with_one_key_none_is_taken_back(no_pause: None) -> None:
    channel = Channel()
    here, there = process(channel), process(channel)
    async with running(here):
        with there.request("a") as one, there.request("a") as two, there.request("b") as three:
            there.take_back("a", TENANT, b"x")
            here.take_back("a", TENANT, b"x")
            here.take_back("b", TENANT, b"x")
            await asyncio.wait_for(three, 30)
            assert not one.done()
            assert not two.done()


async def test_a_flood_is_one_short_notice_and_a_count() -> None:
    channel, metrics = Channel(), Metrics()
    here = process(channel, metrics)
    for n in range(1000):
        here.take_back(f"{n:064x}", TENANT, b"flood")
        here.take_back(f"{n % 3:064x}", TENANT, b"flood")
    for bearer in range(100):
        here.take_back(f"{2000 + bearer:064x}", TENANT, b"%d" % bearer)
    for n in range(1000):
        here.take_back(f"{5000 + n:064x}", UUID(int=100 + n), b"%d" % n)
    async with running(here):
        await asyncio.wait_for(channel.arrived.wait(), 30)
    keys = [int(key, 16) for key in channel.told[0].split(",")]
    assert len(channel.told) == 1
    assert len(channel.told[0]) < 8000
    assert sum(key < 2000 for key in keys) == PER_BEARER
    assert sum(2000 <= key < 5000 for key in keys) == PER_TENANT - PER_BEARER
    assert len(keys) == PER_NOTICE
    dropped = (1000 - PER_BEARER) + (100 - PER_TENANT + PER_BEARER) + (1000 - PER_NOTICE + PER_TENANT)
    assert f"keyreeve_cancellations_dropped_total {float(dropped)}".encode() in metrics.render()


async def test_a_database_that_is_away_loses_hints_and_no_more(no_pause: None) -> None:
    channel = Channel()
    here, there = process(channel), process(channel)
    channel.away = True
    async with running(here):
        with there.request("a") as wanted:
            here.take_back("a", TENANT, b"x")
            await asyncio.wait_for(channel.arrived.wait(), 30)
            assert not wanted.done()
            channel.away = False
            await asyncio.sleep(0)
            here.take_back("a", TENANT, b"x")
            await asyncio.wait_for(wanted, 30)


def test_what_is_heard_is_not_believed() -> None:
    heard = Channel()
    process(heard)
    for payload in ("", ",", "x" * 7999, ",".join("a" for _ in range(4000))):
        heard.hearers[0](payload)

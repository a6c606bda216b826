"""What admissions tell the database, and how many of them may wait in it at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from broker.gate.claims import Claim
from broker.gate.dbclock import DatabaseClock
from broker.gate.round_trips import PATIENT, Admission, AdmitStatement, SettleStatement
from broker.ids import new_id
from connectors.base import Meter

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ROW = {"reason": "tenant_inactive", "principal": None, "meter": None, "retry_ms": 0, "db_now": NOW}


class Pool:
    """A connection that comes `late` seconds after it was asked for, and a statement that ends when it is `let`."""

    def __init__(self, late: float = 0.0) -> None:
        self.late = late
        self.at = 0.0
        self.let = asyncio.Event()
        self.let.set()
        self.told: list[tuple[Any, ...]] = []
        self.open = 0

    @asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator["Pool"]:
        assert timeout
        self.at += self.late
        self.open += 1
        yield self
        self.open -= 1

    async def fetchrow(self, _: str, *arguments: Any) -> Any:
        self.told.append(arguments)
        await self.let.wait()
        return ROW

    async def fetchmany(self, _: str, arguments: Sequence[tuple[Any, ...]], **__: Any) -> Any:
        self.told.extend(arguments)
        return [ROW] * len(arguments)


def _statement(pool: Pool) -> AdmitStatement:
    db: Any = SimpleNamespace(pool=pool)
    return AdmitStatement(db, DatabaseClock(NOW, elapsed=lambda: pool.at))


def _asked(principal: bytes = b"p", likely: bytes = b"", *meters: str) -> Admission:
    ids: dict[str, Any] = {name: new_id() for name in Claim.__dataclass_fields__ if name.endswith("_id")}
    rest: dict[str, Any] = {name: 1 for name in Claim.__dataclass_fields__ if name not in ids}
    rest |= {"maintenance": False, "principal": None, "meters": tuple(Meter(m, 10, 10) for m in meters)}
    intent: Any = SimpleNamespace(as_record=tuple)
    return Admission(Claim(**ids, **rest), principal or None, intent, likely)


def _expected(told: tuple[Any, ...]) -> Any:
    return told[18]


@pytest.mark.parametrize("patient", [False, True])
async def test_a_wait_for_a_connection_is_no_step_of_the_databases_clock(patient: bool) -> None:
    pool = Pool(late=9)
    statement = _statement(pool)
    await (statement.patiently(_asked()) if patient else statement.alone(_asked()))
    assert _expected(pool.told[0]) == NOW + timedelta(seconds=9)


async def test_in_a_group_only_the_first_says_what_the_clock_should_read() -> None:
    pool = Pool(late=9)
    await _statement(pool).together([_asked()] * 4)
    assert [_expected(told) for told in pool.told] == [NOW + timedelta(seconds=9), None, None, None]


async def test_most_connections_are_never_held_by_those_who_wait_for_a_change() -> None:
    pool = Pool()
    pool.let.clear()
    statement = _statement(pool)
    tasks = [asyncio.create_task(statement.patiently(_asked())) for _ in range(PATIENT * 4)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert pool.open == PATIENT
    tasks[0].cancel()
    tasks[PATIENT].cancel()  # one that waits for its turn
    for _ in range(20):
        await asyncio.sleep(0)
    assert pool.open <= PATIENT + 1  # this stand-in counts the cancelled one still
    pool.let.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(f, asyncio.CancelledError) for f in found].count(True) == 2
    assert len([f for f in found if not isinstance(f, BaseException)]) == PATIENT * 4 - 2


async def test_of_one_tenant_one_waits_at_a_time() -> None:
    pool = Pool()
    pool.let.clear()
    statement = _statement(pool)
    tasks = [asyncio.create_task(statement.patiently(asked)) for asked in [_asked()] * 5 + [_asked()]]
    for _ in range(20):
        await asyncio.sleep(0)
    assert pool.open == 2
    pool.let.set()
    assert len(await asyncio.gather(*tasks)) == 6


def test_a_group_takes_budgets_in_one_order_whatever_each_member_takes() -> None:
    statement = _statement(Pool())
    asked = [
        _asked(b"b", b"", "rest"),
        _asked(b"", b"a", "rest"),
        _asked(b"b", b"", "graphql", "rest"),
        _asked(b"a", b"", "graphql"),
    ]
    in_order = sorted(asked, key=statement.order)
    assert [asked.index(a) for a in in_order] == [3, 1, 2, 0]
    db: Any = SimpleNamespace()
    settling: Any = SimpleNamespace(settlement=SimpleNamespace(principal=b"b", meters=["graphql", "rest"]))
    assert SettleStatement(db).order(settling) == statement.order(asked[2])

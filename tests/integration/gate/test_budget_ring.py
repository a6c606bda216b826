"""The ring against a brute-force log of what arrived upstream, with the database's clock in the test's hands.

The very source of budget.sql is installed a second time with `clock_timestamp()` replaced; nothing else differs.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import broker.gate
from broker.db import functions
from broker.gate.dbclock import DatabaseClock
from broker.ids import new_id

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TENANT, SHARER = new_id(), new_id()


class Clocked:
    """The budget's functions under a clock that only moves when told."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.true = 0.0
        self.offset = 0.0
        self.key = new_id().bytes * 2
        self.node = DatabaseClock(START, lambda: self.true)

    @property
    def db_now(self) -> datetime:
        return START + timedelta(seconds=self.true + self.offset)

    async def begin(self) -> None:
        self.true, self.offset = 0.0, 0.0
        self.key = new_id().bytes * 2
        self.node = DatabaseClock(START, lambda: self.true)
        await self.connection.execute(
            "update broker.db_clock set jumps = 0, jumped_at = '-infinity', jumped_from = '-infinity'"
        )

    async def tick(self) -> None:
        await self.connection.execute("select set_config('test.now', $1, false)", self.db_now.isoformat())

    async def reserve(
        self, cap: int, window: int, hold: int, cost: int = 1, reserve: int = 0, sharer: Any = SHARER
    ) -> Any:
        await self.tick()
        await self.connection.execute("select broker.note_clock_t($1)", self.node.expected())
        row = await self.connection.fetchrow(
            "select * from broker.budget_reserve_t($1,'rest',$2,$3,$4,$5,$6,$7,$8)",
            *(self.key, cap, window, cost, reserve, hold, TENANT, sharer),
        )
        self.node.observe(self.db_now, self.true)
        return row

    async def hear(self) -> None:
        """An admission of this node on another principal."""
        mine, self.key = self.key, new_id().bytes * 2
        await self.reserve(5, 10, 6)
        self.key = mine

    async def settle(
        self,
        slot: Any,
        how: str = "sent",
        cost: int = 1,
        block: int = 0,
        limit: int | None = None,
        left: int | None = None,
    ) -> Any:
        await self.tick()
        return await self.connection.fetchrow(
            "select * from broker.budget_settle_t($1,'rest',$2,$3,$4,$5,$6,$7,$8,$9,null)",
            *(self.key, cost, slot["slot_second"], slot["slot_era"], slot["seen"], how, block, limit, left),
        )

    async def row(self) -> Any:
        return await self.connection.fetchrow("select * from broker.budgets where principal_key = $1", self.key)


@pytest_asyncio.fixture(scope="module")
async def clocked(server: Any) -> AsyncIterator[Clocked]:
    connection = await asyncpg.connect(**server.superuser)
    source = (Path(broker.gate.__file__).parent / "budget.sql").read_text(encoding="utf-8")
    await connection.execute(
        "create or replace function broker.test_now() returns timestamptz language sql volatile as"
        " $$ select current_setting('test.now')::timestamptz $$"
    )
    replaced = source.replace("{v}", "_t").replace("clock_timestamp()", "broker.test_now()")
    await connection.execute(replaced.replace("create function", "create or replace function"))
    yield Clocked(connection)
    await connection.execute("update broker.db_clock set jumps = 0, jumped_at = '-infinity', jumped_from = '-infinity'")
    # They belong to the superuser and stand open: nothing of them may be left for whoever looks at the schema.
    named = "proname like '%\\_t' and pronamespace = 'broker'::regnamespace"
    left = await connection.fetch(f"select oid::regprocedure::text from pg_proc where {named}")
    for row in left:
        await connection.execute(f"drop function if exists {row[0]} cascade")
    await connection.execute("drop function broker.test_now()")
    await connection.close()


def most_in_any(arrivals: list[float], window: float) -> int:
    """The most arrivals in any half-open window of that length."""
    arrivals = sorted(arrivals)
    worst = first = 0
    for last, at in enumerate(arrivals):
        while arrivals[first] <= at - window:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


STEP = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([0.05, 0.4, 1.0, 2.5, 7.0, 13.0])),
    st.tuples(st.just("burst"), st.integers(1, 8)),
    st.tuples(st.just("end"), st.sampled_from(["sent", "not_sent", "late", "forget"])),
    st.tuples(st.just("clock"), st.sampled_from([3.5, 9.0, 40.0, 3600.0, -0.5, -1.5, -8.0, -60.0, -3600.0])),
)


ENDINGS = {"sent": ["sent"], "not_sent": ["not_sent"], "late": ["sent", "late"], "forget": []}


TWO_STEPS_AT_ONCE = [
    ("burst", 2),
    ("clock", 3.5),
    ("clock", -0.5),
    ("burst", 3),
    ("clock", 3.5),
    ("wait", 1.0),
    ("wait", 7.0),
    ("burst", 1),
]


@given(steps=st.lists(STEP, min_size=5, max_size=60), seed=st.integers(0, 2**16))
@example(steps=TWO_STEPS_AT_ONCE, seed=0)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_no_window_ever_holds_more_than_the_cap(clocked: Clocked, steps: list[Any], seed: int) -> None:
    await clocked.begin()
    chance = random.Random(seed)
    cap, window, hold, grace = 5, 10, 6, 1
    arrivals: list[float] = []
    running: list[tuple[float, Any]] = []
    for what, how in steps:
        # A call is over before its booking is: the gate's own timeout sees to that.
        for begun, slot in [r for r in running if clocked.true - r[0] > hold - grace]:
            running.remove((begun, slot))
            arrivals.append(chance.uniform(begun, begun + hold - grace))
        if what == "wait":
            clocked.true += how
        elif what == "clock":
            # Steps of less than 3 s between two admissions are not noticed (README); so the node hears of each.
            clocked.offset += how
            await clocked.hear()
        elif what == "burst":
            for _ in range(how):
                slot = await clocked.reserve(cap, window, hold)
                if slot["ok"]:
                    running.append((clocked.true, slot))
        elif running:
            begun, slot = running.pop(chance.randrange(len(running)))
            if how != "not_sent":
                arrivals.append(chance.uniform(begun, clocked.true))
            for ending in ENDINGS[how]:
                await clocked.settle(slot, ending)
    arrivals += [chance.uniform(begun, begun + hold - grace) for begun, _ in running]
    assert most_in_any(arrivals, window) <= cap
    row = await clocked.row()
    if row is not None:
        assert row["used"] == sum(row["ring"])
        assert min(row["ring"]) >= 0


@given(
    steps=st.lists(st.tuples(st.floats(0, 4), st.integers(1, 6), st.floats(0, 2)), min_size=10, max_size=40),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
async def test_a_steady_clock_wastes_nothing_beyond_a_second_and_retry_after_is_exact(
    clocked: Clocked, steps: list[tuple[float, int, float]]
) -> None:
    await clocked.begin()
    cap, window = 6, 20
    ends: list[float] = []
    for pause, wanted, latency in steps:
        clocked.true += pause
        for _ in range(wanted):
            slot = await clocked.reserve(cap, window, 5)
            live = sum(1 for end in ends if end > clocked.true - window)
            if slot["ok"]:
                assert live < cap
                clocked.true += latency / 10
                await clocked.settle(slot)
                ends.append(clocked.true)
                continue
            # Refused: rightly, but for the second that a bucket is wide; and told to the second when to come again.
            assert sum(1 for end in ends if end > clocked.true - window - 1) >= cap
            clocked.true += slot["retry_ms"] / 1000 - 0.002
            assert not (await clocked.reserve(cap, window, 5))["ok"]
            clocked.true += 0.003
            again = await clocked.reserve(cap, window, 5)
            assert again["ok"]
            await clocked.settle(again)
            ends.append(clocked.true)


async def test_everything_is_free_again_after_a_window(clocked: Clocked) -> None:
    await clocked.begin()
    slots = [await clocked.reserve(5, 10, 6) for _ in range(6)]
    assert [s["ok"] for s in slots] == [True] * 5 + [False]
    for slot in slots[:3]:
        await clocked.settle(slot)
    clocked.true += 11
    assert (await clocked.reserve(5, 10, 6))["remaining"] == 2  # two were never settled: booked 6 s ahead
    clocked.true += 6
    assert (await clocked.reserve(5, 10, 6))["remaining"] == 3


async def test_reserve_headroom_stays_for_the_human(clocked: Clocked) -> None:
    await clocked.begin()
    assert [(await clocked.reserve(5, 10, 6, reserve=2))["ok"] for _ in range(4)] == [True, True, True, False]
    assert (await clocked.reserve(5, 10, 6))["ok"]


async def test_a_429_blocks_and_the_block_outlives_no_more_than_it_says(clocked: Clocked) -> None:
    await clocked.begin()
    slot = await clocked.reserve(5, 10, 6)
    await clocked.settle(slot, block=300)
    clocked.true += 299.5
    refused = await clocked.reserve(5, 10, 6)
    assert not refused["ok"]
    assert 0 < refused["retry_ms"] <= 500
    clocked.true += 0.6
    slot = await clocked.reserve(5, 10, 6)
    assert slot["ok"]
    await clocked.settle(slot, block=100_000)
    clocked.true += 600.1
    assert (await clocked.reserve(5, 10, 6))["ok"], "more than 600 s is not believed"


async def test_a_block_survives_a_step_of_the_clock(clocked: Clocked) -> None:
    await clocked.begin()
    slot = await clocked.reserve(5, 10, 6)
    await clocked.settle(slot, block=100)
    clocked.true += 10
    clocked.offset += 3600
    refused = await clocked.reserve(5, 10, 6)
    assert not refused["ok"]
    assert 85_000 < refused["retry_ms"] <= 90_100


async def test_headers_only_ever_lower_what_is_left(clocked: Clocked) -> None:
    await clocked.begin()
    first = await clocked.reserve(100, 10, 6)
    told = await clocked.settle(first, limit=100, left=60)
    assert told["remaining"] == 60  # 1 is ours, 39 are somebody else's
    second = await clocked.reserve(100, 10, 6)
    told = await clocked.settle(second, limit=100, left=99)
    assert told["remaining"] == 59, "a better header raises nothing"
    row = await clocked.row()
    assert (row["used"], row["foreign_used"]) == (2, 39)
    clocked.true += 11.5
    assert (await clocked.reserve(100, 10, 6))["remaining"] == 99


async def test_an_answer_older_than_newer_bookings_does_not_overcount(clocked: Clocked) -> None:
    await clocked.begin()
    old = await clocked.reserve(100, 10, 6)
    newer = [await clocked.reserve(100, 10, 6) for _ in range(20)]
    for slot in newer:
        await clocked.settle(slot)
    # The old answer's header was made when the upstream had seen only it.
    assert (await clocked.settle(old, limit=100, left=99))["remaining"] == 79
    # And one that comes after its fellows have left our window: the upstream had counted all of them.
    await clocked.begin()
    slots = [await clocked.reserve(100, 10, 60) for _ in range(20)]
    for slot in slots[:-1]:
        await clocked.settle(slot)
    clocked.true += 12
    assert (await clocked.settle(slots[-1], limit=100, left=80))["remaining"] == 99


async def test_a_hostile_header_costs_at_most_the_cap(clocked: Clocked) -> None:
    await clocked.begin()
    slot = await clocked.reserve(100, 10, 6)
    assert (await clocked.settle(slot, limit=10_000_000, left=0))["remaining"] == 0
    clocked.true += 12
    assert (await clocked.reserve(100, 10, 6))["remaining"] == 99


async def test_a_window_or_cap_that_is_configured_anew_keeps_what_was_used(clocked: Clocked) -> None:
    await clocked.begin()
    for _ in range(4):
        await clocked.settle(await clocked.reserve(5, 10, 6))
    assert (await clocked.reserve(8, 30, 6))["remaining"] == 3
    clocked.true += 29
    assert (await clocked.reserve(8, 30, 6))["remaining"] == 2
    clocked.true += 8
    assert (await clocked.reserve(8, 30, 6))["remaining"] == 6


async def test_a_greedy_identity_leaves_a_late_one_its_share(clocked: Clocked) -> None:
    await clocked.begin()
    greedy, late = new_id(), new_id()
    await clocked.settle(await clocked.reserve(100, 50, 6, sharer=late))
    taken = 0
    while (slot := await clocked.reserve(100, 50, 6, sharer=greedy))["ok"]:
        await clocked.settle(slot)
        taken += 1
    assert taken == 74, "the last quarter is held for the one that has had little"
    for _ in range(24):
        slot = await clocked.reserve(100, 50, 6, sharer=late)
        assert slot["ok"]
        await clocked.settle(slot)
    assert not (await clocked.reserve(100, 50, 6, sharer=greedy))["ok"]


async def test_an_identity_alone_gets_all_of_it(clocked: Clocked) -> None:
    await clocked.begin()
    for _ in range(100):
        await clocked.settle(await clocked.reserve(100, 50, 6))
    assert not (await clocked.reserve(100, 50, 6))["ok"]
    # Others that fell silent two windows ago are forgotten.
    clocked.true += 60
    other = new_id()
    await clocked.settle(await clocked.reserve(100, 50, 6, sharer=other))
    clocked.true += 200
    got = [(await clocked.reserve(100, 50, 6))["ok"] for _ in range(101)]
    assert got == [True] * 100 + [False]


async def test_a_booking_that_ends_in_its_own_second_is_counted_once(clocked: Clocked) -> None:
    await clocked.begin()
    slot = await clocked.reserve(100, 10, 1)
    clocked.true += 1
    await clocked.reserve(100, 10, 6)  # the row has been used in this second
    await clocked.settle(slot)
    row = await clocked.row()
    assert sum(row["ring"]) == row["used"] == 2
    clocked.true += 30
    assert (await clocked.reserve(100, 10, 6))["remaining"] == 99


async def test_a_second_that_goes_by_in_a_wait_for_the_row_is_not_the_one_booked(server: Any) -> None:
    """With the real clock: whoever held the row changed nothing, so nothing makes the database look again."""
    holder, waiter = [await asyncpg.connect(**server.superuser) for _ in range(2)]
    reserve = functions.call("select * from broker.budget_reserve{v}($1,'rest',100,10,1,0,6,$2,$3)")
    settle = functions.call("select * from broker.budget_settle{v}($1,'rest',1,$2,$3,$4,'sent',0,null,null,null)")
    key = new_id().bytes * 2
    slot = await waiter.fetchrow(reserve, key, TENANT, SHARER)
    for statement, arguments in (
        (reserve, (key, TENANT, SHARER)),
        (settle, (key, slot["slot_second"], slot["slot_era"], slot["seen"])),
    ):
        await waiter.fetchrow(reserve, key, TENANT, SHARER)
        held = holder.transaction()
        await held.start()
        await holder.fetchrow("select 1 from broker.budgets where principal_key = $1 for update", key)
        waiting = asyncio.ensure_future(waiter.fetchrow(statement, *arguments))
        await asyncio.sleep(1.1)
        freed = await holder.fetchval("select floor(extract(epoch from clock_timestamp()))::bigint")
        await held.rollback()
        await waiting
        row = await holder.fetchrow("select * from broker.budgets where principal_key = $1", key)
        assert row["base"] + 10 >= freed
        assert sum(row["ring"]) == row["used"]
    await holder.close()
    await waiter.close()

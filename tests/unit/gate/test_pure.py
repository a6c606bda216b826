"""The parts of the gate that decide without I/O."""

import asyncio
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import CODES, Problem
from broker.gate import endings
from broker.gate.claims import HOLD_SECONDS_MAX, hold_seconds, ordered
from broker.gate.dbclock import DatabaseClock
from broker.gate.egress_rate import EgressRate, Turns
from broker.gate.inflight import InFlight
from broker.gate.principals import principal_key
from broker.gate.waiting import Lines
from broker.ids import new_id
from connectors.base import Answer, Meter, RateHint

NOW = datetime(2026, 11, 21, tzinfo=UTC)
T1, T2 = new_id(), new_id()
OFFICIAL: Any = SimpleNamespace(name="cloudflare", official_origins=("https://api.example",))
OTHER: Any = SimpleNamespace(name="github", official_origins=("https://api.example",))


def digest(purpose: str, data: bytes) -> bytes:
    return purpose.encode() + data


class TestPrincipals:
    def test_one_user_has_one_budget_at_the_official_origin(self) -> None:
        keys = {principal_key(digest, OFFICIAL, "https://api.example", t, "user:1") for t in (T1, T2)}
        assert len(keys) == 1

    def test_anywhere_else_tenant_and_origin_are_part_of_it(self) -> None:
        facts = [
            (c, o, t, p) for c in (OFFICIAL, OTHER) for o in ("https://a", "https://b") for t in (T1, T2) for p in "xy"
        ]
        assert len({principal_key(digest, *f) for f in facts}) == len(facts)

    @given(st.text(max_size=20), st.text(max_size=20))
    def test_parts_do_not_run_into_each_other(self, origin: str, principal: str) -> None:
        one = principal_key(digest, OFFICIAL, origin + "x", T1, principal)
        two = principal_key(digest, OFFICIAL, origin, T1, "x" + principal)
        assert one != two


class TestDatabaseClock:
    def test_it_expects_elapsed_time_to_pass(self) -> None:
        at = 100.0
        clock = DatabaseClock(NOW, lambda: at)
        clock.observe(NOW + timedelta(seconds=1), 100.0)
        at = 105.0
        assert clock.expected() == NOW + timedelta(seconds=5.0 + 0.0)

    def test_it_follows_downwards_and_starts_over_after_a_step(self) -> None:
        at = 0.0
        clock = DatabaseClock(NOW, lambda: at)
        for db_now, seconds in ((-3600, 1.0), (7200, 2.0), (7201, 3.0)):
            at = seconds
            clock.observe(NOW + timedelta(seconds=db_now), at)
            assert clock.expected() == NOW + timedelta(seconds=db_now)

    @given(st.lists(st.floats(0, 2.9), min_size=1, max_size=50))
    def test_many_small_steps_add_up_to_one_that_is_seen(self, steps: list[float]) -> None:
        at, ahead, seen = 0.0, 0.0, 0.0
        clock = DatabaseClock(NOW, lambda: at)
        for step in steps:
            at += 1.0
            ahead += step
            db_now = NOW + timedelta(seconds=at + ahead)
            if (db_now - clock.expected()).total_seconds() > 3:
                seen = ahead
            clock.observe(db_now, at)
        assert ahead - seen <= 3 + 0.001 * at + 1e-6

    def test_answers_out_of_order_are_ignored(self) -> None:
        at = 10.0
        clock = DatabaseClock(NOW, lambda: at)
        clock.observe(NOW, 10.0)
        clock.observe(NOW - timedelta(seconds=99), 9.0)
        assert clock.expected() == NOW


class TestEndings:
    def test_every_reason_of_admit_has_a_problem(self) -> None:
        for reason in (*endings._REASONS, "policy_changed", "connection_changed"):
            problem = endings.refused(reason)
            assert problem.code in CODES
            assert problem.sent is False

    @pytest.mark.parametrize(
        ("status", "told", "seconds"), [(200, 5, 0), (429, None, 300), (429, 0, 1), (429, 77, 77), (429, 9999, 600)]
    )
    def test_only_a_429_closes_the_principal(self, status: int, told: int | None, seconds: int) -> None:
        given_ = Answer(status, None, status >= 400, None, None, 0, 0, RateHint(retry_after_seconds=told))
        assert endings.stay_away(given_) == seconds

    @given(st.floats(0, 1000))
    def test_retry_after_is_rounded_up_and_never_zero(self, seconds: float) -> None:
        retry = endings.budget_exhausted("rest", seconds).retry_after
        assert retry is not None
        assert max(1, seconds - 0.001) <= retry < seconds + 1.001 or retry == 1


class TestBooking:
    @given(st.floats(0.001, 100))
    def test_a_booking_outlasts_the_upstreams_timeout(self, timeout: float) -> None:
        assert timeout + 5 <= hold_seconds(timeout) <= HOLD_SECONDS_MAX

    def test_meters_are_locked_in_one_order(self) -> None:
        a, b = Meter("a", 1, 1), Meter("b", 1, 1)
        assert ordered([b, a]) == ordered((a, b)) == (a, b)


class TestInFlight:
    def test_room_is_counted_by_tenant_and_identity_and_given_back(self) -> None:
        crowd = InFlight(per_tenant=2, per_identity=1)
        with crowd.room(T1, new_id()):
            mine = new_id()
            with crowd.room(T1, mine), pytest.raises(Problem), crowd.room(T2, mine):
                pass
            with crowd.room(T1, mine), pytest.raises(Problem), crowd.room(T1, new_id()):
                pass
        assert not crowd._tenants
        assert not crowd._identities

    async def test_our_own_stop_is_told_from_the_clients(self) -> None:
        crowd = InFlight(per_tenant=9, per_identity=9)
        call_id = new_id()
        told: list[bool] = []

        async def call(*, both: bool) -> None:
            with crowd.running(call_id) as running:
                try:
                    await asyncio.sleep(5)
                except asyncio.CancelledError:
                    told.append(running.caught())
                    if both:
                        raise

        for both in (False, True):
            task = asyncio.create_task(call(both=both))
            await asyncio.sleep(0)
            assert crowd.stop([call_id, new_id()]) == 1
            if both:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert told == [True, False]
        assert len(crowd) == 0


class TestLines:
    async def test_first_come_first_served_and_who_gives_up_leaves(self) -> None:
        lines, served = Lines(), []

        async def one(name: str, seconds: float) -> None:
            try:
                async with lines.turn(b"p", T1, monotonic() + seconds):
                    served.append(name)
                    await asyncio.sleep(0.05)
            except TimeoutError:
                served.append(f"{name} gave up")

        await asyncio.gather(one("a", 5), one("b", 0.01), one("c", 5), one("d", 5))
        assert served == ["a", "b gave up", "c", "d"]
        assert len(lines) == 0

    async def test_lines_of_different_identities_do_not_wait_for_each_other(self) -> None:
        lines = Lines()
        async with (
            lines.turn(b"p", T1, monotonic() + 1),
            lines.turn(b"p", T2, monotonic() + 1),
            lines.turn(b"q", T1, monotonic() + 1),
        ):
            assert len(lines) == 3


class TestTurns:
    async def test_never_more_than_the_rate_in_a_second_and_one_tenant_after_the_other(self) -> None:
        at = 0.0
        turns = Turns(lambda: at)
        turns.rate = 4
        loop = asyncio.get_running_loop()
        waiters: list[tuple[UUID, asyncio.Future[None]]] = []
        for tenant in (T1,) * 5 + (T2,) * 2:
            waiters.append((tenant, loop.create_future()))
            turns.enqueue(*waiters[-1])
        turns.serve()
        assert [t for t, w in waiters if w.done()] == [T1, T1, T2, T2]
        at = 0.999
        turns.serve()
        assert sum(w.done() for _, w in waiters) == 4
        assert turns.next_free() == pytest.approx(0.001)
        at = 1.0
        turns.serve()
        assert all(w.done() for _, w in waiters)
        assert turns.waiting() == 0

    async def test_without_a_lease_nothing_goes(self) -> None:
        turns = Turns(lambda: 0.0)
        assert not turns.free()

    @pytest.mark.parametrize("refusal", [asyncpg.LockNotAvailableError, asyncpg.DiskFullError, ConnectionResetError])
    async def test_a_renewal_that_is_refused_does_not_end_the_renewing(self, refusal: type[Exception]) -> None:
        """Else no call to an official origin would ever get a turn again in this process."""
        asked = asyncio.Queue[None]()

        async def fetchval(*_: Any) -> int:
            asked.put_nowait(None)
            if asked.qsize() == 1:
                raise refusal("not now")
            return 7

        db: Any = SimpleNamespace(pool=SimpleNamespace(fetchval=fetchval))
        rate = EgressRate(db, T1, 100)
        renewing = asyncio.create_task(rate.run())
        until = monotonic() + 30
        await rate.turn(T2, until)
        assert asked.qsize() >= 2
        renewing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await renewing

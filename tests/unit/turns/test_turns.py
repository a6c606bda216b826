"""Turns: who waits for whom, who is refused, and what reading large bodies costs."""

import asyncio
import gc
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from broker import turns as module
from broker.errors import Problem
from broker.turns import PAID_BYTES, REMEMBERED, Turn, Turns, belongs, elsewhere, paid, refused

ONE, OTHER = UUID(int=1), UUID(int=2)
HOME = "192.0.2.1"


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turns(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Two at work, four in hand; no seat is given up for slowness, and no refusal is held back."""
    monkeypatch.setattr(module, "SEAT_SECONDS", 3600)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
    made = Turns(most=4, share=2, elapsed=clock)
    for tenant_id in (ONE, OTHER):
        made.remember(_digest(tenant_id), tenant_id)
    return made


def _bearer(tenant_id: UUID) -> bytes:
    return b"Bearer " + tenant_id.bytes


def _digest(tenant_id: UUID) -> bytes:
    return sha256(_bearer(tenant_id)).digest()


async def _ask(turns: Turns, tenant_id: UUID | None, address: str = HOME) -> "asyncio.Task[Turn]":
    """A request, as far as it comes by itself."""
    task = asyncio.create_task(turns.take(None if tenant_id is None else _bearer(tenant_id), address))
    for _ in range(3):
        await asyncio.sleep(0)
    return task


def _end(*tasks: "asyncio.Task[Turn]") -> None:
    for task in tasks:
        task.result().rest()


async def _settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_tenant_that_asks_alone_waits_for_nobody(turns: Turns) -> None:
    tasks = [await _ask(turns, ONE) for _ in range(4)]
    assert all(task.done() for task in tasks)


async def test_tenants_that_ask_together_have_the_same_share(turns: Turns, clock: Clock) -> None:
    _end(await _ask(turns, ONE))
    hot = [await _ask(turns, OTHER) for _ in range(4)]
    assert [task.done() for task in hot] == [True, True, False, False]
    assert (await _ask(turns, ONE)).done()
    _end(hot[0])
    await _settled()
    assert [task.done() for task in hot] == [True, True, True, False], "the first in line comes first"
    clock.at += 2
    _end(hot[1])
    await _settled()
    assert hot[3].done()


async def test_alone_again_a_whole_line_goes_at_once(turns: Turns, clock: Clock) -> None:
    _end(await _ask(turns, ONE))
    hot = [await _ask(turns, OTHER) for _ in range(4)]
    clock.at += 2
    _end(hot[0])
    await _settled()
    assert all(task.done() for task in hot)


async def test_too_many_in_hand_are_refused(turns: Turns) -> None:
    _end(await _ask(turns, ONE))
    hot = [await _ask(turns, OTHER) for _ in range(4)]
    with pytest.raises(Problem) as refused:
        await turns.take(_bearer(OTHER), HOME)
    assert (refused.value.code, refused.value.sent) == ("rate_limited", False)
    assert (await _ask(turns, ONE)).done(), "it is nobody else's limit"
    _end(hot[0])
    assert not (await _ask(turns, OTHER)).done()


async def test_a_refusal_takes_its_time(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 3600)
    for _ in range(4):
        await _ask(turns, ONE)
    waiting = await _ask(turns, ONE)
    assert not waiting.done()
    waiting.cancel()
    monkeypatch.setattr(module, "PAUSED", 0)
    with pytest.raises(Problem, match="in hand"):
        await turns.take(_bearer(ONE), HOME)


async def test_whoever_is_not_known_stands_in_the_line_of_their_address(turns: Turns) -> None:
    forged = [await _ask(turns, UUID(int=99)) for _ in range(2)]
    assert [task.done() for task in forged] == [True, True]
    assert not (await _ask(turns, None)).done()
    assert (await _ask(turns, None, "192.0.2.2")).done()
    assert (await _ask(turns, ONE)).done(), "and in nobody else's"


async def test_an_ipv6_network_is_one_party(turns: Turns) -> None:
    for last in ("1", "2"):
        assert (await _ask(turns, None, f"2001:db8:0:1::{last}")).done()
    assert not (await _ask(turns, None, "2001:db8:0:1:ffff::9")).done()
    assert (await _ask(turns, None, "2001:db8:0:2::1")).done()
    assert (await _ask(turns, None, "not:an:address")).done()


async def test_once_accepted_a_bearer_is_its_tenants(turns: Turns) -> None:
    bearer = b"Bearer new"
    first = await turns.take(bearer, HOME)
    belongs(ONE)
    first.end()
    again = [asyncio.create_task(turns.take(bearer, HOME)) for _ in range(4)]
    await _settled()
    assert all(task.done() for task in again), "four at once, which no address has"


async def test_a_bearer_that_was_refused_stands_in_its_tenants_line_no_more(turns: Turns) -> None:
    """Or whoever has a key that was revoked could fill the line of those whose it was."""
    for payer in (ONE, HOME):
        turn = await turns.take(_bearer(ONE), HOME)
        assert turn.payer == payer
        refused()
        turn.end()
    turn = await turns.take(None, HOME)
    refused()
    turn.end()


async def test_who_waits_for_an_upstream_is_not_at_work(turns: Turns) -> None:
    _end(await _ask(turns, ONE))
    first = await turns.take(_bearer(OTHER), HOME)
    second = await _ask(turns, OTHER)
    third = await _ask(turns, OTHER)
    assert not third.done()
    with elsewhere():
        await _settled()
        assert third.done()
    assert not (await _ask(turns, OTHER)).done(), "and is again when it comes back"
    first.end()
    _end(second, third)


async def test_whoever_takes_long_waits_for_something(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEAT_SECONDS", 0.01)
    turns = Turns(most=4, share=1, elapsed=clock)
    slow = await turns.take(None, HOME)
    async with asyncio.timeout(30):
        next_ = await turns.take(None, HOME)
    next_.end()
    slow.end()


async def test_leaving_the_line_keeps_it_whole(turns: Turns) -> None:
    first, second = await _ask(turns, None), await _ask(turns, None)
    left, third, fourth = await _ask(turns, None), await _ask(turns, None), None
    left.cancel()
    await _settled()
    fourth = await _ask(turns, None)
    _end(first)
    third.cancel()  # just as it is called
    await _settled()
    assert fourth.done()
    _end(second, fourth)
    assert not turns._parties


async def test_reading_is_paid_for_in_time(turns: Turns, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = iter([10.0, 11.5, 20.0, 20.1])
    monkeypatch.setattr(module, "perf_counter", lambda: next(passed))
    turn = await turns.take(_bearer(ONE), HOME, PAID_BYTES)
    with paid(PAID_BYTES - 1):
        assert gc.isenabled()
    with paid(PAID_BYTES):
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(Problem) as refused, paid(PAID_BYTES):
        pass
    turn.end()
    assert refused.value.retry_after == 25, "1.5 s at a twentieth, less what is given in advance"
    with pytest.raises(Problem):
        await turns.take(_bearer(ONE), HOME, PAID_BYTES)
    (await turns.take(_bearer(ONE), HOME, PAID_BYTES - 1)).end()
    (await turns.take(_bearer(OTHER), HOME, PAID_BYTES)).end()
    clock.at += 25
    (await turns.take(_bearer(ONE), HOME, PAID_BYTES)).end()


async def test_a_fault_while_reading_is_paid_for_too(turns: Turns) -> None:
    turn = await turns.take(_bearer(ONE), HOME)
    with pytest.raises(ZeroDivisionError), paid(PAID_BYTES):
        _ = 1 / 0
    assert gc.isenabled()
    assert ONE in turns._paid_until
    turn.end()


def test_outside_a_request_nothing_is_counted() -> None:
    belongs(ONE)
    with elsewhere(), paid(PAID_BYTES):
        pass


def test_memory_is_bounded(turns: Turns, clock: Clock) -> None:
    for number in range(REMEMBERED + 10):
        turns.remember(number.to_bytes(32, "big"), ONE)
        turns.pay(str(number), 1.0)
    assert len(turns._tenants) == len(turns._paid_until) == REMEMBERED
    clock.at += 3600
    turns.pay("last", 1.0)
    assert list(turns._paid_until) == ["last"]


@pytest.mark.parametrize("wrong", [{"most": 0, "share": 1}, {"most": 1, "share": 0}])
def test_everyone_may_ask_something(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Turns(**wrong)


async def test_waits_are_told(clock: Clock) -> None:
    told: list[float] = []
    turns = Turns(most=4, share=1, elapsed=clock, waited=told.append)
    first = await _ask(turns, None)
    second = await _ask(turns, None)
    assert told == []
    _end(first)
    await _settled()
    _end(second)
    assert len(told) == 1

"""Admissions and settles in groups: each call fares as it would alone."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from broker.errors import Problem
from broker.gate.claims import Admitted, Claim
from broker.gate.group_commit import LANES
from broker.gate.round_trips import Admission, AdmitStatement, SettleStatement, Settling
from broker.gate.types import Performed
from broker.gate.usage import budget_use
from broker.ids import new_id
from connectors.base import Answer, Prepared
from tests.integration.gate.test_revocation import take_away
from tests.integration.gate.world import OK, Node, Person, Upstream, World


class Seen:
    """How large the groups were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.admitted: list[int] = []
        self.settled: list[int] = []
        admit, settle = AdmitStatement.together, SettleStatement.together

        async def admits(it: AdmitStatement, asked: Sequence[Admission]) -> Any:
            self.admitted.append(len(asked))
            return await admit(it, asked)

        async def settles(it: SettleStatement, asked: Sequence[Settling]) -> Any:
            self.settled.append(len(asked))
            return await settle(it, asked)

        monkeypatch.setattr(AdmitStatement, "together", admits)
        monkeypatch.setattr(SettleStatement, "together", settles)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


async def together(world: World, node: Node, upstream: Upstream, people: Sequence[Person]) -> Sequence[Any]:
    """One call of each, at once; a result or what was raised."""
    calls = [await world.call(p, upstream) for p in people]
    work = (node.gate.perform(call, upstream.prepared()) for call in calls)
    return list(await asyncio.gather(*work, return_exceptions=True))


async def test_calls_on_many_budgets_and_on_one_are_each_booked_and_written(
    world: World, node: Node, upstream: Upstream, seen: Seen
) -> None:
    shared = new_id().bytes * 2
    people = [await world.person(f"own{n}") for n in range(10)]
    people += [await world.person(f"one{n}", shared) for n in range(10)]
    for _ in range(2):  # the second time the principals are remembered
        done = await together(world, node, upstream, people)
        assert [d.answer.status for d in done] == [200] * 20
    assert max(seen.admitted) > 1
    assert max(seen.settled) > 1
    assert len(await world.events("intent")) == len(await world.events("outcome")) == len(upstream.sent) == 40
    assert await world.open_calls() == 0
    use = {u.principal: u.used for u in await budget_use(world.db, world.tenant_id)}
    assert use.pop(shared) == 20
    assert list(use.values()) == [2] * 10


async def test_a_group_on_one_budget_books_no_more_than_is_left(world: World, node: Node, seen: Seen) -> None:
    upstream = Upstream(limit=12)
    shared = new_id().bytes * 2
    people = [await world.person(f"p{n}", shared) for n in range(3)]
    done = await together(world, node, upstream, people * 8)
    codes = [d.code for d in done if isinstance(d, Problem)]
    assert max(seen.admitted) > 1
    assert len(upstream.sent) == sum(isinstance(d, Performed) for d in done)
    assert len(upstream.sent) <= 12
    assert len(upstream.sent) >= 9, "up to a quarter is held for the others of one principal"
    assert set(codes) == {"budget_exhausted"}
    (use,) = await budget_use(world.db, world.tenant_id)
    assert use.used == len(upstream.sent)


async def test_one_that_must_wait_for_a_change_holds_up_nobody_else(
    world: World, node: Node, upstream: Upstream, behind: asyncpg.Connection, seen: Seen
) -> None:
    people = [await world.person(f"p{n}") for n in range(12)]
    held = people[5]
    change = behind.transaction()
    await change.start()
    await behind.execute(
        "select pg_advisory_xact_lock(hashtextextended('account:' || $1::text, 7))", str(held.account_id)
    )
    calls = [await world.call(p, upstream) for p in people]
    tasks = [asyncio.create_task(node.gate.perform(c, upstream.prepared())) for c in calls]
    await asyncio.wait([t for n, t in enumerate(tasks) if n != 5], timeout=30)
    assert [t.done() for t in tasks] == [n != 5 for n in range(12)]
    await change.commit()
    assert (await tasks[5]).answer.status == 200
    assert max(seen.admitted) > 1


async def test_a_refused_one_is_refused_alone(world: World, node: Node, upstream: Upstream, seen: Seen) -> None:
    people = [await world.person(f"p{n}") for n in range(12)]
    calls = [await world.call(p, upstream) for p in people]
    await take_away("account", world, people[4])
    await take_away("bearer", world, people[7])
    done = await asyncio.gather(*(node.gate.perform(c, upstream.prepared()) for c in calls), return_exceptions=True)
    assert {n: d.code for n, d in enumerate(done) if isinstance(d, Problem)} == {4: "revoked", 7: "unauthenticated"}
    assert len(upstream.sent) == 10
    assert max(seen.admitted) > 1


async def test_a_fault_of_one_member_undoes_the_group_and_each_is_asked_alone(
    world: World, node: Node, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A doubled call id breaks the primary key of open_calls."""
    people = [await world.person(f"p{n}") for n in range(LANES + 4)]
    made: list[Admission] = []
    true_alone, true_together = AdmitStatement.alone, AdmitStatement.together

    async def spoiled(it: AdmitStatement, asked: Sequence[Admission]) -> Any:
        first = made[0].claim.call_id
        twice = [a._replace(claim=_with_call(a, first)) if n == 0 else a for n, a in enumerate(asked)]
        found = await true_together(it, twice)
        assert list(found) == [None] * len(asked), "nothing of it was done"
        return found

    async def alone(it: AdmitStatement, asked: Admission) -> Any:
        found = await true_alone(it, asked)
        made.append(asked)
        assert isinstance(found, Admitted)
        return found

    slow = asyncio.Event()

    async def reply(_: Prepared) -> Answer:
        await slow.wait()
        return OK

    upstream.reply = reply
    monkeypatch.setattr(AdmitStatement, "together", spoiled)
    monkeypatch.setattr(AdmitStatement, "alone", alone)
    calls = [await world.call(p, upstream) for p in people]
    tasks = [asyncio.create_task(node.gate.perform(c, upstream.prepared())) for c in calls]
    async with asyncio.timeout(30):
        while len(upstream.sent) < len(people):
            await asyncio.sleep(0.01)
    slow.set()
    assert [d.answer.status for d in await asyncio.gather(*tasks)] == [200] * len(people)
    assert len(await world.events("intent")) == len(await world.events("outcome")) == len(people)


def _with_call(asked: Admission, call_id: UUID) -> Claim:
    return dataclasses.replace(asked.claim, call_id=call_id)


async def test_callers_that_leave_a_group_leave_calls_that_were_not_sent(
    world: World, node: Node, upstream: Upstream, seen: Seen
) -> None:
    people = [await world.person(f"p{n}") for n in range(16)]
    calls = [await world.call(p, upstream) for p in people]
    for round_ in range(3):
        tasks = [asyncio.create_task(node.gate.perform(c, upstream.prepared())) for c in calls]
        for _ in range(round_ * 3):
            await asyncio.sleep(0.001)
        for task in tasks[::2]:
            task.cancel()
        done: Sequence[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert [d.answer.status for d in done[1::2]] == [200] * 8
        calls = [await world.call(p, upstream) for p in people]
    await node.dispatch.close()
    assert await world.open_calls() == 0
    intents = {e.call_id for e in await world.events("intent")}
    outcomes = [e.call_id for e in await world.events("outcome")]
    assert sorted(outcomes) == sorted(intents)
    assert {e.outcome for e in await world.events("outcome")} <= {"ok", "not_sent", "cancelled"}

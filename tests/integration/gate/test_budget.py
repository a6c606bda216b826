"""Budgets through the gate: concurrency, queueing, 429, sharing between tenants, late settles, the sweeper."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import Any

import asyncpg
import pytest

from broker.db.database import Database
from broker.errors import Problem
from broker.gate.claims import AdmitLost
from broker.gate.maintenance import MaintenanceCall
from broker.gate.usage import budget_use
from broker.ids import new_id
from connectors.base import Answer, Meter, Prepared
from tests.integration.gate.test_budget_ring import most_in_any
from tests.integration.gate.test_revocation import nodes  # noqa: F401 - a fixture
from tests.integration.gate.world import OK, Node, Upstream, World, answer
from vault.errors import KeyUnavailable

MakeWorld = Callable[[], Awaitable[World]]


@pytest.mark.slow
async def test_three_processes_saturating_one_principal_stay_within_every_window(
    world: World,
    nodes: list[Node],  # noqa: F811
) -> None:
    """Shortened form of `python -m bench.budget_windows`."""
    upstream = Upstream(limit=60, window=3)
    priya = await world.person("priya")
    arrivals: list[float] = []
    refused: set[str] = set()

    async def reply(_: Prepared) -> Answer:
        arrivals.append(monotonic())
        await asyncio.sleep(0.01)
        return OK

    upstream.reply = reply
    until = monotonic() + 9

    async def saturate(node: Node) -> None:
        while monotonic() < until:
            try:
                await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
            except Problem as problem:
                refused.add(problem.code)
                await asyncio.sleep(0.05)

    await asyncio.gather(*(saturate(node) for node in nodes for _ in range(3)))
    assert refused == {"budget_exhausted"}
    assert most_in_any(arrivals, 3) <= 60
    # A bucket is a second wide: of each 4 s one goes unused, in a window of 3; of 300 s it is one in 301.
    assert len(arrivals) >= 120


async def test_waiting_callers_get_the_slots_as_they_free_in_the_order_they_came(world: World, node: Node) -> None:
    upstream = Upstream(limit=2, window=1)
    priya = await world.person("priya")
    order: list[str] = []

    async def reply(prepared: Prepared) -> Answer:
        order.append(prepared.query)
        return OK

    upstream.reply = reply
    tasks = []
    for i in range(5):
        call = await world.call(priya, upstream, max_wait_seconds=20.0, seconds=30)
        tasks.append(asyncio.create_task(node.gate.perform(call, upstream.prepared(query=str(i)))))
        while len(order) + len(node.gate._lines) < i + 1:
            await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    assert order == ["0", "1", "2", "3", "4"]
    assert len(node.gate._lines) == 0


async def test_without_waiting_the_refusal_says_exactly_when(world: World, node: Node) -> None:
    upstream = Upstream(limit=1, window=2)
    priya = await world.person("priya")
    await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream, max_wait_seconds=0.2), upstream.prepared())
    assert caught.value.code == "budget_exhausted"
    assert caught.value.retry_after in (2, 3)
    assert (await world.events("refusal"))[0].body["code"] == "budget_exhausted"
    await asyncio.sleep(caught.value.retry_after)
    await node.gate.perform(await world.call(priya, upstream), upstream.prepared())


async def test_authority_is_looked_up_afresh_after_the_wait(world: World, node: Node) -> None:
    upstream = Upstream(limit=1, window=1)
    priya = await world.person("priya")
    await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    waiting = asyncio.create_task(
        node.gate.perform(await world.call(priya, upstream, max_wait_seconds=10.0), upstream.prepared())
    )
    await asyncio.sleep(0.2)
    await world.execute("update broker.bearers set revoked_at = now()")
    with pytest.raises(Problem) as caught:
        await waiting
    assert caught.value.code == "unauthenticated"
    assert len(upstream.sent) == 1


async def test_a_429_closes_the_principal_on_every_node(
    world: World,
    nodes: list[Node],  # noqa: F811
) -> None:
    upstream = Upstream()
    priya = await world.person("priya")

    async def blocked(_: Prepared) -> Answer:
        return answer(429, retry_after_seconds=120)

    upstream.reply = blocked
    assert (await nodes[0].gate.perform(await world.call(priya, upstream), upstream.prepared())).answer.status == 429
    with pytest.raises(Problem) as caught:
        await nodes[1].gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert caught.value.code == "budget_exhausted"
    assert 118 <= (caught.value.retry_after or 0) <= 120
    assert len(upstream.sent) == 1
    (use,) = await budget_use(world.db, world.tenant_id)
    assert use.blocked_until is not None


async def test_several_meters_are_booked_all_or_none(world: World, node: Node) -> None:
    upstream = Upstream()
    priya = await world.person("priya")
    both = (Meter("rest", 1200, 300), Meter("graphql", 1, 300))
    done = await node.gate.perform(await world.call(priya, upstream), upstream.prepared(meters=both))
    assert done.answer.status == 200
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared(meters=both))
    assert "graphql" in caught.value.detail
    used = {use.meter: use.used for use in await budget_use(world.db, world.tenant_id)}
    assert used == {"rest": 1, "graphql": 1}


async def test_a_principal_shared_by_two_tenants_shows_each_only_its_own(make_world: MakeWorld, node: Node) -> None:
    principal = new_id().bytes * 2
    here, there = await make_world(), await make_world()
    priya, marco = await here.person("priya", principal), await there.person("marco", principal)
    upstream = Upstream(limit=10)
    for world, person, times in ((here, priya, 3), (there, marco, 2), (here, priya, 1)):
        for _ in range(times):
            done = await node.gate.perform(await world.call(person, upstream), upstream.prepared())
    assert done.budget is not None
    assert done.budget.remaining == 4
    (mine,), (theirs,) = await budget_use(node.db, here.tenant_id), await budget_use(node.db, there.tenant_id)
    assert (mine.used, mine.foreign) == (4, 2)
    assert (theirs.used, theirs.foreign) == (2, 4)
    (alone,) = await budget_use(node.db, (await _with_person(await make_world(), node, upstream)).tenant_id)
    assert (alone.used, alone.foreign) == (1, 0)


async def _with_person(world: World, node: Node, upstream: Upstream) -> World:
    person = await world.person("solo")
    await node.gate.perform(await world.call(person, upstream), upstream.prepared())
    return world


async def test_the_sweeper_closes_what_nobody_settles_and_a_late_settle_still_counts(
    world: World, node: Node, behind: asyncpg.Connection
) -> None:
    upstream = Upstream(limit=10)
    priya = await world.person("priya")
    release = asyncio.Event()

    async def hold(_: Prepared) -> Answer:
        await release.wait()
        return OK

    upstream.reply = hold
    await node.nodes.beat(node.clock.now())
    running = asyncio.create_task(node.gate.perform(await world.call(priya, upstream), upstream.prepared()))
    while not upstream.sent:
        await asyncio.sleep(0.005)
    assert await node.sweeper.sweep() == 0, "its deadline has not passed and its process lives"
    await world.execute("update broker.open_calls set deadline_at = now() - interval '1 hour'")
    assert await node.sweeper.sweep() == 1
    assert [e.outcome for e in await world.events("outcome")] == ["unknown"]
    assert await world.open_calls() == 0
    release.set()
    assert (await running).answer.status == 200
    assert [e.outcome for e in await world.events("outcome")] == ["unknown", "ok"]
    (use,) = await budget_use(world.db, world.tenant_id)
    assert use.used == 2, "booked at the sweep and once more at the true end"
    assert await behind.fetchval(
        "select used = (select sum(x) from unnest(ring) x) from broker.budgets where principal_key = $1", use.principal
    )


async def test_the_calls_of_a_dead_process_are_closed_before_their_deadline(world: World, node: Node) -> None:
    upstream = Upstream()
    priya = await world.person("priya")

    async def die(_: Prepared) -> Answer:
        raise asyncio.CancelledError

    upstream.reply = die
    node.dispatch._finish = _never  # type: ignore[method-assign]
    with pytest.raises(_Died):
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert await world.open_calls() == 1
    await world.execute("update broker.open_calls set admitted_at = now() - interval '31 s'")
    assert await node.sweeper.sweep() == 1
    assert [e.outcome for e in await world.events("outcome")] == ["unknown"]


class _Died(Exception):
    pass


async def _never(*_: Any) -> Any:
    raise _Died


async def test_settle_outlives_a_lost_connection(world: World, node: Node, behind: asyncpg.Connection) -> None:
    upstream = Upstream()
    priya = await world.person("priya")

    async def kill(_: Prepared) -> Answer:
        await behind.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = 'keyreeve_app' and datname = current_database()"
        )
        return OK

    upstream.reply = kill
    done = await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert done.answer.status == 200
    assert [e.outcome for e in await world.events("outcome")] == ["ok"]
    assert await world.open_calls() == 0


async def test_an_admit_whose_answer_is_lost_sends_nothing_and_is_ended_as_not_sent(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya = await world.person("priya")
    true_admit = node.admissions.admit

    async def lost(*args: Any) -> Any:
        await true_admit(*args)
        raise AdmitLost("ConnectionDoesNotExistError", asked=True)

    node.admissions.admit = lost  # type: ignore[method-assign]
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert (caught.value.code, caught.value.sent) == ("unavailable", False)
    await node.dispatch.close()
    assert upstream.sent == []
    assert [e.outcome for e in await world.events("outcome")] == ["not_sent"]
    assert await world.open_calls() == 0
    (use,) = await budget_use(world.db, world.tenant_id)
    assert use.used == 0


async def test_without_a_database_a_call_is_refused_and_leaves_no_work_behind(
    world: World, server: Any, upstream: Upstream
) -> None:
    priya = await world.person("priya")
    call = await world.call(priya, upstream)
    away = await Database.open(url=server.app_url, connect=server.app, hot=2, admin=1)
    node = Node(away, world.vault_)
    await away.close()
    with pytest.raises(Problem) as caught:
        await node.gate._try(call, upstream.prepared(), monotonic())
    assert (caught.value.code, caught.value.retry_after, caught.value.sent) == ("unavailable", 2, False)
    assert node.dispatch._tasks == set()


async def test_settling_twice_counts_once(world: World, node: Node, upstream: Upstream) -> None:
    priya = await world.person("priya")
    true_settle = node.admissions._settle

    async def twice(*args: Any) -> Any:
        await true_settle(*args)
        return await true_settle(*args)

    node.admissions._settle = twice  # type: ignore[method-assign]
    done = await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert done.budget is not None
    assert done.budget.remaining == 1199
    assert len(await world.events("outcome")) == 1
    (use,) = await budget_use(world.db, world.tenant_id)
    assert use.used == 1


async def test_an_outcome_that_cannot_be_written_is_not_answered_as_success(
    world: World, node: Node, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    priya = await world.person("priya")

    async def away(*_: Any) -> Any:
        raise ConnectionResetError

    monkeypatch.setattr("broker.gate.admission.SETTLE_SECONDS", 0.2)
    node.admissions._settle = away  # type: ignore[method-assign]
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert (caught.value.code, caught.value.sent) == ("outcome_unknown", True)
    assert await world.open_calls() == 1, "for the sweeper"


async def test_whatever_the_database_says_against_an_outcome_the_caller_hears_that_it_was_sent(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya = await world.person("priya")

    async def full(*_: Any) -> Any:
        raise asyncpg.DiskFullError("could not extend file")

    node.admissions._settle = full  # type: ignore[method-assign]
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert (caught.value.code, caught.value.sent) == ("outcome_unknown", True)


async def test_without_the_audit_key_nothing_is_sent_and_what_was_sent_is_said(
    world: World, node: Node, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key may be lost between the two: it is held for minutes, and its store may be away by then."""
    priya = await world.person("priya")

    async def away(*_: Any) -> Any:
        raise KeyUnavailable("key store or root provider did not answer in time")

    async def lose_it(_: Prepared) -> Answer:
        monkeypatch.setattr(node.trail, "try_row", lambda _: None)
        monkeypatch.setattr(node.trail, "row", away)
        return OK

    upstream.reply = lose_it
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert (caught.value.code, caught.value.sent) == ("outcome_unknown", True)
    resolved = await world.resolve(priya.token)
    ours = MaintenanceCall(
        caller=resolved.caller,
        connection=resolved.connections[0],
        connector=upstream,  # type: ignore[arg-type]
        account_id=priya.account_id,
        principal=None,
        execution_id=new_id(),
        n=1,
        deadline=node.clock.now() + timedelta(seconds=10),
    )
    with pytest.raises(Problem) as caught:
        await node.maintenance.perform(ours, upstream.prepared())
    assert (caught.value.code, caught.value.sent) == ("unavailable", False)
    assert len(upstream.sent) == 1


async def test_the_app_role_cannot_touch_budgets_itself(world: World) -> None:
    for table in ("broker.budgets", "broker.budget_shares", "broker.db_clock", "broker.egress_leases"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await world.db.pool.execute(f"select * from {table}")

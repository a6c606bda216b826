"""A program that wrote and whose process went: its execution ends in the audit, unknown, with what it had done."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from broker.audit.events import ExecutionDone
from broker.audit.rows import facts_of
from broker.audit.trail import verify_rows
from broker.domain import Caller
from broker.gate.executions import OpenExecutions
from broker.gate.sweep import Sweeper
from broker.ids import new_id
from broker.tools.codemode.keeping import Begun, Keeping, Owner, digest_of
from broker.tools.codemode.on_record import OnRecord
from tests.integration.gate.world import READ, WRITE, Node, Person, Upstream, World

CODE = "async () => cloudflare.request({method: 'POST', path: '/things'})"


@pytest.fixture
def kept(node: Node) -> Keeping:
    return Keeping(node.db, node.vault_, node.trail, lambda _caller, _what: "any")


@pytest.fixture
async def person(world: World) -> Person:
    return await world.person("priya")


@pytest.fixture
def sweeper(node: Node) -> Sweeper:
    return Sweeper(node.admissions, node.trail, node.nodes, OpenExecutions(node.db))


async def caller_of(world: World, person: Person, upstream: Upstream) -> Caller:
    return (await world.call(person, upstream)).resolved.caller


def event_of(caller: Caller, execution_id: UUID, **more: Any) -> ExecutionDone:
    return ExecutionDone(
        caller=caller, at=caller.now, execution_id=execution_id, tool_name="cf_execute", connection_name="cf",
        outcome="ok", intent="tidy up", code_digest=digest_of(CODE), **more,
    )  # fmt: skip


async def begin(kept: Keeping, caller: Caller, seconds: float = 30.0) -> UUID:
    execution_id = new_id()
    begun = Begun(facts_of(event_of(caller, execution_id)), seconds)
    await kept.keep_code(caller.tenant_id, execution_id, caller.now, CODE, begun)
    return execution_id


async def executions(world: World, execution_id: UUID) -> list[Any]:
    return [row for row in await world.events("execution") if row.execution_id == execution_id]


async def test_it_ends_unknown_with_the_writes_it_made(
    kept: Keeping, world: World, node: Node, person: Person, upstream: Upstream, sweeper: Sweeper, behind: Any
) -> None:
    call = await world.call(person, upstream)
    caller = call.resolved.caller
    execution_id = await begin(kept, caller)
    for n, operation in ((1, READ), (2, WRITE)):
        made = await world.call(person, upstream, seconds=20)
        await node.gate.perform(_of(made, execution_id, n), upstream.prepared(operation))
    # The third is under way when the process dies: open, and nobody settles it.
    third = asyncio.Event()

    async def hang(_: Any) -> Any:
        third.set()
        await asyncio.Event().wait()

    upstream.reply = hang
    hanging = asyncio.create_task(
        node.gate.perform(_of(await world.call(person, upstream), execution_id, 3), upstream.prepared(WRITE))
    )
    await asyncio.wait_for(third.wait(), 30)
    await sweeper.sweep()
    assert not await executions(world, execution_id), "its process lives"

    await behind.execute(
        "update broker.open_executions set deadline_at = now() - interval '1 h' where execution_id = $1", execution_id
    )
    await sweeper.sweep()
    assert not await executions(world, execution_id), "a call of it is open still"
    await behind.execute(
        "update broker.open_calls set deadline_at = now() - interval '1 h' where execution_id = $1", execution_id
    )
    await sweeper.sweep()
    await sweeper.sweep()
    (found,) = await executions(world, execution_id)
    assert (found.outcome, found.tool_name, found.identifier) == ("unknown", "cf_execute", "priya")
    assert found.bearer_id == caller.bearer.id
    assert (found.body["calls"], found.body["intent"]) == (3, "tidy up")
    assert found.body["code_digest"] == digest_of(CODE)
    assert found.body["summary"] == {"error": "swept", "writes": 2, "made": ["POST /things", "POST /things"]}
    assert await verify_rows(node.vault_, [found._mapping]) == []
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


def _of(call: Any, execution_id: UUID, n: int) -> Any:
    return replace(call, execution_id=execution_id, n=n)


async def test_one_that_ended_is_left_alone(
    kept: Keeping, world: World, person: Person, upstream: Upstream, sweeper: Sweeper, behind: Any
) -> None:
    caller = await caller_of(world, person, upstream)
    assert caller.identity is not None
    execution_id = await begin(kept, caller)
    owner = Owner(caller.identity.id, caller.bearer.root_id, new_id(), None, None)
    await kept.finish(event_of(caller, execution_id), None, None, owner)
    await behind.execute("update broker.open_executions set deadline_at = now() - interval '1 h'")
    await sweeper.sweep()
    assert [row.outcome for row in await executions(world, execution_id)] == ["ok"]


async def test_an_end_that_came_first_stands_alone(
    kept: Keeping, world: World, node: Node, person: Person, upstream: Upstream, sweeper: Sweeper, behind: Any
) -> None:
    """What is written that an execution is open can arrive after its end, where the connection broke between."""
    caller = await caller_of(world, person, upstream)
    execution_id = await begin(kept, caller)
    await node.trail.write(event_of(caller, execution_id))
    await behind.execute("update broker.open_executions set deadline_at = now() - interval '1 h'")
    await sweeper.sweep()
    assert [row.outcome for row in await executions(world, execution_id)] == ["ok"]
    left = await behind.fetchval("select count(*) from broker.open_executions where execution_id = $1", execution_id)
    assert left == 0


async def test_a_process_that_is_gone_is_enough(
    kept: Keeping, world: World, person: Person, upstream: Upstream, sweeper: Sweeper, behind: Any
) -> None:
    caller = await caller_of(world, person, upstream)
    execution_id = await begin(kept, caller, seconds=timedelta(minutes=2).total_seconds())
    await sweeper.sweep()
    assert not await executions(world, execution_id)
    # Begun longer ago than a process can be silent, by one that no heartbeat tells of.
    await behind.execute(
        "update broker.open_executions set begun_at = now() - interval '40 s' where execution_id = $1", execution_id
    )
    await sweeper.sweep()
    (found,) = await executions(world, execution_id)
    assert (found.outcome, found.body["calls"]) == ("unknown", 0)


async def test_nothing_said_in_clear_is_kept_that_the_audit_would_not_keep(
    kept: Keeping, world: World, person: Person, upstream: Upstream
) -> None:
    caller = await caller_of(world, person, upstream)
    secret = "cfut_" + "x" * 40
    event = ExecutionDone(caller, caller.now, new_id(), "cf_execute", "cf", "ok", intent=f"use {secret}")
    await kept.keep_code(caller.tenant_id, event.execution_id, caller.now, CODE, Begun(facts_of(event), 5))
    async with world.db.tenant(world.tenant_id) as conn:
        rows = (await conn.exec_driver_sql("select facts::text from broker.open_executions")).all()
    assert rows
    assert secret not in str(rows)


async def test_one_that_was_refused_is_not_open(
    kept: Keeping, world: World, person: Person, upstream: Upstream, sweeper: Sweeper, behind: Any
) -> None:
    caller = await caller_of(world, person, upstream)
    execution_id = new_id()
    record = OnRecord(
        kept,
        caller.tenant_id,
        execution_id,
        caller.now,
        CODE,
        lambda: Begun(facts_of(event_of(caller, execution_id)), 5),
    )
    await record.withdraw()  # nothing was begun
    record.begin()
    await record.withdraw()
    assert record.durable
    await behind.execute("update broker.open_executions set deadline_at = now() - interval '1 h'")
    await sweeper.sweep()
    assert await executions(world, execution_id) == []

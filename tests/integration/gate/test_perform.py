"""One call through the gate: what is sent, what is written, what is answered."""

import asyncio
from datetime import timedelta

import pytest

from broker.audit.rows import EventRow
from broker.db import functions
from broker.errors import Problem
from broker.gate import revoke
from broker.gate.claims import Settled, Settlement
from broker.ids import new_id
from connectors.base import Answer, Permit, Prepared
from connectors.errors import EgressRefused, ResponseTooLarge, UpstreamTimeout, UpstreamUnreachable
from tests.integration.gate.world import WRITE, Node, Upstream, World, answer, forever


async def test_a_call_is_sent_once_with_the_own_secret_and_leaves_intent_and_outcome(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya = await world.person("priya")
    call = await world.call(priya, upstream, intent="look at things")
    done = await node.gate.perform(call, upstream.prepared())
    assert done.answer.status == 200
    assert [secret for _, secret in upstream.sent] == [priya.credential]
    assert done.budget is not None
    assert (done.budget.limit, done.budget.remaining, done.budget.reset_seconds) == (1200, 1199, 0)
    assert (done.call.status, done.call.sent, done.call.effect) == (200, True, "read")
    intent, outcome = await world.events()
    assert (intent.kind, outcome.kind, outcome.outcome) == ("intent", "outcome", "ok")
    assert (intent.at, intent.call_id, intent.execution_id) == (outcome.at, outcome.call_id, call.execution_id)
    assert outcome.identifier == "priya"
    assert await world.open_calls() == 0
    assert node.measures[0].outcome == "ok"


@pytest.mark.parametrize(
    ("error", "outcome", "code", "sent", "freed"),
    [
        (UpstreamTimeout("slow", sent="unknown"), "timeout", "upstream_timeout", "unknown", False),
        (UpstreamUnreachable("no route", sent=False), "not_sent", "upstream_unreachable", False, True),
        (UpstreamUnreachable("reset", sent="unknown"), "unknown", "outcome_unknown", "unknown", False),
        (ResponseTooLarge(10), "unknown", "payload_too_large", True, False),
        (EgressRefused("host", "not there"), "not_sent", "egress_refused", False, True),
        (ValueError("a fault of ours"), "unknown", "internal", "unknown", False),
    ],
)
async def test_every_failure_ends_in_an_outcome_and_books_what_may_have_arrived(
    world: World, node: Node, upstream: Upstream, error: Exception, outcome: str, code: str, sent: object, freed: bool
) -> None:
    priya = await world.person("priya")

    async def fail(_: Prepared) -> Answer:
        raise error

    upstream.reply = fail
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared(WRITE))
    assert (caught.value.code, caught.value.sent) == (code, sent)
    assert [e.outcome for e in await world.events("outcome")] == [outcome]
    assert await world.open_calls() == 0

    upstream.reply = upstream._ok
    after = await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert after.budget is not None
    assert after.budget.remaining == (1199 if freed else 1198)


async def test_an_upstreams_own_error_is_an_answer_and_a_403_is_learned_from(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya = await world.person("priya")

    async def forbidden(_: Prepared) -> Answer:
        return answer(403)

    upstream.reply = forbidden
    done = await node.gate.perform(await world.call(priya, upstream), upstream.prepared(WRITE))
    await node.dispatch.close()
    assert done.answer.is_error
    assert [e.outcome for e in await world.events("outcome")] == ["upstream_error"]
    assert node.learned == [(world.tenant_id, priya.account_id, WRITE.id, "Things Write")]


async def test_refusals_send_nothing_and_are_recorded(world: World, node: Node, upstream: Upstream) -> None:
    priya = await world.person("priya")
    call = await world.call(priya, upstream)
    upstream.permit_verdict = Permit("denied", missing="Things Write")
    with pytest.raises(Problem) as caught:
        await node.gate.perform(call, upstream.prepared(WRITE))
    assert (caught.value.code, caught.value.sent, caught.value.recorded) == ("not_permitted_upstream", False, True)
    await world.execute("update broker.grants set access = 'read'")
    upstream.permit_verdict = Permit("allowed")
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared(WRITE))
    assert caught.value.code == "not_granted"
    assert str(caught.value.execution_id) in str(caught.value.hint)
    assert upstream.sent == []
    assert [e.kind for e in await world.events()] == ["refusal", "refusal"]


async def test_policy_that_changed_after_the_look_up_is_decided_anew(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya = await world.person("priya")
    call = await world.call(priya, upstream)
    async with world.db.tenant(world.tenant_id) as conn:
        await revoke.policy_changed(conn, world.tenant_id)
    assert (await node.gate.perform(call, upstream.prepared(WRITE))).answer.status == 200

    stale = await world.call(priya, upstream)
    await world.execute("update broker.grants set deleted_at = now()")
    async with world.db.tenant(world.tenant_id) as conn:
        await revoke.policy_changed(conn, world.tenant_id)
    with pytest.raises(Problem) as caught:
        await node.gate.perform(stale, upstream.prepared(WRITE))
    assert caught.value.code == "not_granted"
    assert len(upstream.sent) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("update broker.identities set status = 'disabled'", "identity_disabled"),
        ("update broker.bearers set revoked_at = now()", "unauthenticated"),
        ("update broker.bearers set expires_at = now()", "session_expired"),
        ("update broker.accounts set status = 'revoked', revoked_at = now()", "revoked"),
        ("update broker.accounts set status = 'needs_reauth'", "needs_reauth"),
        ("update broker.accounts set upstream_expires_at = now()", "needs_reauth"),
        ("update vault.credentials set status = 'revoked'", "revoked"),
        ("update broker.connections set status = 'suspended'", "forbidden"),
        ("update broker.connections set version = 9", "unavailable"),
        ("update broker.tenants set status = 'suspended' where id = broker.tenant()", "forbidden"),
    ],
)
async def test_admit_sees_whatever_was_taken_away_since_the_look_up(
    world: World, node: Node, upstream: Upstream, change: str, code: str
) -> None:
    priya = await world.person("priya")
    call = await world.call(priya, upstream)
    await world.execute(change)
    with pytest.raises(Problem) as caught:
        await node.gate.perform(call, upstream.prepared())
    assert (caught.value.code, caught.value.sent) == (code, False)
    assert upstream.sent == []
    assert await world.events("intent") == []


async def test_a_client_that_goes_away_stops_the_call_and_it_is_settled_as_cancelled(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya = await world.person("priya")
    gone = asyncio.Event()

    async def hang(_: Prepared) -> Answer:
        try:
            await forever()
        finally:
            gone.set()
        raise AssertionError

    upstream.reply = hang
    task = asyncio.create_task(node.gate.perform(await world.call(priya, upstream), upstream.prepared()))
    while not upstream.sent:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone.is_set()
    await node.dispatch.close()
    assert [e.outcome for e in await world.events("outcome")] == ["cancelled"]
    assert await world.open_calls() == 0


@pytest.mark.parametrize("moment", ["before", "during", "after"])
async def test_a_client_that_goes_away_while_its_call_is_settled_leaves_one_true_outcome(
    world: World, node: Node, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    principal = new_id().bytes * 2
    priya = await world.person("priya", principal)
    settle, held = node.admissions._settle, asyncio.Event()

    async def slow(settlement: Settlement, row: EventRow) -> Settled:
        if held.is_set():
            return await settle(settlement, row)
        held.set()
        if moment == "before":
            await forever()
        settled = await settle(settlement, row)
        if moment == "after":
            await forever()
        return settled

    monkeypatch.setattr(node.admissions, "_settle", slow)
    task = asyncio.create_task(node.gate.perform(await world.call(priya, upstream), upstream.prepared()))
    await held.wait()
    if moment == "after":
        while await world.open_calls():
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await node.dispatch.close()
    assert [e.outcome for e in await world.events("outcome")] == ["ok"]
    assert await world.open_calls() == 0
    assert await _used(world, principal) == 1


async def _used(world: World, principal: bytes) -> int:
    row = await world.db.pool.fetchrow(
        functions.call("select * from broker.budget_reserve{v}($1, 'rest', 1200, 300, 1, 0, 60, $2, $2)"),
        principal,
        world.tenant_id,
    )
    return 1200 - 1 - int(row["remaining"])


async def test_an_account_that_moved_to_another_principal_is_booked_there_at_once(
    world: World, node: Node, upstream: Upstream
) -> None:
    before, after = new_id().bytes * 2, new_id().bytes * 2
    priya = await world.person("priya", before)
    for _ in range(2):  # the second starts from what the first was told
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    await world.execute("update broker.accounts set principal_key = :key", key=after)
    for _ in range(3):
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert [await _used(world, key) for key in (before, after)] == [2, 3]
    assert len(await world.events("intent")) == len(await world.events("outcome")) == 5


async def test_a_remembered_principal_whose_budget_is_used_up_refuses_nobody_who_has_moved(
    world: World, node: Node
) -> None:
    small = Upstream(2)
    priya = await world.person("priya")
    for _ in range(2):
        await node.gate.perform(await world.call(priya, small), small.prepared())
    with pytest.raises(Problem) as told:
        await node.gate.perform(await world.call(priya, small), small.prepared())
    assert told.value.code == "budget_exhausted"
    mara = await world.person("mara")
    for _ in range(2):
        await node.gate.perform(await world.call(mara, small), small.prepared())
    await world.execute("update broker.accounts set principal_key = :key", key=new_id().bytes * 2)
    await node.gate.perform(await world.call(mara, small), small.prepared())


async def test_a_connector_that_ignores_its_timeout_is_cut_off(world: World, node: Node, upstream: Upstream) -> None:
    priya = await world.person("priya")

    async def hang(_: Prepared) -> Answer:
        await forever()
        raise AssertionError

    upstream.reply = hang
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream, seconds=0.3), upstream.prepared())
    assert (caught.value.code, caught.value.sent) == ("upstream_timeout", "unknown")
    assert [e.outcome for e in await world.events("outcome")] == ["timeout"]


async def test_a_passed_deadline_sends_nothing(world: World, node: Node, upstream: Upstream) -> None:
    priya = await world.person("priya")
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream, seconds=-1), upstream.prepared())
    assert (caught.value.code, caught.value.sent) == ("upstream_timeout", False)
    assert upstream.sent == []


async def test_an_edited_credential_does_not_open_and_nothing_is_sent(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya = await world.person("priya")
    await world.execute("update vault.credentials set origins = array['https://evil.example']")
    with pytest.raises(Problem) as caught:
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
    assert (caught.value.code, caught.value.sent) == ("unavailable", False)
    assert upstream.sent == []
    assert [e.outcome for e in await world.events("outcome")] == ["not_sent"]


async def test_too_many_calls_in_flight_are_refused(world: World, node: Node, upstream: Upstream) -> None:
    priya = await world.person("priya")
    release = asyncio.Event()

    async def hold(_: Prepared) -> Answer:
        await release.wait()
        return answer()

    upstream.reply = hold
    node.in_flight._per_identity = 2
    calls = [await world.call(priya, upstream) for _ in range(3)]
    running = [asyncio.create_task(node.gate.perform(c, upstream.prepared())) for c in calls[:2]]
    while len(upstream.sent) < 2:
        await asyncio.sleep(0.005)
    with pytest.raises(Problem) as caught:
        await node.gate.perform(calls[2], upstream.prepared())
    assert (caught.value.code, caught.value.retry_after) == ("rate_limited", 1)
    release.set()
    await asyncio.gather(*running)
    await node.gate.perform(calls[2], upstream.prepared())


async def test_last_used_is_touched_at_most_once_a_minute(world: World, node: Node, upstream: Upstream) -> None:
    priya = await world.person("priya")
    seen = []
    for _ in range(2):
        await node.gate.perform(await world.call(priya, upstream), upstream.prepared())
        async with world.db.tenant(world.tenant_id) as conn:
            row = (await conn.exec_driver_sql("select last_used_at from broker.accounts")).one()
        seen.append(row[0])
    assert seen[0] is not None
    assert seen[0] == seen[1]
    assert seen[0] - node.clock.now() < timedelta(seconds=5)

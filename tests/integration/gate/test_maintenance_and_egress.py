"""Our own calls with a credential that is not in use yet, and the rate of the installation's address."""

import asyncio
from datetime import timedelta
from time import monotonic

import asyncpg
import pytest

from broker.clock import SystemClock
from broker.db.database import Database
from broker.errors import Problem
from broker.gate.egress_rate import EgressRate
from broker.gate.maintenance import MaintenanceCall
from broker.gate.usage import budget_use
from broker.ids import new_id
from connectors.base import Answer, Prepared
from connectors.errors import UpstreamTimeout
from tests.integration.gate.test_budget_ring import most_in_any
from tests.integration.gate.world import ORIGIN, Node, Person, Upstream, World


async def _call(world: World, person: Person, upstream: Upstream, principal: str | None) -> MaintenanceCall:
    resolved = await world.resolve(person.token)
    return MaintenanceCall(
        caller=resolved.caller,
        connection=resolved.connections[0],
        connector=upstream,  # type: ignore[arg-type]
        account_id=person.account_id,
        principal=principal,
        execution_id=new_id(),
        n=1,
        deadline=SystemClock().now() + timedelta(seconds=10),
    )


async def test_a_pending_account_is_verified_through_the_gate(world: World, node: Node, upstream: Upstream) -> None:
    priya = await world.person("priya")
    await world.execute("update broker.accounts set status = 'pending', principal_key = null")
    await world.execute("update broker.grants set deleted_at = now()")
    call = await _call(world, priya, upstream, "credential:abc")
    assert (await node.maintenance.perform(call, upstream.prepared())).status == 200
    assert [secret for _, secret in upstream.sent] == [priya.credential]
    intent, outcome = await world.events()
    assert (intent.kind, intent.body["reason"], outcome.outcome) == ("intent", "maintenance", "ok")
    await node.maintenance.book(
        upstream,  # type: ignore[arg-type]
        ORIGIN,
        world.tenant_id,
        "user:1",
        upstream.meters,
        3,
    )
    key = node.principals.key(upstream, ORIGIN, world.tenant_id, "user:1")  # type: ignore[arg-type]
    await world.execute("update broker.accounts set principal_key = :k", k=key)
    (use,) = await budget_use(world.db, world.tenant_id)
    assert use.used + use.foreign == 3


async def test_a_revoked_account_is_not_even_verified(world: World, node: Node, upstream: Upstream) -> None:
    priya = await world.person("priya")
    await world.execute("update broker.accounts set status = 'revoked', revoked_at = now()")
    with pytest.raises(Problem) as caught:
        await node.maintenance.perform(await _call(world, priya, upstream, None), upstream.prepared())
    assert caught.value.code == "revoked"
    assert upstream.sent == []


async def test_the_connectors_own_fault_comes_through(world: World, node: Node, upstream: Upstream) -> None:
    priya = await world.person("priya")

    async def slow(_: Prepared) -> Answer:
        raise UpstreamTimeout("slow", sent="unknown")

    upstream.reply = slow
    with pytest.raises(UpstreamTimeout):
        await node.maintenance.perform(await _call(world, priya, upstream, None), upstream.prepared())
    assert [e.outcome for e in await world.events("outcome")] == ["timeout"]


async def test_leases_never_add_up_to_more_than_the_total_and_shift_to_who_needs_them(
    db: Database, behind: asyncpg.Connection
) -> None:
    await behind.execute("delete from broker.egress_leases")
    one, two = EgressRate(db, new_id(), 50), EgressRate(db, new_id(), 50)
    assert await one.lease(50) == 50
    assert await two.lease(50) == 0
    assert await one.lease(50) == 25
    assert await two.lease(50) == 25
    assert await one.lease(10) == 10
    assert await two.lease(50) == 40
    assert await one.lease(50) == 10
    assert await two.lease(50) == 25
    assert await one.lease(50) == 25


async def test_two_processes_together_keep_to_the_rate_and_use_it(db: Database, behind: asyncpg.Connection) -> None:
    await behind.execute("delete from broker.egress_leases")
    rates = [EgressRate(db, new_id(), 40) for _ in range(2)]
    renewing = [asyncio.create_task(rate.run()) for rate in rates]
    sent: list[float] = []
    until = monotonic() + 4.5

    async def send(rate: EgressRate) -> None:
        tenant = new_id()
        while monotonic() < until:
            try:
                await rate.turn(tenant, until)
            except TimeoutError:
                return
            sent.append(monotonic())

    await asyncio.gather(*(send(rate) for rate in rates for _ in range(30)))
    for task in renewing:
        task.cancel()
    await asyncio.gather(*renewing, return_exceptions=True)
    # Measured after the wake-up: a few milliseconds of scheduling blur the edge of the second.
    assert most_in_any(sent, 0.98) <= 40
    assert len(sent) >= 90

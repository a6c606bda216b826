"""Calls that somebody else has in hand with the account of one who leaves."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text

from broker.clock import SystemClock
from broker.db import functions
from broker.gate import revoke
from broker.gate.maintenance import MaintenanceCall
from broker.ids import new_id
from connectors.base import Answer, Prepared
from tests.integration.gate.conftest import make_world, node, upstream, vault_, world
from tests.integration.gate.world import OK, Node, Person, Upstream, World

__all__ = ["make_world", "node", "upstream", "vault_", "world"]


async def _offboard(there: World, person: Person) -> revoke.RevokedIdentity:
    async with there.db.tenant(there.tenant_id) as conn:
        return await revoke.identity(conn, there.tenant_id, person.identity_id, "left", SystemClock().now())


async def test_an_admins_verification_of_their_account_is_named(world: World, node: Node, upstream: Upstream) -> None:
    priya, admin = await world.person("priya"), await world.person("admin")
    sending, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Prepared) -> Answer:
        sending.set()
        await go_on.wait()
        return OK

    upstream.reply = slow
    resolved = await world.resolve(admin.token)
    call = MaintenanceCall(
        caller=replace(resolved.caller, identity=None),
        connection=resolved.connections[0],
        connector=upstream,  # type: ignore[arg-type]
        account_id=priya.account_id,
        principal=None,
        execution_id=new_id(),
        n=1,
        deadline=SystemClock().now() + timedelta(seconds=10),
    )
    running = asyncio.ensure_future(node.maintenance.perform(call, upstream.prepared()))
    await sending.wait()
    gone = await _offboard(world, priya)
    go_on.set()
    await running
    assert call.execution_id in gone.in_flight


async def test_offboarding_waits_for_what_is_being_admitted_on_their_account(world: World) -> None:
    """An admission that has looked and not yet committed would else be let through after the proof was given."""
    priya = await world.person("priya")
    lock = text(functions.call("select broker.gate_lock{v}('account', :account, false)"))
    async with world.db.tenant(world.tenant_id) as conn:
        await conn.execute(lock, {"account": priya.account_id})
        leaving = asyncio.ensure_future(_offboard(world, priya))
        done, _ = await asyncio.wait({leaving}, timeout=0.3)
        assert not done
    assert [a.id for a in (await leaving).accounts] == [priya.account_id]

"""The one call that a revoked credential is admitted for: giving it back, while that is asked for."""

from datetime import timedelta

import pytest

from broker.clock import SystemClock
from broker.errors import Problem
from broker.gate import revoke
from broker.gate.maintenance import MaintenanceCall
from broker.ids import new_id
from connectors.base import Operation
from connectors.mcp_upstream.oauth.renewal import REFRESH, REVOKE
from tests.integration.gate.world import READ, Node, Person, Upstream, World

GIVE_BACK = Operation(REVOKE, "POST", "/oauth/revoke", "write")


async def _asked(world: World, priya: Person, admin: Person, upstream: Upstream) -> MaintenanceCall:
    """Revoked, and a call of the admin's for that account."""
    resolved = await world.resolve(admin.token)
    async with world.db.tenant(world.tenant_id) as conn:
        await revoke.account(conn, world.tenant_id, priya.account_id, "left", SystemClock().now())
    return MaintenanceCall(
        caller=resolved.caller,
        connection=resolved.connections[0],
        connector=upstream,  # type: ignore[arg-type]
        account_id=priya.account_id,
        principal=None,
        execution_id=new_id(),
        n=1,
        deadline=SystemClock().now() + timedelta(seconds=10),
    )


async def test_a_revoked_credential_is_given_back_and_nothing_else(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya, admin = await world.person("priya"), await world.person("admin")
    call = await _asked(world, priya, admin, upstream)
    refused = [READ, Operation(REFRESH, "POST", "/oauth/refresh", "write")]
    for standing in ("pending", "deleted", "kept", "failed", None):
        await world.execute("update broker.accounts set giving_back = :s where status = 'revoked'", s=standing)
        for operation in refused if standing == "pending" else [*refused, GIVE_BACK]:
            with pytest.raises(Problem) as caught:
                await node.maintenance.perform(call, upstream.prepared(operation))
            assert caught.value.code == "revoked", (standing, operation.id)
    assert upstream.sent == []
    await world.execute("update broker.accounts set giving_back = 'pending' where status = 'revoked'")
    assert (await node.maintenance.perform(call, upstream.prepared(GIVE_BACK))).status == 200
    assert [secret for _, secret in upstream.sent] == [priya.credential]
    assert [e.outcome for e in await world.events("outcome")] == ["ok"]


async def test_a_tool_cannot_call_itself_that(world: World, node: Node, upstream: Upstream) -> None:
    """The name of the operation opens nothing to whoever asks for a tool."""
    priya = await world.person("priya")
    call = await world.call(priya, upstream)
    async with world.db.tenant(world.tenant_id) as conn:
        await revoke.account(conn, world.tenant_id, priya.account_id, "left", SystemClock().now())
    await world.execute("update broker.accounts set giving_back = 'pending'")
    with pytest.raises(Problem):
        await node.gate.perform(call, upstream.prepared(Operation(REVOKE, "GET", "/things", "read", annotated=True)))
    assert upstream.sent == []


async def test_who_was_suspended_gives_nothing_back(world: World, node: Node, upstream: Upstream) -> None:
    priya, admin = await world.person("priya"), await world.person("admin")
    call = await _asked(world, priya, admin, upstream)
    await world.execute("update broker.accounts set giving_back = 'pending' where status = 'revoked'")
    async with world.db.tenant(world.tenant_id) as conn:
        await revoke.bearer(conn, world.tenant_id, admin.bearer_id, "left", SystemClock().now())
    with pytest.raises(Problem) as caught:
        await node.maintenance.perform(call, upstream.prepared(GIVE_BACK))
    assert caught.value.code == "unauthenticated"
    assert upstream.sent == []

"""Once a revocation has committed nothing more is admitted, and what is open was named."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import SystemClock
from broker.db import functions
from broker.db.database import Database
from broker.db.notices import Notices
from broker.errors import Problem
from broker.gate import revoke
from broker.gate.types import Performed
from broker.identity.taking import hold_minter
from broker.turns import Turns
from connectors.base import Answer, Prepared
from tests.integration.gate.world import OK, Node, Person, Upstream, World, forever
from vault.store import Vault


@pytest_asyncio.fixture
async def nodes(server: Any, vault_: Vault) -> AsyncIterator[list[Node]]:
    """Three processes' worth of gates, each with its own pools."""
    opened = [await Database.open(url=server.app_url, connect=server.app, hot=4, admin=2) for _ in range(3)]
    yield [Node(db, vault_) for db in opened]
    for db in opened:
        await db.close()


class Hammered:
    """An upstream that notes which execution arrived when, and callers that never pause."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.upstream = Upstream(limit=30_000)
        self.upstream.reply = self._reply
        self.sent: list[tuple[float, UUID]] = []
        self.execution: dict[int, UUID] = {}

    async def _reply(self, prepared: Prepared) -> Answer:
        self.sent.append((monotonic(), self.execution[int(prepared.query)]))
        await asyncio.sleep(random.uniform(0, 0.01))
        return OK

    async def hammer(self, node: Node, person: Person, stop: asyncio.Event) -> None:
        """Calls until refused."""
        while not stop.is_set():
            try:
                call = await self.world.call(person, self.upstream)
                serial = len(self.execution) + 1
                self.execution[serial] = call.execution_id
                await node.gate.perform(call, self.upstream.prepared(query=str(serial)))
            except Problem:
                return


async def take_away(kind: str, world: World, person: Person) -> revoke.Revoked:
    """Revokes what the person's calls stand on, in a transaction of its own."""
    tenant_id, now = world.tenant_id, SystemClock().now()
    async with world.db.tenant(tenant_id) as conn:
        match kind:
            case "account":
                return await revoke.account(conn, tenant_id, person.account_id, "test", now)
            case "bearer":
                return await revoke.bearer(conn, tenant_id, person.bearer_id, "test", now)
            case "identity":
                return await revoke.identity(conn, tenant_id, person.identity_id, "test", now)
            case "connection":
                return await revoke.connection(conn, tenant_id, world.connection_id, "test", now)
            case "tenant":
                return await revoke.set_tenant_status(conn, tenant_id, "suspended", now)
            case _:
                await revoke.policy_changed(conn, tenant_id)
                return revoke.Revoked(now, ())


@pytest.mark.slow
async def test_60_revocations_under_hammering_let_nothing_out_unnamed(world: World, nodes: list[Node]) -> None:
    """Shortened form of `python -m bench.revocation`."""
    hammered = Hammered(world)
    unaccounted = []
    for round_ in range(60):
        person = await world.person(f"p{round_}")
        stop = asyncio.Event()
        tasks = [asyncio.create_task(hammered.hammer(node, person, stop)) for node in nodes for _ in range(6)]
        await asyncio.sleep(random.uniform(0.01, 0.03))
        done = await take_away(("account", "bearer", "identity")[round_ % 3], world, person)
        returned = monotonic()
        await asyncio.sleep(0.03)
        stop.set()
        await asyncio.gather(*tasks)
        unaccounted += [e for at, e in hammered.sent if at > returned and e not in done.in_flight]
        hammered.sent.clear()
    assert unaccounted == []
    assert len(hammered.execution) > 120


async def test_revoking_a_key_takes_what_it_minted_in_every_tenant(
    make_world: Callable[[], Awaitable[World]], node: Node, upstream: Upstream
) -> None:
    home, away = await make_world(), await make_world()
    priya = await away.person("priya")
    async with away.db.tenant(away.tenant_id) as conn:
        name = (await conn.execute(text("select name from broker.tenants where id = broker.tenant()"))).scalar_one()
    key, token = await home.key(tenants=[name], identifiers=["*"])
    child, child_token = await away.session(priya.identity_id, parent=key, root=key)
    grandchild, _ = await away.session(priya.identity_id, parent=child, root=key)
    other, other_token = await away.session(priya.identity_id)
    stale = await away.call(priya, upstream, token=token, identifier="priya", tenant=name)
    assert stale.resolved.caller.tenant_id == away.tenant_id
    assert (await node.gate.perform(stale, upstream.prepared())).answer.status == 200

    async with home.db.tenant(home.tenant_id) as conn:
        done = await revoke.bearer(conn, home.tenant_id, key, "left", SystemClock().now())
    assert set(done.ids) == {key, child, grandchild}
    with pytest.raises(Problem) as caught:
        await node.gate.perform(stale, upstream.prepared())
    assert caught.value.code == "unauthenticated"
    with pytest.raises(Problem):
        await away.call(priya, upstream, token=child_token)
    assert (await away.call(priya, upstream, token=other_token)).account.id == priya.account_id
    assert other not in done.ids


@pytest.mark.parametrize("keep_minted", [False, True])
async def test_one_tenants_keys_hold_up_nobody_elses_but_those_that_reach_there_do(
    make_world: Callable[[], Awaitable[World]], node: Node, upstream: Upstream, keep_minted: bool
) -> None:
    """One platform admin minted the keys of both tenants: one family."""
    home, one, other = await make_world(), await make_world(), await make_world()
    root, _ = await home.key("operator", role="platform_admin")
    keys, calls = [], []
    for world in (one, other):
        priya = await world.person("priya")
        admin, _ = await world.key("operator", role="admin", root_id=root, parent_id=root)
        _, token = await world.session(priya.identity_id, parent=admin, root=root)
        keys.append(admin)
        calls.append(await world.call(priya, upstream, token=token))

    async def take(conn: AsyncConnection, world: World, key: UUID) -> None:
        if keep_minted:
            statement = text(functions.call("select broker.release_minted{v}(:t, :b)"))
            await conn.execute(statement, {"t": world.tenant_id, "b": key})
        else:
            await revoke.bearer(conn, world.tenant_id, key, "test", SystemClock().now())

    def admitting(number: int) -> "asyncio.Task[Performed]":
        return asyncio.create_task(node.gate.perform(calls[number], upstream.prepared()))

    async with one.db.tenant(one.tenant_id) as conn:
        await take(conn, one, keys[0])
        held = admitting(0)
        assert (await admitting(1)).answer.status == 200
        assert not held.done()
        await conn.rollback()
    assert (await held).answer.status == 200
    async with home.db.tenant(home.tenant_id) as conn:
        await take(conn, home, root)
        both = [admitting(0), admitting(1)]
        await asyncio.sleep(0.15)
        assert not any(task.done() for task in both)
        await conn.rollback()
    assert [(await task).answer.status for task in both] == [200, 200]


@pytest.mark.parametrize("parent", ["admin", "root"])
async def test_what_is_minted_waits_for_the_revocation_of_its_ancestors(
    make_world: Callable[[], Awaitable[World]], parent: str
) -> None:
    home, away = await make_world(), await make_world()
    root, _ = await home.key("operator", role="platform_admin")
    admin, token = await away.key("operator", role="admin", root_id=root, parent_id=root)
    caller = (await away.resolve(token)).caller
    place, taken = (home, root) if parent == "root" else (away, admin)
    minting = None
    async with place.db.tenant(place.tenant_id) as conn:
        await revoke.bearer(conn, place.tenant_id, taken, "test", SystemClock().now())

        async def mint() -> None:
            async with away.db.tenant(away.tenant_id) as other:
                await hold_minter(other, caller)

        minting = asyncio.create_task(mint())
        await asyncio.sleep(0.15)
        assert not minting.done()
    with pytest.raises(Problem) as caught:
        await minting
    assert caught.value.code == "unauthenticated"


async def test_a_revoked_token_stands_in_its_tenants_line_no_more(world: World) -> None:
    priya = await world.person("priya")
    turns = Turns(most=4, share=2)
    payers = []
    for _ in range(3):
        turn = await turns.take(b"Bearer " + priya.token.encode(), "192.0.2.1")
        payers.append(turn.payer)
        with suppress(Problem):
            await world.resolve(priya.token)
        turn.end()
        async with world.db.tenant(world.tenant_id) as conn:
            await revoke.bearer(conn, world.tenant_id, priya.bearer_id, "test", SystemClock().now())
    assert payers == ["192.0.2.1", world.tenant_id, "192.0.2.1"]


async def test_offboarding_takes_sessions_keys_of_its_own_and_accounts(world: World, node: Node) -> None:
    priya, marco = await world.person("priya"), await world.person("marco")
    own, _ = await world.key(identifiers=["priya"])
    both, _ = await world.key(identifiers=["priya", "marco"])
    async with world.db.tenant(world.tenant_id) as conn:
        done = await revoke.identity(conn, world.tenant_id, priya.identity_id, "left", SystemClock().now())
    assert done.sessions == (priya.bearer_id,)
    assert done.keys == (own,)
    assert [(a.id, a.connection_name) for a in done.accounts] == [(priya.account_id, "fake")]
    async with world.db.tenant(world.tenant_id) as conn:
        again = await revoke.identity(conn, world.tenant_id, priya.identity_id, "left", SystemClock().now())
        left = (await conn.execute(text("select id from broker.bearers where revoked_at is null"))).scalars().all()
        sealed = (await conn.execute(text("select account_id, status from vault.credentials"))).all()
    assert (again.at, again.sessions, again.keys, again.accounts) == (done.at, (), (), ())
    assert set(left) == {marco.bearer_id, both}
    assert dict(tuple(row) for row in sealed) == {priya.account_id: "revoked", marco.account_id: "active"}


async def test_a_deleted_connection_and_a_suspended_tenant_admit_nothing(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya = await world.person("priya")
    call = await world.call(priya, upstream)
    now = SystemClock().now()
    async with world.db.tenant(world.tenant_id) as conn:
        await revoke.set_tenant_status(conn, world.tenant_id, "suspended", now)
    with pytest.raises(Problem) as caught:
        await node.gate.perform(call, upstream.prepared())
    assert caught.value.code == "forbidden"
    async with world.db.tenant(world.tenant_id) as conn:
        await revoke.set_tenant_status(conn, world.tenant_id, "active", now)
    assert (await node.gate.perform(await world.call(priya, upstream), upstream.prepared())).answer.status == 200
    call = await world.call(priya, upstream)
    async with world.db.tenant(world.tenant_id) as conn:
        await revoke.connection(conn, world.tenant_id, world.connection_id, "gone", now)
    with pytest.raises(Problem) as caught:
        await node.gate.perform(call, upstream.prepared())
    assert caught.value.code == "revoked"
    assert len(upstream.sent) == 1


async def test_a_revocation_elsewhere_stops_the_call_here_and_drains(
    world: World, nodes: list[Node], upstream: Upstream, server: Any
) -> None:
    here, there = nodes[0], nodes[1]
    priya = await world.person("priya")

    async def hang(_: Prepared) -> Answer:
        await forever()
        raise AssertionError

    upstream.reply = hang
    notices = Notices(here.db, server.app)
    notices.hear(revoke.CANCEL_CHANNEL, here.in_flight.heard)
    listener = asyncio.create_task(notices.run())
    call = await world.call(priya, upstream)
    running = asyncio.create_task(here.gate.perform(call, upstream.prepared()))
    while not upstream.sent:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.2)  # the listener has connected
    async with there.db.tenant(world.tenant_id) as conn:
        done = await revoke.identity(conn, world.tenant_id, priya.identity_id, "left", SystemClock().now())
        await revoke.cancel(conn, done.open_calls)
    assert done.in_flight == [call.execution_id]
    assert await there.drain.open(done.open_calls, 5) == frozenset()
    with pytest.raises(Problem) as caught:
        await running
    assert (caught.value.code, caught.value.sent) == ("revoked", "unknown")
    assert [e.outcome for e in await world.events("outcome")] == ["cancelled"]
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener


async def test_a_revocation_waits_for_no_upstream_and_names_what_is_open(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya = await world.person("priya")
    release = asyncio.Event()

    async def hold(_: Prepared) -> Answer:
        await release.wait()
        return OK

    upstream.reply = hold
    call = await world.call(priya, upstream)
    running = asyncio.create_task(node.gate.perform(call, upstream.prepared()))
    while not upstream.sent:
        await asyncio.sleep(0.005)
    async with world.db.tenant(world.tenant_id) as conn:
        done = await revoke.account(conn, world.tenant_id, priya.account_id, "test", SystemClock().now())
    assert done.in_flight == [call.execution_id]
    assert len(await node.drain.open(done.open_calls, 0.1)) == 1
    release.set()
    assert (await running).answer.status == 200
    assert await node.drain.open(done.open_calls, 0) == frozenset()


async def test_a_policy_change_that_is_not_committed_yet_holds_admissions_up_but_not_for_ever(
    world: World, node: Node, upstream: Upstream
) -> None:
    priya = await world.person("priya")
    call = await world.call(priya, upstream)
    async with world.db.tenant(world.tenant_id) as conn:
        await revoke.policy_changed(conn, world.tenant_id)
        with pytest.raises(Problem) as caught:
            await node.gate.perform(call, upstream.prepared())
        assert (caught.value.code, caught.value.retry_after, caught.value.sent) == ("unavailable", 1, False)
    assert (await node.gate.perform(call, upstream.prepared())).answer.status == 200


@pytest.mark.parametrize("kind", ["account", "bearer", "identity", "connection", "tenant", "policy"])
async def test_every_revocation_waits_for_an_admission_on_its_object_that_is_under_way(world: World, kind: str) -> None:
    priya = await world.person("priya")
    objects = {"account": priya.account_id, "bearer": priya.bearer_id, "identity": priya.identity_id}
    lock = functions.call("select broker.gate_lock{v}($1, $2, false)")
    family = functions.call("select broker.bearer_lock{v}($1, $2, false, false)")
    async with world.db.pool.acquire() as connection, connection.transaction():
        if kind == "bearer":
            await connection.execute(family, priya.bearer_id, world.tenant_id)
        else:
            await connection.execute(lock, kind if kind in objects else "tenant", objects.get(kind, world.tenant_id))
        taking = asyncio.create_task(take_away(kind, world, priya))
        await asyncio.sleep(0.15)
        assert not taking.done()
    await taking


@pytest.mark.parametrize("kind", ["tenant", "identity", "bearer", "account"])
async def test_every_admission_waits_for_a_revocation_that_is_under_way(
    world: World, node: Node, upstream: Upstream, kind: str
) -> None:
    priya = await world.person("priya")
    guarded = {
        "tenant": world.tenant_id,
        "identity": priya.identity_id,
        "bearer": priya.bearer_id,
        "account": priya.account_id,
    }
    call = await world.call(priya, upstream)
    lock = functions.call("select broker.gate_lock{v}($1, $2, true)")
    async with world.db.pool.acquire() as connection, connection.transaction():
        await connection.execute(lock, kind, guarded[kind])
        admitting = asyncio.create_task(node.gate.perform(call, upstream.prepared()))
        await asyncio.sleep(0.15)
        assert upstream.sent == []
    assert (await admitting).answer.status == 200

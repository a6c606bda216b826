"""Watching over callers: what counts as a change, what ends a watch, and how soon either is noticed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from broker.db.notices import Notices
from broker.errors import Problem
from broker.gate import revoke
from broker.identity.authenticate import Asked
from broker.identity.tokens import parse
from broker.tools.watching import PER_IDENTITY, PERIOD, Watch, Watching
from tests.conftest import Server
from tests.integration.accounts.world import MARCO, PRIYA, World

NOTIFIED = 1.0
"""Seconds; PERIOD is what it would take without a notification."""


@pytest.fixture
def notices(world: World, server: Server) -> Notices:
    return Notices(world.db, server.app)


@pytest.fixture
def watching(world: World, notices: Notices) -> Watching:
    return Watching(world.db, notices)


@contextmanager
def watched(watching: Watching, token: str, watch_as: object) -> Iterator[Watch]:
    asked = Asked(connection=None)
    with watching.watch(parse(token), asked, watch_as) as watch:  # type: ignore[arg-type]
        yield watch


@asynccontextmanager
async def running(watching: Watching, notices: Notices) -> AsyncIterator[None]:
    tasks = {asyncio.ensure_future(watching.run()), asyncio.ensure_future(notices.run())}
    await asyncio.sleep(0.3)  # it listens by now
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.fixture
async def token(world: World) -> str:
    await world.connect()
    await world.put(world.demo.priya_token.value)
    await world.grant("write")
    return await world.session()


async def test_nothing_changes_by_itself_or_by_use(world: World, watching: Watching, token: str) -> None:
    caller = (await world.base.resolve(token)).caller
    with watched(watching, token, caller) as watch:
        await watching.look([watch])
        first, changes = watch.standing, watch.changes
        await world.call(token, "GET /zones")
        await world.session(MARCO)
        await watching.look([watch])
        assert (watch.standing, watch.changes, watch.ended) == (first, changes, False)


async def test_grants_accounts_and_connections_count(world: World, watching: Watching, token: str) -> None:
    caller = (await world.base.resolve(token)).caller
    with watched(watching, token, caller) as watch:
        await watching.look([watch])
        seen = {watch.standing}

        async def differs() -> None:
            await watching.look([watch])
            assert watch.standing not in seen
            seen.add(watch.standing)

        await world.grant("read", identifier=PRIYA)
        await differs()
        soon = datetime.now(UTC) + timedelta(seconds=0.6)
        await world.grant("read", identifier=PRIYA, expires_at=soon)
        await differs()
        await asyncio.sleep(0.7)
        await differs()
        await world.connect("second")
        await differs()
        await world.execute(
            "update broker.accounts set status = 'needs_reauth', version = version + 1 where tenant_id = :t"
        )
        await differs()


async def test_a_bearer_that_is_gone_ends_it(world: World, watching: Watching, token: str) -> None:
    resolved = await world.base.resolve(token)
    with watched(watching, token, resolved.caller) as watch:
        await watching.look([watch])
        assert not watch.ended
        async with world.db.tenant(resolved.caller.tenant_id) as conn:
            now = (await world.admin()).now
            await revoke.bearer(conn, resolved.caller.tenant_id, resolved.caller.bearer.id, "over", now)
        await watching.look([watch])
        assert watch.ended


async def test_it_is_told_at_once(world: World, watching: Watching, notices: Notices, token: str) -> None:
    resolved = await world.base.resolve(token)
    async with running(watching, notices):
        with watched(watching, token, resolved.caller) as watch:
            await watching.look([watch])
            watch.stirred.clear()
            await world.grant("read", identifier=PRIYA)
            await asyncio.wait_for(watch.stir(), NOTIFIED)
            async with world.db.tenant(resolved.caller.tenant_id) as conn:
                identity = resolved.caller.identity
                assert identity is not None
                now = (await world.admin()).now
                await revoke.identity(conn, resolved.caller.tenant_id, identity.id, "left", now)
            await asyncio.wait_for(watch.stir(), NOTIFIED)
            assert watch.ended


async def test_what_nobody_told_is_noticed_all_the_same(
    world: World, watching: Watching, notices: Notices, token: str
) -> None:
    caller = (await world.base.resolve(token)).caller
    async with running(watching, notices):
        with watched(watching, token, caller) as watch:
            await watching.look([watch])
            watch.stirred.clear()
            await world.execute(
                "update broker.bearers set revoked_at = now() where tenant_id = :t and kind = 'session'"
            )
            await asyncio.wait_for(watch.stir(), PERIOD + 1.5)
            assert watch.ended


async def test_it_is_bounded_and_ends_with_the_process(world: World, watching: Watching, token: str) -> None:
    caller = (await world.base.resolve(token)).caller
    with ExitStack() as stack:
        watches = [stack.enter_context(watched(watching, token, caller)) for _ in range(PER_IDENTITY)]
        with pytest.raises(Problem) as caught, watched(watching, token, caller):
            pass
        assert caught.value.code == "rate_limited"
        watching.close()
        assert all(watch.ended for watch in watches)
    assert len(watching) == 0
    with pytest.raises(Problem), watched(watching, token, caller):
        pass

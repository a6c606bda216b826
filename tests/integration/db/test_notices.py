"""What processes tell each other: heard by all, on the right channel, also after the connection was lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from broker.db.database import Database
from broker.db.notices import Notices
from tests.conftest import Server

CHANNEL = "keyreeve_test_notices"


class Heard:
    """Everything that one process heard."""

    def __init__(self, notices: Notices, channel: str = CHANNEL) -> None:
        self.payloads: asyncio.Queue[str] = asyncio.Queue()
        notices.hear(channel, self.payloads.put_nowait)

    async def until(self, payload: str) -> None:
        while await asyncio.wait_for(self.payloads.get(), 30) != payload:
            pass


@asynccontextmanager
async def running(*processes: Notices) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one.run()) for one in processes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def listens(notices: Notices, heard: Heard, payload: str = "anybody?") -> None:
    """Tells until it is heard: a hint that comes before the listener is lost."""
    hearing = asyncio.ensure_future(heard.until(payload))
    while not hearing.done():
        await notices.tell(CHANNEL, payload)
        await asyncio.wait({hearing}, timeout=0.05)
    await hearing


async def test_all_hear_and_each_its_channels(db: Database, server: Server) -> None:
    one, two = Notices(db, server.app), Notices(db, server.app)
    first, second, other = Heard(one), Heard(two), Heard(two, f"{CHANNEL}_other")
    async with running(one, two):
        await listens(one, first)
        await listens(one, second)
        await one.tell(CHANNEL, "x" * 7999)
        await first.until("x" * 7999)
        await second.until("x" * 7999)
        await one.tell(f"{CHANNEL}_other", "only there")
        await other.until("only there")
        assert other.payloads.empty()


async def test_a_lost_connection_is_made_again(db: Database, server: Server) -> None:
    notices = Notices(db, server.app)
    heard = Heard(notices)
    async with running(notices):
        await listens(notices, heard)
        admin = await asyncpg.connect(**server.superuser)
        gone = await admin.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity where query ilike $1", f'LISTEN "{CHANNEL}"%'
        )
        await admin.close()
        assert gone, "nobody listened"
        await listens(notices, heard, "again")

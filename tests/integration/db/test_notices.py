"""What processes tell each other: heard by all, on the right channel, also after the connection was lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from broker.db import notices as listening
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


class Wire:
    """A way to the server that can fall silent under the connections it has, as where a network drops what it knew."""

    def __init__(self, server: dict[str, Any]) -> None:
        self._server = server
        self._live: list[asyncio.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def fall_silent(self) -> None:
        for live in self._live:
            live.clear()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[dict[str, Any]]:
        """The connection arguments that lead through it."""
        listener = await asyncio.start_server(self._join, "127.0.0.1", 0)
        try:
            yield {**self._server, "host": "127.0.0.1", "port": listener.sockets[0].getsockname()[1], "ssl": False}
        finally:
            listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._server["host"], self._server["port"]
        there, out = await (
            asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            if str(host).startswith("/")
            else asyncio.open_connection(host, port)
        )
        live = asyncio.Event()
        live.set()
        self._live.append(live)
        for source, target in ((reader, out), (there, writer)):
            task = asyncio.ensure_future(self._pump(source, target, live))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, live: asyncio.Event) -> None:
        try:
            while data := await source.read(65_536):
                await live.wait()
                target.write(data)
                await target.drain()
        finally:
            target.close()


async def test_a_connection_that_fell_silent_is_given_up(
    db: Database, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is ever said on it: only asking shows that it is gone."""
    monkeypatch.setattr(listening, "ALIVE_SECONDS", 0.1)
    monkeypatch.setattr(listening, "ANSWER_SECONDS", 1.0)
    wire = Wire(server.app)
    async with asyncio.timeout(60), wire.open() as way:
        notices = Notices(db, way)
        heard = Heard(notices)
        async with running(notices):
            await listens(notices, heard)
            wire.fall_silent()
            await listens(notices, heard, "again")
            wire.fall_silent()  # and stopping does not wait for it

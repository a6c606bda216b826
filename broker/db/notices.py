"""What the processes of one installation tell each other through PostgreSQL (NOTIFY), wherever they run.

Notices are hints: one that is sent while a listener reconnects is lost to it. They hold no secret, for every process
that may connect can read them, and no authority, for each could have sent them.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import asyncpg
import structlog

from broker.db.database import Database

_log = structlog.get_logger(__name__)

TROUBLE: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a database that is away looks like."""

_FIRST_DELAY, _MOST_DELAY = 0.1, 5.0
ALIVE_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 10.0
"""How often the connection is tried, and how long it may take to answer: a network that forgot it does not say so."""


class Notices:
    """One per process, with a connection of its own to listen on."""

    def __init__(self, db: Database, connect: dict[str, object]) -> None:
        self._db = db
        self._connect = connect
        self._hearers: dict[str, Callable[[str], None]] = {}

    def hear(self, channel: str, heard: Callable[[str], None]) -> None:
        """Hands every payload of `channel` to `heard`, also this process's own. Call it before `run`, once for each
        channel; `heard` must neither wait nor raise."""
        self._hearers[channel] = heard

    async def tell(self, channel: str, payload: str) -> None:
        """Tells every process: at most 7,999 bytes. Raises the driver's errors."""
        await self._db.pool.execute("select pg_notify($1, $2)", channel, payload)

    async def run(self) -> None:
        """Listens until cancelled."""
        delay = _FIRST_DELAY
        while True:
            try:
                await self._listen()
                delay = _FIRST_DELAY
            except TROUBLE as error:
                _log.warning("notices_lost", error=type(error).__name__, retry_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _MOST_DELAY)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(**self._connect, timeout=10)
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            for channel in self._hearers:
                await connection.add_listener(channel, self._heard)
            while not lost.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(lost.wait(), ALIVE_SECONDS)
                if not lost.is_set():
                    await connection.execute("select 1", timeout=ANSWER_SECONDS)
        finally:
            # Whatever comes of it must not stand in for what ended the listening: that may be a cancellation.
            with contextlib.suppress(*TROUBLE):
                await connection.close(timeout=2)

    def _heard(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._hearers[channel](str(payload))

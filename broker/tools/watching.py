"""Watching over callers who wait to be told that what they may use has changed, or that they may no longer wait.

One per process, however many wait: everybody's standing is asked for together, every `PERIOD` seconds, and at once for
the tenant of whom a revocation or a change of policy is heard (a notification; a hint, which may be lost).
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from broker.db import functions
from broker.db.database import Database
from broker.db.notices import Notices
from broker.domain import Caller
from broker.errors import Problem
from broker.gate.revoke import CHANGED_CHANNEL
from broker.identity.authenticate import Asked
from broker.identity.tokens import ParsedToken
from broker.ids import parse_id

_log = structlog.get_logger(__name__)

PERIOD: Final = 2.0
PER_IDENTITY: Final = 8
PER_TENANT: Final = 200
PER_PROCESS: Final = 500
_BATCH: Final = 100
_STANDING = "select * from broker.standing{v}($1, $2, $3, $4, $5)"

_Key = tuple[UUID, bytes, str | None, str | None, str | None]


@dataclass(slots=True, eq=False)
class Watch:
    """One caller who waits. `ended` says, once it is set, that the bearer is no longer good or the process ends."""

    key: _Key
    tenant_id: UUID
    standing: str | None = None
    changes: int = 0
    ended: bool = False
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def home_id(self) -> UUID:
        """The tenant in which the bearer lives."""
        return self.key[0]

    async def stir(self) -> None:
        """Waits until something has changed since the last `stir`, or it ended."""
        await self.stirred.wait()
        self.stirred.clear()

    def see(self, standing: str | None) -> None:
        """Takes in the standing just read."""
        if standing is None:
            self.end()
        elif standing != self.standing:
            self.standing = standing
            self.changes += 1
            self.stirred.set()

    def end(self) -> None:
        """Ends it."""
        self.ended = True
        self.stirred.set()


class Watching:
    """Everybody who waits in this process."""

    def __init__(self, db: Database, notices: Notices) -> None:
        self._db = db
        self._watches: set[Watch] = set()
        self._identities: Counter[UUID] = Counter()
        self._tenants: Counter[UUID] = Counter()
        self._heard: set[UUID] = set()
        self._wake = asyncio.Event()
        self._closed = False
        notices.hear(CHANGED_CHANNEL, self._hear)

    def __len__(self) -> int:
        return len(self._watches)

    @contextmanager
    def _room(self, caller: Caller, owner: UUID) -> Iterator[None]:
        full = (
            len(self._watches) >= PER_PROCESS
            or self._tenants[caller.tenant_id] >= PER_TENANT
            or self._identities[owner] >= PER_IDENTITY
        )
        if full or self._closed:
            raise Problem("rate_limited", "too many streams are open here", hint="close some", retry_after=10)
        self._tenants[caller.tenant_id] += 1
        self._identities[owner] += 1
        try:
            yield
        finally:
            for counts, key in ((self._tenants, caller.tenant_id), (self._identities, owner)):
                counts[key] -= 1
                if not counts[key]:
                    del counts[key]

    @contextmanager
    def watch(self, token: ParsedToken, asked: Asked, caller: Caller) -> Iterator[Watch]:
        """Watches over a caller until left. Call `look` with it before anything is promised. Raises Problem
        `rate_limited` where too many wait already."""
        owner = caller.tenant_id if caller.identity is None else caller.identity.id
        with self._room(caller, owner):
            key = (token.tenant_id, token.digest, asked.tenant, asked.identifier, asked.connection)
            watch = Watch(key, caller.tenant_id)
            self._watches.add(watch)
            try:
                yield watch
            finally:
                self._watches.discard(watch)

    async def look(self, watches: Sequence[Watch]) -> None:
        """Reads the standing of these now. Raises the database's errors."""
        by_key: dict[_Key, list[Watch]] = {}
        for watch in watches:
            by_key.setdefault(watch.key, []).append(watch)
        keys = list(by_key)
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH]
            columns = [[key[n] for key in some] for n in range(5)]
            rows = await self._db.pool.fetch(functions.call(_STANDING), *columns)
            for key, row in zip(some, rows, strict=True):
                for watch in by_key[key]:
                    watch.see(row[0])

    def close(self) -> None:
        """Ends everybody's waiting: the process is about to stop."""
        self._closed = True
        for watch in self._watches:
            watch.end()

    async def run(self) -> None:
        """Looks until cancelled."""
        loop = asyncio.get_running_loop()
        everybody_at = loop.time()
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.0, everybody_at - loop.time()))
            except TimeoutError:
                everybody_at = loop.time() + PERIOD
                self._heard.update(watch.tenant_id for watch in self._watches)
            self._wake.clear()
            await self._look_at_heard()

    async def _look_at_heard(self) -> None:
        heard, self._heard = self._heard, set()
        due = [watch for watch in self._watches if watch.tenant_id in heard or watch.home_id in heard]
        if not due:
            return
        try:
            await self.look(due)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Nobody can be told anything until the database is back; nobody can do anything either.
            _log.warning("watching_failed", error=type(error).__name__)
            await asyncio.sleep(PERIOD)

    def _hear(self, payload: str) -> None:
        tenant_id = parse_id(payload)
        if tenant_id is not None and self._watches:
            self._heard.add(tenant_id)
            self._wake.set()

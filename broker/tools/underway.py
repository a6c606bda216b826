"""The requests that their clients may take back by a message of their own (MCP until 2025-11-25: a client there does
not hang up), in whichever process of the installation they run.

A request is known by a digest of everything that tells it from others, its bearer's token first of all: only who holds
that token can name it. What is not found in this process is told to all others.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final
from uuid import UUID

import structlog

from broker.db.notices import TROUBLE, Notices
from broker.metrics import Metrics

_log = structlog.get_logger(__name__)

CHANNEL: Final = "keyreeve_taken_back"

PERIOD: Final = 0.2
"""Seconds between two notices of one process."""
PER_NOTICE: Final = 100
"""Requests in one notice: at 65 bytes each, PostgreSQL's bound of 8,000 is far."""
PER_TENANT: Final = 40
PER_BEARER: Final = 10
"""Of those. What is more is not told to anybody, and counted: its calls run to their end, or their deadline."""


class Underway:
    """One per process. Keys are hexadecimal digests."""

    def __init__(self, notices: Notices, metrics: Metrics) -> None:
        self._notices = notices
        self._metrics = metrics
        self._requests: dict[str, list[asyncio.Future[None]]] = {}
        self._untold: set[str] = set()
        self._asked: Counter[UUID | bytes] = Counter()
        self._wake = asyncio.Event()
        notices.hear(CHANNEL, self._heard)

    @contextlib.contextmanager
    def request(self, key: str) -> "Iterator[asyncio.Future[None]]":
        """A future that is done once the request is taken back."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests.setdefault(key, []).append(future)
        try:
            yield future
        finally:
            self._requests[key].remove(future)
            if not self._requests[key]:
                del self._requests[key]
            future.cancel()

    def take_back(self, key: str, tenant_id: UUID, bearer: bytes) -> None:
        """Ends the request of this key: here at once, elsewhere soon. `tenant_id` and `bearer` (its token's digest)
        are those of whoever asks for it: an authenticated caller."""
        if key in self._requests:
            self._end(key)
        elif key not in self._untold:
            self._ask_others(key, tenant_id, bearer)

    def _end(self, key: str) -> None:
        """Of two with the same key here nobody knows which is meant: both go on."""
        found = self._requests.get(key, [])
        if len(found) == 1 and not found[0].done():
            found[0].set_result(None)

    def _ask_others(self, key: str, tenant_id: UUID, bearer: bytes) -> None:
        asked = self._asked
        if len(self._untold) >= PER_NOTICE or asked[tenant_id] >= PER_TENANT or asked[bearer] >= PER_BEARER:
            self._metrics.cancellation_dropped()
            return
        asked.update((tenant_id, bearer))
        self._untold.add(key)
        self._wake.set()

    async def run(self) -> None:
        """Tells the other processes, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            keys, self._untold = self._untold, set()
            self._asked.clear()
            try:
                await self._notices.tell(CHANNEL, ",".join(keys))
            except TROUBLE as error:
                _log.warning("cancellations_not_told", requests=len(keys), error=type(error).__name__)
            await asyncio.sleep(PERIOD)

    def _heard(self, payload: str) -> None:
        for key in payload.split(",")[:PER_NOTICE]:
            self._end(key)

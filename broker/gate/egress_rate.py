"""The rate of this installation's address towards official origins: 200 requests a second over all processes.

Each process leases a part for a few seconds, outside any call, and keeps to it by itself: in no second does it send
more than its part. Calls beyond it wait their turn, round-robin by tenant. A process that sends little holds little.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from time import monotonic
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from broker.db import functions
from broker.db.database import Database
from broker.gate.round_trips import CONNECTION_LOST

_log = structlog.get_logger(__name__)

LEASE_SECONDS: Final = 10
_RENEW_SECONDS: Final = 2.0
_LEAST: Final = 10
"""What even an idle process asks for, so that a first burst need not wait."""

Waiter = asyncio.Future[None]


class Turns:
    """At most `rate` sends in any second, round-robin by tenant. Pure but for its futures and `elapsed`."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._sent: deque[float] = deque()
        self._queues: OrderedDict[UUID, deque[Waiter]] = OrderedDict()
        self.rate = 0
        self.asked = 0

    def free(self) -> bool:
        """Whether one may be sent now."""
        now = self._elapsed()
        while self._sent and self._sent[0] <= now - 1.0:
            self._sent.popleft()
        return len(self._sent) < self.rate

    def take(self) -> None:
        """One is sent now."""
        self._sent.append(self._elapsed())

    def waiting(self) -> int:
        """How many wait."""
        return sum(len(queue) for queue in self._queues.values())

    def enqueue(self, tenant_id: UUID, waiter: Waiter) -> None:
        """Puts a waiter at the end of its tenant's queue."""
        self._queues.setdefault(tenant_id, deque()).append(waiter)

    def leave(self, tenant_id: UUID, waiter: Waiter) -> None:
        """Takes a waiter out that gave up."""
        queue = self._queues.get(tenant_id)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._queues[tenant_id]

    def serve(self) -> None:
        """Lets as many through as may be sent now, one tenant after the other."""
        while self._queues and self.free():
            tenant_id, queue = next(iter(self._queues.items()))
            waiter = queue.popleft()
            if queue:
                self._queues.move_to_end(tenant_id)
            else:
                del self._queues[tenant_id]
            if not waiter.done():
                self.take()
                waiter.set_result(None)

    def next_free(self) -> float:
        """Seconds until another may be sent."""
        return max(0.0, self._sent[0] + 1.0 - self._elapsed()) if self._sent and self.rate else 0.05


class EgressRate:
    """One per process: `run` renews the lease in the background."""

    def __init__(self, db: Database, boot: UUID, total: int, elapsed: Callable[[], float] = monotonic) -> None:
        self._db = db
        self._boot = boot
        self._total = total
        self._elapsed = elapsed
        self._turns = Turns(elapsed)
        self._until = 0.0
        self._wake = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    async def turn(self, tenant_id: UUID, until: float) -> None:
        """Waits for the right to send one request. Raises TimeoutError when `until` (monotonic) comes first."""
        turns = self._turns
        turns.asked += 1
        if self._elapsed() < self._until and not turns.waiting() and turns.free():
            turns.take()
            return
        waiter: Waiter = asyncio.get_running_loop().create_future()
        turns.enqueue(tenant_id, waiter)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        try:
            async with asyncio.timeout(max(0.0, until - self._elapsed())):
                await waiter
        finally:
            turns.leave(tenant_id, waiter)

    async def run(self) -> None:
        """Renews the lease until cancelled."""
        while True:
            asked, self._turns.asked = self._turns.asked, 0
            wanted = max(_LEAST, 2 * int(asked / _RENEW_SECONDS) + self._turns.waiting())
            await self.lease(min(wanted, self._total))
            try:
                async with asyncio.timeout(_RENEW_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue
            finally:
                self._wake.clear()

    async def lease(self, wanted: int) -> int:
        """Asks for a rate of `wanted`; what was given holds for 10 s. Where the database refuses, a busy lock included,
        the lease before goes on to its end and the next renewal asks again: nothing may end `run`."""
        asked_at = self._elapsed()
        try:
            rate: int = await self._db.pool.fetchval(
                functions.call("select broker.egress_lease{v}($1, $2, $3, $4)"),
                self._boot,
                wanted,
                self._total,
                LEASE_SECONDS,
            )
        except (*CONNECTION_LOST, asyncpg.PostgresError) as error:
            _log.warning("egress_lease_lost", error=type(error).__name__)
            return self._turns.rate
        self._turns.rate = rate
        self._until = asked_at + LEASE_SECONDS
        return rate

    async def _serve(self) -> None:
        """Serves the waiters until there are none."""
        while self._turns.waiting():
            if self._elapsed() >= self._until or self._turns.rate < self._turns.waiting():
                self._wake.set()
            if self._elapsed() < self._until:
                self._turns.serve()
            if self._turns.waiting():
                await asyncio.sleep(max(self._turns.next_free(), 0.005))

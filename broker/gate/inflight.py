"""The calls this process has in hand: bounded by tenant and identity, stopped when their authority is taken away.

The bounds hold per process: N processes let in N times as many. They keep one tenant from using up the sockets and the
memory of all; the budget of an upstream is another matter and exact.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from uuid import UUID

import structlog

from broker.db import functions
from broker.db.database import Database
from broker.errors import Problem
from broker.gate.revoke import OpenCall, Revoked
from broker.ids import parse_id

_log = structlog.get_logger(__name__)


class Running:
    """One call on the wire. `stopped` tells a cancellation of ours from the client's."""

    __slots__ = ("_task", "stopped")

    def __init__(self, task: "asyncio.Task[object]") -> None:
        self._task = task
        self.stopped = False

    def stop(self) -> None:
        """Cancels the call where it waits for the upstream."""
        if not self.stopped:
            self.stopped = True
            self._task.cancel()

    def caught(self) -> bool:
        """Whether a CancelledError that arrived was ours alone, and not the client's as well."""
        return self.stopped and self._task.uncancel() == 0


class InFlight:
    """One per process."""

    def __init__(self, *, per_tenant: int, per_identity: int) -> None:
        self._per_tenant = per_tenant
        self._per_identity = per_identity
        self._tenants: Counter[UUID] = Counter()
        self._identities: Counter[UUID] = Counter()
        self._running: dict[UUID, Running] = {}

    def __len__(self) -> int:
        return len(self._running)

    @contextmanager
    def room(self, tenant_id: UUID, identity_id: UUID | None) -> Iterator[None]:
        """Counts one call, waiting or running. Raises Problem `rate_limited` where too many are in hand."""
        owner = identity_id or tenant_id
        if self._tenants[tenant_id] >= self._per_tenant:
            raise _crowded("this tenant", self._per_tenant)
        if self._identities[owner] >= self._per_identity:
            raise _crowded("this identity", self._per_identity)
        self._tenants[tenant_id] += 1
        self._identities[owner] += 1
        try:
            yield
        finally:
            for counts, key in ((self._tenants, tenant_id), (self._identities, owner)):
                counts[key] -= 1
                if not counts[key]:
                    del counts[key]

    @contextmanager
    def running(self, call_id: UUID) -> Iterator[Running]:
        """Makes the current task's call one that `stop` can reach."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call runs inside a task")
        call = self._running[call_id] = Running(task)
        try:
            yield call
        finally:
            del self._running[call_id]

    def stop(self, call_ids: Sequence[UUID]) -> int:
        """Stops those of the calls that run here; how many."""
        found = [self._running[i] for i in call_ids if i in self._running]
        for call in found:
            call.stop()
        return len(found)

    def heard(self, payload: str) -> None:
        """A notice of `CANCEL_CHANNEL`: a revocation in some process named these calls, and those of them that run here
        end. Where the notice is lost they end at their own deadlines."""
        stopped = self.stop([i for i in map(parse_id, payload.split(",")[:1000]) if i is not None])
        if stopped:
            _log.info("calls_stopped", calls=stopped)


def _crowded(who: str, limit: int) -> Problem:
    return Problem(
        "rate_limited",
        f"{who} already has {limit} calls in flight here",
        hint="wait for some to finish",
        retry_after=1,
        sent=False,
    )


class Drain:
    """Waiting for the calls that a revocation left open. One per process."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def wait(self, tenant_id: UUID, revoked: Revoked, seconds: float) -> bool:
        """Whether the tenant's open calls were settled within `seconds`. Call it after the revocation has committed."""
        return not await self.open([c for c in revoked.open_calls if c.tenant_id == tenant_id], seconds)

    async def open(self, calls: Sequence[OpenCall], seconds: float) -> frozenset[UUID]:
        """Waits at most `seconds` until the calls are settled; the ids of those still open."""
        by_tenant: dict[UUID, list[UUID]] = {}
        for call in calls:
            by_tenant.setdefault(call.tenant_id, []).append(call.call_id)
        statement = functions.call("select * from broker.still_open{v}($1, $2)")
        until = monotonic() + seconds
        while by_tenant:
            for tenant_id, ids in list(by_tenant.items()):
                left = [row[0] for row in await self._db.pool.fetch(statement, tenant_id, ids)]
                if left:
                    by_tenant[tenant_id] = left
                else:
                    del by_tenant[tenant_id]
            if monotonic() >= until:
                break
            await asyncio.sleep(min(0.05, max(0.0, until - monotonic())))
        return frozenset(call_id for ids in by_tenant.values() for call_id in ids)

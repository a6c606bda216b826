"""The gate's two round trips: admit and settle. Values in, values out; what they mean is decided elsewhere."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
import structlog

from broker.audit.events import CallFacts
from broker.audit.rows import EventRow
from broker.db import functions
from broker.db.database import Database
from broker.gate.dbclock import DatabaseClock
from connectors.base import Meter, RateHint
from connectors.errors import Sent
from connectors.frozen import quick

_log = structlog.get_logger(__name__)

GRACE_SECONDS: Final = 5
"""How much longer than the upstream's timeout a slot is booked ahead: a call is over before its booking is."""
HOLD_SECONDS_MAX: Final = 120
"""The furthest a slot can be booked ahead: the length of the ring beyond the window."""
SETTLE_SECONDS: Final = 5.0
"""How long a settle is tried before it is left to the sweeper."""
REMEMBERED_PRINCIPALS: Final = 8192

_ADMIT: Final = (
    "select * from broker.admit{v}($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22)"
)
_SETTLE: Final = "select * from broker.settle{v}($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"

CONNECTION_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # asyncpg's own state machine trips over a connection that dies under it: a lost connection all the same.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
)
_BUSY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.QueryCanceledError)


class AdmitLost(Exception):
    """The database is away. That nothing was sent is certain; with `asked`, whether the intent was written is not."""

    def __init__(self, what: str, *, asked: bool) -> None:
        self.asked = asked
        super().__init__(what)


class AdmitBusy(Exception):
    """A lock could not be had in time; nothing was written."""


class SettleLost(Exception):
    """The outcome could not be written in time. The sweeper will close the call as `unknown`."""


NO_HINT: Final = RateHint()


@quick
@dataclass(frozen=True, slots=True)
class Claim:
    """What admit is asked. `maintenance`: a call of our own, on an account in any state but revoked; only then may
    `principal` be set: booked on that budget instead of the account's own. `meters` in one fixed order. `hold_seconds`
    1..120.
    """

    tenant_id: UUID
    policy_version: int
    identity_id: UUID | None
    bearer_tenant_id: UUID
    bearer_id: UUID
    root_id: UUID
    connection_id: UUID
    connection_version: int
    account_id: UUID
    account_version: int
    meters: tuple[Meter, ...]
    reserve: int
    hold_seconds: int
    call_id: UUID
    execution_id: UUID
    maintenance: bool = False
    principal: bytes | None = None


@quick
@dataclass(frozen=True, slots=True)
class Admitted:
    """The intent is durable and the slots are booked. `sealed` opens only for exactly these binding facts."""

    principal: bytes
    credential_id: UUID
    credential_version: int
    kind: str
    origins: tuple[str, ...]
    remaining: int | None
    reset_seconds: int
    sealed: bytes = field(repr=False)


@quick
@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was written. `reason` "budget": `retry_seconds` until enough slots of `meter` are free on `principal`."""

    reason: str
    principal: bytes | None = None
    meter: str | None = None
    retry_seconds: float = 0.0


@quick
@dataclass(frozen=True, slots=True)
class Settlement:
    """How a call ended, for the budget. `how` "sent" also where it is not known.

    `only_open`: do nothing unless the call is open still (the sweeper, and whoever lost admit's answer).
    """

    tenant_id: UUID
    call_id: UUID
    account_id: UUID
    principal: bytes
    meters: Sequence[str]
    costs: Sequence[int]
    how: Literal["sent", "not_sent"]
    block_seconds: int = 0
    rate: RateHint = NO_HINT
    only_open: bool = False


@quick
@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome is durable. `late`: the sweeper had come first. `remaining` None: it was settled before already."""

    late: bool
    remaining: int | None
    reset_seconds: int


@quick
@dataclass(frozen=True, slots=True)
class Overdue:
    """A call that nobody will settle any more, with the facts of its intent."""

    facts: CallFacts
    account_id: UUID
    principal: bytes
    meters: tuple[str, ...]
    costs: tuple[int, ...]


def hold_seconds(timeout_seconds: float) -> int:
    """How far ahead to book for an upstream timeout of at most 115 s."""
    return min(int(timeout_seconds) + 1 + GRACE_SECONDS, HOLD_SECONDS_MAX)


def how_sent(sent: Sent) -> Literal["sent", "not_sent"]:
    """What is not known counts as sent."""
    return "not_sent" if sent is False else "sent"


class Admissions:
    """One per process."""

    def __init__(self, db: Database, now: datetime) -> None:
        self._db = db
        self._clock = DatabaseClock(now)
        self._principals: OrderedDict[UUID, bytes] = OrderedDict()

    async def admit(self, claim: Claim, intent: EventRow) -> Admitted | Refused:
        """One round trip. Raises AdmitLost, AdmitBusy.

        An account's principal is remembered from its last admission, which spares a look for it before its budget can
        be booked. Admission judges it with the rest; where it was wrong, or its budget refuses, it is asked again.
        """
        if claim.maintenance:
            return await self._admit(claim, claim.principal, intent)
        remembered = self._principals.get(claim.account_id)
        found = await self._admit(claim, remembered, intent)
        if remembered is not None and isinstance(found, Refused) and found.reason in ("principal_moved", "budget"):
            self._principals.pop(claim.account_id, None)
            found = await self._admit(claim, None, intent)
        if remembered is None and isinstance(found, Admitted):
            self._principals[claim.account_id] = found.principal
            if len(self._principals) > REMEMBERED_PRINCIPALS:
                self._principals.popitem(last=False)
        return found

    async def _admit(self, claim: Claim, principal: bytes | None, intent: EventRow) -> Admitted | Refused:
        meters = claim.meters
        asked = False
        try:
            async with self._db.pool.acquire(timeout=10) as connection:
                asked, asked_at = True, monotonic()
                row = await connection.fetchrow(
                    functions.call(_ADMIT),
                    claim.tenant_id,
                    claim.policy_version,
                    claim.identity_id,
                    claim.bearer_tenant_id,
                    claim.bearer_id,
                    claim.root_id,
                    claim.connection_id,
                    claim.connection_version,
                    claim.account_id,
                    claim.account_version,
                    claim.maintenance,
                    principal,
                    [m.name for m in meters],
                    [m.limit for m in meters],
                    [m.window_seconds for m in meters],
                    [m.cost for m in meters],
                    claim.reserve,
                    claim.hold_seconds,
                    self._clock.expected(),
                    claim.call_id,
                    claim.execution_id,
                    intent.as_record(),
                )
        except _BUSY as error:
            raise AdmitBusy(type(error).__name__) from error
        except CONNECTION_LOST as error:
            raise AdmitLost(type(error).__name__, asked=asked) from error
        self._clock.observe(row["db_now"], asked_at)
        return _read(row)

    async def settle(self, settlement: Settlement, outcome: EventRow) -> Settled:
        """One round trip, repeated for up to 5 s where the database is away. Raises SettleLost."""
        until = monotonic() + SETTLE_SECONDS
        delay = 0.05
        while True:
            try:
                async with asyncio.timeout(max(until - monotonic(), 0.5)):
                    return await self._settle(settlement, outcome)
            except (*CONNECTION_LOST, *_BUSY) as error:
                if monotonic() + delay >= until:
                    raise SettleLost(type(error).__name__) from error
                _log.warning("settle_retried", error=type(error).__name__)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)

    async def _settle(self, s: Settlement, outcome: EventRow) -> Settled:
        row = await self._db.pool.fetchrow(
            functions.call(_SETTLE),
            s.tenant_id,
            s.call_id,
            s.account_id,
            s.principal,
            s.meters,
            s.costs,
            s.how,
            s.block_seconds,
            s.rate.limit,
            s.rate.remaining,
            s.rate.window_seconds,
            s.only_open,
            outcome.as_record(),
        )
        return Settled(bool(row["late"]), row["remaining"], _seconds(row["reset_ms"]))

    async def overdue_tenants(self, grace_seconds: float, boots: Sequence[UUID], limit: int) -> list[UUID]:
        """Tenants with calls past their deadline and the grace, or of processes that are not among `boots`."""
        statement = functions.call("select * from broker.overdue_tenants{v}(make_interval(secs => $1), $2, $3)")
        return [row[0] for row in await self._db.pool.fetch(statement, grace_seconds, boots, limit)]

    async def overdue_calls(
        self, tenant_id: UUID, grace_seconds: float, boots: Sequence[UUID], limit: int
    ) -> list[Overdue]:
        """At most `limit` of those calls of one tenant."""
        statement = functions.call("select * from broker.overdue_calls{v}($1, make_interval(secs => $2), $3, $4)")
        rows = await self._db.pool.fetch(statement, tenant_id, grace_seconds, boots, limit)
        return [
            Overdue(
                CallFacts.from_row(row["intent"]),
                row["account_id"],
                row["principal_key"],
                tuple(row["meters"]),
                tuple(row["costs"]),
            )
            for row in rows
        ]

    async def book(
        self, principal: bytes, meters: Sequence[Meter], requests: int, tenant_id: UUID, sharer: UUID
    ) -> None:
        """Books `requests` that were made before their principal was known, as used now by `sharer`. Raises asyncpg's
        errors."""
        statement = functions.call("select broker.budget_book{v}($1, $2, $3, $4, $5, $6, $7)")
        for m in ordered(meters):
            cost = m.cost * requests
            await self._db.pool.execute(
                statement, principal, m.name, m.limit, m.window_seconds, cost, tenant_id, sharer
            )


def ordered(meters: Sequence[Meter]) -> tuple[Meter, ...]:
    """Meters in the order in which they are locked, so that two calls never wait for each other."""
    return meters if len(meters) < 2 and isinstance(meters, tuple) else tuple(sorted(meters, key=lambda m: m.name))


def _seconds(milliseconds: int | None) -> int:
    return 0 if not milliseconds else -(-milliseconds // 1000)


def _read(row: Any) -> Admitted | Refused:
    if row["reason"] is not None:
        return Refused(row["reason"], row["principal"], row["meter"], (row["retry_ms"] or 0) / 1000)
    return Admitted(
        principal=row["principal"],
        credential_id=row["credential_id"],
        credential_version=row["credential_version"],
        kind=row["kind"],
        origins=tuple(row["origins"]),
        remaining=row["remaining"],
        reset_seconds=_seconds(row["reset_ms"]),
        sealed=row["sealed"],
    )

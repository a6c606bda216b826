"""The statements behind admit and settle, each alone or in a group (group_commit.py): values in, values out."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from time import monotonic
from typing import Any, Final, NamedTuple
from uuid import UUID
from weakref import WeakValueDictionary

import asyncpg
import structlog

from broker.audit.rows import EventRow
from broker.db import functions
from broker.db.database import Database
from broker.gate.claims import AdmitBusy, AdmitLost, Admitted, Claim, Refused, Settled, Settlement
from broker.gate.dbclock import DatabaseClock

_log = structlog.get_logger(__name__)

_ADMIT: Final = (
    "select * from broker.admit{v}($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23)"
)
_SETTLE: Final = "select * from broker.settle{v}($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"

GROUP_SECONDS: Final = 5.0
"""How long a group may take: it waits for rows that others hold for one statement, and for the disk."""

PATIENT: Final = 3
"""Admissions of a process that may wait for a lock at once, no two of one tenant. Each holds a connection meanwhile;
most are the others'."""
PATIENT_SECONDS: Final = 5.0
"""How long one waits to be among them."""

CONNECTION_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # asyncpg's own state machine trips over a connection that dies under it: a lost connection all the same.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
)
BUSY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.QueryCanceledError)


class Admission(NamedTuple):
    """One admission: the claim, whose budget the caller remembers it to be on, and the intent to be written.

    `likely`: whose budget it will probably be on, where `principal` is to be found out; by it a group is sorted.
    """

    claim: Claim
    principal: bytes | None
    intent: EventRow
    likely: bytes = b""


class AdmitStatement:
    """Admit. Raises AdmitLost, AdmitBusy."""

    repeatable = False

    def __init__(self, db: Database, clock: DatabaseClock) -> None:
        self._db = db
        self._clock = clock
        self._patient = asyncio.Semaphore(PATIENT)
        self._lines: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def alone(self, asked: Admission) -> Admitted | Refused | None:
        return await self._one(asked, wait=False)

    async def patiently(self, asked: Admission) -> Admitted | Refused:
        tenant_id = asked.claim.tenant_id
        line = self._lines.get(tenant_id)
        if line is None:
            line = self._lines[tenant_id] = asyncio.Lock()
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout(PATIENT_SECONDS):
                    await turn.enter_async_context(line)
                    await turn.enter_async_context(self._patient)
            except TimeoutError:
                raise AdmitBusy("others wait already") from None
            found = await self._one(asked, wait=True)
        if found is None:
            raise AdmitBusy("busy")
        return found

    async def together(self, asked: Sequence[Admission]) -> Sequence[Admitted | Refused | None]:
        try:
            rows = await self._rows(asked, wait=False)
        except BUSY:
            return [None] * len(asked)
        except asyncpg.PostgresError as error:
            # One member's fault has undone what all asked: by itself each has its own answer.
            _log.warning("group_undone", error=type(error).__name__, members=len(asked))
            return [None] * len(asked)
        return [_read(row) for row in rows]

    def order(self, asked: Admission) -> bytes:
        return _place(asked.principal or asked.likely, [m.name for m in asked.claim.meters])

    async def _one(self, asked: Admission, *, wait: bool) -> Admitted | Refused | None:
        try:
            (row,) = await self._rows([asked], wait=wait)
        except BUSY as error:
            raise AdmitBusy(type(error).__name__) from error
        return _read(row)

    async def _rows(self, asked: Sequence[Admission], *, wait: bool) -> Sequence[Any]:
        sent = False
        try:
            async with self._db.pool.acquire(timeout=10) as connection:
                # Said no sooner than now, and by the first alone: a wait, for a connection or for those before it in
                # its group, would pass for a step of the database's clock, and every tenant's budget be stamped anew.
                told = [self._clock.expected(), *([None] * (len(asked) - 1))]
                arguments = [self._arguments(a, wait, when) for a, when in zip(asked, told, strict=True)]
                sent, sent_at = True, monotonic()
                if len(arguments) == 1:
                    rows = [await connection.fetchrow(functions.call(_ADMIT), *arguments[0])]
                else:
                    rows = await connection.fetchmany(functions.call(_ADMIT), arguments, timeout=GROUP_SECONDS)
        except BUSY:
            raise
        except CONNECTION_LOST as error:
            raise AdmitLost(type(error).__name__, asked=sent) from error
        self._clock.observe(rows[0]["db_now"], sent_at)
        return rows

    @staticmethod
    def _arguments(asked: Admission, wait: bool, expected: datetime | None) -> tuple[Any, ...]:
        claim = asked.claim
        meters = claim.meters
        return (
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
            asked.principal,
            [m.name for m in meters],
            [m.limit for m in meters],
            [m.window_seconds for m in meters],
            [m.cost for m in meters],
            claim.reserve,
            claim.hold_seconds,
            expected,
            claim.call_id,
            claim.execution_id,
            wait,
            asked.intent.as_record(),
        )


class Settling(NamedTuple):
    """One settle: how the call ended for the budget, and the outcome to be written."""

    settlement: Settlement
    outcome: EventRow


class SettleStatement:
    """Settle. Raises what is in CONNECTION_LOST and BUSY."""

    repeatable = True

    def __init__(self, db: Database) -> None:
        self._db = db

    async def alone(self, asked: Settling) -> Settled | None:
        return await self.patiently(asked)

    async def patiently(self, asked: Settling) -> Settled:
        return _settled(await self._db.pool.fetchrow(functions.call(_SETTLE), *_settle_arguments(asked)))

    async def together(self, asked: Sequence[Settling]) -> Sequence[Settled | None]:
        arguments = [_settle_arguments(a) for a in asked]
        try:
            rows = await self._db.pool.fetchmany(functions.call(_SETTLE), arguments, timeout=GROUP_SECONDS)
        except CONNECTION_LOST:
            raise
        except asyncpg.PostgresError as error:
            _log.warning("group_undone", error=type(error).__name__, members=len(asked))
            return [None] * len(asked)
        return [_settled(row) for row in rows]

    def order(self, asked: Settling) -> bytes:
        return _place(asked.settlement.principal, asked.settlement.meters)


def _place(principal: bytes, meters: Sequence[str]) -> bytes:
    """Where it stands in a group. Meters come in the order of their names in each: no two groups lock the rows of one
    principal in another order, though one call takes more of them than the next."""
    return principal + "\0".join(meters).encode()


def _settle_arguments(asked: Settling) -> tuple[Any, ...]:
    s = asked.settlement
    return (
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
        asked.outcome.as_record(),
    )


def _settled(row: Any) -> Settled:
    return Settled(bool(row["late"]), row["remaining"], _seconds(row["reset_ms"]))


def _seconds(milliseconds: int | None) -> int:
    return 0 if not milliseconds else -(-milliseconds // 1000)


def _read(row: Any) -> Admitted | Refused | None:
    if row["reason"] is not None:
        if row["reason"] == "busy":
            return None
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

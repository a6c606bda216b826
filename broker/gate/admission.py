"""The gate's two round trips: admit and settle. Values in, values out; what they mean is decided elsewhere."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from time import monotonic
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from broker.audit.events import CallFacts
from broker.audit.rows import EventRow
from broker.db import functions
from broker.db.database import Database
from broker.gate.claims import Admitted, Claim, Overdue, Refused, Settled, SettleLost, Settlement, ordered
from broker.gate.dbclock import DatabaseClock
from broker.gate.group_commit import GroupCommit
from broker.gate.round_trips import BUSY, CONNECTION_LOST, Admission, AdmitStatement, SettleStatement, Settling
from connectors.base import Meter

_log = structlog.get_logger(__name__)

SETTLE_SECONDS: Final = 5.0
"""How long a settle is tried before it is left to the sweeper."""
REMEMBERED_PRINCIPALS: Final = 8192


class Admissions:
    """One per process."""

    def __init__(self, db: Database, now: datetime) -> None:
        self._db = db
        self._admits = AdmitStatement(db, DatabaseClock(now))
        self._admitting = GroupCommit(self._admits)
        self._settling = GroupCommit(SettleStatement(db))
        self._principals: OrderedDict[UUID, bytes] = OrderedDict()

    async def admit(self, claim: Claim, intent: EventRow) -> Admitted | Refused:
        """One round trip. Raises AdmitLost, AdmitBusy.

        An account's principal is remembered from its last admission, which spares a look for it before its budget can
        be booked. Admission judges it with the rest; where it was wrong, or its budget refuses, it is asked again.
        """
        if claim.maintenance:
            return await self._admits.patiently(Admission(claim, claim.principal, intent))
        remembered = self._principals.get(claim.account_id)
        found = await self._admitting.ask(Admission(claim, remembered, intent))
        asked = remembered
        if remembered is not None and isinstance(found, Refused) and found.reason in ("principal_moved", "budget"):
            self._principals.pop(claim.account_id, None)
            asked, found = None, await self._admitting.ask(Admission(claim, None, intent, likely=remembered))
        if asked is None and found.principal is not None:  # of a refusal too: it has its place in a group from then on
            self._principals[claim.account_id] = found.principal
            if len(self._principals) > REMEMBERED_PRINCIPALS:
                self._principals.popitem(last=False)
        return found

    async def settle(self, settlement: Settlement, outcome: EventRow) -> Settled:
        """One round trip, repeated for up to 5 s where the database is away or busy. Raises SettleLost."""
        until = monotonic() + SETTLE_SECONDS
        delay = 0.05
        while True:
            try:
                async with asyncio.timeout(max(until - monotonic(), 0.5)):
                    return await self._settle(settlement, outcome)
            except (*CONNECTION_LOST, *BUSY) as error:
                if monotonic() + delay >= until:
                    raise SettleLost(type(error).__name__) from error
                _log.warning("settle_retried", error=type(error).__name__)
            except asyncpg.PostgresError as error:
                _log.error("settle_refused", error=type(error).__name__)
                raise SettleLost(type(error).__name__) from error
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)

    async def _settle(self, settlement: Settlement, outcome: EventRow) -> Settled:
        return await self._settling.ask(Settling(settlement, outcome))

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

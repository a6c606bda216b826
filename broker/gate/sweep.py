"""Closing the calls that nobody will settle: past their deadline, or of a process that is gone. Outcome: `unknown`.

Their slots are booked at this second, for the request may have arrived as late as that. Should the call's own process
come back with the true outcome, that follows as another event, and the last one counts.
"""

from typing import Final

import structlog

from broker.audit.events import Outcome
from broker.audit.trail import AuditTrail
from broker.gate.admission import Admissions, Overdue, SettleLost, Settlement
from broker.gate.nodes import Nodes

_log = structlog.get_logger(__name__)

GRACE_SECONDS: Final = 15.0
"""After a call's booked deadline its own process may still be trying to settle."""


class Sweeper:
    """One per process; several may run at once: settling is idempotent, and a call that is gone is left out."""

    def __init__(self, admissions: Admissions, trail: AuditTrail, nodes: Nodes) -> None:
        self._admissions = admissions
        self._trail = trail
        self._nodes = nodes

    async def sweep(self, *, grace_seconds: float = GRACE_SECONDS, tenants: int = 100, calls: int = 200) -> int:
        """Closes at most `calls` calls in each of at most `tenants` tenants; how many. Raises asyncpg's errors."""
        boots = await self._nodes.alive()
        swept = 0
        for tenant_id in await self._admissions.overdue_tenants(grace_seconds, boots, tenants):
            for call in await self._admissions.overdue_calls(tenant_id, grace_seconds, boots, calls):
                swept += await self._close(call)
        if swept:
            _log.warning("calls_swept", calls=swept)
        return swept

    async def _close(self, call: Overdue) -> bool:
        row = await self._trail.row(Outcome(facts=call.facts, outcome="unknown", sent="unknown", error="swept"))
        settlement = Settlement(
            tenant_id=call.facts.tenant_id,
            call_id=call.facts.call_id,
            account_id=call.account_id,
            principal=call.principal,
            meters=call.meters,
            costs=call.costs,
            how="sent",
            only_open=True,
        )
        try:
            return not (await self._admissions.settle(settlement, row)).late
        except SettleLost as error:
            _log.warning("sweep_interrupted", error=str(error))
            return False

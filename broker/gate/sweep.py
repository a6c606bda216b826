"""Closing the calls that nobody will settle: past their deadline, or of a process that is gone. Outcome: `unknown`.
So are executions that wrote (Code Mode) and whose own end nobody will write any more, once their calls are closed.

The calls' slots are booked at this second, for the request may have arrived as late as that. Should the call's own
process come back with the true outcome, that follows as another event, and the last one counts.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import structlog

from broker.audit.events import ExecutionLost, Outcome
from broker.audit.trail import AuditTrail
from broker.gate.admission import Admissions
from broker.gate.claims import Overdue, SettleLost, Settlement
from broker.gate.executions import Abandoned, OpenExecutions
from broker.gate.nodes import Nodes
from vault.errors import VaultError

_log = structlog.get_logger(__name__)

GRACE_SECONDS: Final = 15.0
"""After a call's booked deadline its own process may still be trying to settle."""


class Sweeper:
    """One per process; several may run at once: settling is idempotent, and a call that is gone is left out."""

    def __init__(
        self, admissions: Admissions, trail: AuditTrail, nodes: Nodes, executions: OpenExecutions | None = None
    ) -> None:
        self._admissions = admissions
        self._trail = trail
        self._nodes = nodes
        self._executions = executions

    async def sweep(self, *, grace_seconds: float = GRACE_SECONDS, tenants: int = 100, calls: int = 200) -> int:
        """Closes at most `calls` calls in each of at most `tenants` tenants; how many. Raises asyncpg's errors."""
        boots = await self._nodes.alive()
        swept = 0
        for tenant_id in await self._admissions.overdue_tenants(grace_seconds, boots, tenants):
            for call in await self._admissions.overdue_calls(tenant_id, grace_seconds, boots, calls):
                swept += await self._close(call)
        if swept:
            _log.warning("calls_swept", calls=swept)
        await self._close_executions(grace_seconds, boots, tenants, calls)
        return swept

    async def _close_executions(self, grace_seconds: float, boots: Sequence[UUID], tenants: int, most: int) -> None:
        if self._executions is None:
            return
        closed = 0
        for tenant_id in await self._executions.abandoned_tenants(grace_seconds, boots, tenants):
            for execution in await self._executions.abandoned(tenant_id, grace_seconds, boots, most):
                closed += await self._end(self._executions, execution)
        if closed:
            _log.warning("executions_swept", executions=closed)

    async def _end(self, executions: OpenExecutions, execution: Abandoned) -> bool:
        try:
            return await executions.close(await self._trail.row(_lost(execution)))
        except VaultError as error:
            _log.warning("sweep_interrupted", tenant_id=str(execution.tenant_id), error=type(error).__name__)
            return False

    async def _close(self, call: Overdue) -> bool:
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
            row = await self._trail.row(Outcome(facts=call.facts, outcome="unknown", sent="unknown", error="swept"))
            return not (await self._admissions.settle(settlement, row)).late
        except (SettleLost, VaultError) as error:
            # One tenant's key may be out of reach; the others' calls are closed all the same.
            _log.warning("sweep_interrupted", tenant_id=str(call.facts.tenant_id), error=type(error).__name__)
            return False


def _lost(execution: Abandoned) -> ExecutionLost:
    """It ended unknown: with the writes that it made, or may have made."""
    summary: dict[str, Any] = {"error": "swept", "writes": execution.writes, "made": list(execution.made)}
    return ExecutionLost(execution.tenant_id, execution.facts, execution.calls, summary)

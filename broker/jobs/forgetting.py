"""What is past its time: kept results of idempotency keys and programs, programs, session tokens that ended."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import Clock
from broker.db import functions
from broker.db.database import Database

BATCH: Final = 1000
BATCHES: Final = 20
"""At most so many batches of one tenant in one run; the rest waits for the next."""
SESSIONS_KEPT: Final = timedelta(days=7)
"""After a session ended it is still known whose it was: an agent key finds the executions of sessions it
minted.
"""

_TENANTS: Final = text("select id from broker.tenants order by id")
_RESULTS: Final = text(
    """
    delete from broker.idempotency
     where tenant_id = :tenant
       and scope in (select scope from broker.idempotency
                      where tenant_id = :tenant and expires_at < :before order by expires_at limit :most)"""
)
_CODE_RESULTS: Final = text(
    """
    delete from broker.code_results
     where tenant_id = :tenant
       and execution_id in (select execution_id from broker.code_results
                             where tenant_id = :tenant and expires_at < :before order by expires_at limit :most)"""
)
_PROGRAMS: Final = text(
    """
    delete from broker.programs
     where tenant_id = :tenant
       and execution_id in (select execution_id from broker.programs
                             where tenant_id = :tenant and at < :before order by at limit :most)"""
)
_SESSIONS: Final = "select broker.forget_sessions{v}(:tenant, :before, :most)"


class Forgetting:
    """Deletes in small transactions, tenant by tenant."""

    def __init__(self, db: Database, clock: Clock, retention_days: int = 90) -> None:
        self._db = db
        self._clock = clock
        self._retention = timedelta(days=retention_days)

    async def results(self) -> int:
        """How many kept results were deleted."""
        return await self._everywhere(self._delete_results, {"before": self._clock.now()})

    async def code_results(self) -> int:
        """How many kept results of programs were deleted."""
        return await self._everywhere(self._deleting(_CODE_RESULTS), {"before": self._clock.now()})

    async def programs(self) -> int:
        """How many programs were deleted: with the audit's day of their execution, or up to a day later."""
        # The audit drops whole days, so its oldest events are almost a day older than its retention.
        before = self._clock.now() - self._retention - timedelta(days=1)
        return await self._everywhere(self._deleting(_PROGRAMS), {"before": before})

    async def sessions(self) -> int:
        """How many ended sessions were deleted."""
        return await self._everywhere(self._delete_sessions, {"before": self._clock.now() - SESSIONS_KEPT})

    @staticmethod
    async def _delete_results(conn: AsyncConnection, params: dict[str, Any]) -> int:
        return int((await conn.execute(_RESULTS, params)).rowcount)

    @staticmethod
    def _deleting(statement: TextClause) -> Callable[..., Any]:
        async def delete(conn: AsyncConnection, params: dict[str, Any]) -> int:
            return int((await conn.execute(statement, params)).rowcount)

        return delete

    @staticmethod
    async def _delete_sessions(conn: AsyncConnection, params: dict[str, Any]) -> int:
        return int(await conn.scalar(text(functions.call(_SESSIONS)), params) or 0)

    async def _everywhere(self, delete: Callable[..., Any], params: dict[str, Any]) -> int:
        async with self._db.platform() as conn:
            tenants = [row.id for row in await conn.execute(_TENANTS)]
        total = 0
        for tenant_id in tenants:
            for _ in range(BATCHES):
                async with self._db.tenant(tenant_id) as conn:
                    gone = await delete(conn, params | {"tenant": tenant_id, "most": BATCH})
                total += gone
                if gone < BATCH:
                    break
        return total

"""What is past its time: kept results of idempotency keys and programs, programs, session tokens that ended, sign-ins
at upstreams that nobody came back from, and our registrations there that are of no use.
"""

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

CLIENTS_TRIED: Final = timedelta(days=1)
CLIENTS_KEPT: Final = timedelta(days=90)
"""How long a registration at an authorization server is kept: one that nobody has signed in by, after it was made; any
other, after the last sign-in. Accounts keep what they need of it beside their tokens."""

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
_SIGN_INS: Final = text(
    """
    delete from broker.upstream_sign_ins
     where tenant_id = :tenant
       and state_hash in (select state_hash from broker.upstream_sign_ins
                           where tenant_id = :tenant and expires_at <= :before limit :most)"""
)
_CLIENTS: Final = text(
    """
    delete from broker.upstream_clients
     where tenant_id = :tenant
       and place in (select place from broker.upstream_clients
                      where tenant_id = :tenant and place like 'issuer:%'
                        and (expires_at <= :now or used_at < :before or used_at is null and created_at < :tried)
                      limit :most)"""
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
        return await self._everywhere(self._deleting(_RESULTS), {"before": self._clock.now()})

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

    async def sign_ins(self) -> int:
        """How many sign-ins at upstreams were deleted that were given up."""
        return await self._everywhere(self._deleting(_SIGN_INS), {"before": self._clock.now()})

    async def upstream_clients(self) -> int:
        """How many registrations at authorization servers were deleted. What an admin set stays."""
        now = self._clock.now()
        times = {"now": now, "tried": now - CLIENTS_TRIED, "before": now - CLIENTS_KEPT}
        return await self._everywhere(self._deleting(_CLIENTS), times)

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

"""Executions that were begun and have no end yet: those of programs that may write (`tools/codemode/keeping.py`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson

from broker.audit.rows import EventRow
from broker.db import functions
from broker.db.database import Database

_TENANTS: Final = "select * from broker.abandoned_tenants{v}(make_interval(secs => $1), $2, $3)"
_ABANDONED: Final = "select * from broker.abandoned_executions{v}($1, make_interval(secs => $2), $3, $4)"
_CLOSED: Final = "select broker.execution_closed{v}($1)"


@dataclass(frozen=True, slots=True)
class Abandoned:
    """One whose end nobody will write any more: `calls` it made, of which `writes` were sent or may have been; `made`
    names at most 20 of those."""

    tenant_id: UUID
    facts: Mapping[str, Any]
    calls: int
    writes: int
    made: tuple[str, ...]


class OpenExecutions:
    """One per process. Methods raise asyncpg's errors."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def abandoned_tenants(self, grace_seconds: float, boots: Sequence[UUID], limit: int) -> list[UUID]:
        """Tenants with executions past their deadline and the grace, or of processes that are not among `boots`."""
        rows = await self._db.pool.fetch(functions.call(_TENANTS), grace_seconds, boots, limit)
        return [row[0] for row in rows]

    async def abandoned(
        self, tenant_id: UUID, grace_seconds: float, boots: Sequence[UUID], limit: int
    ) -> list[Abandoned]:
        """At most `limit` of those of one tenant that have no call open."""
        rows = await self._db.pool.fetch(functions.call(_ABANDONED), tenant_id, grace_seconds, boots, limit)
        return [
            Abandoned(tenant_id, orjson.loads(row["facts"]), row["calls"], row["writes"], tuple(row["made"]))
            for row in rows
        ]

    async def close(self, end: EventRow) -> bool:
        """Writes this end; False where it has one meanwhile, which then stands alone."""
        return bool(await self._db.pool.fetchval(functions.call(_CLOSED), end.as_record()))

"""What a tenant may know of the budgets its accounts spend (`GET /v1/budgets`)."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from broker.db import functions
from broker.db.database import Database


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """One meter of one upstream principal (`accounts.principal_key`).

    `used` is this tenant's own use in the window, `foreign` everybody else's, at the upstream itself or through us.
    """

    principal: bytes
    meter: str
    limit: int
    window_seconds: int
    used: int
    foreign: int
    blocked_until: datetime | None


async def budget_use(db: Database, tenant_id: UUID) -> list[BudgetUse]:
    """Every budget that the tenant's accounts have spent from; at most 10,000."""
    rows = await db.pool.fetch(functions.call("select * from broker.budget_usage{v}($1)"), tenant_id)
    return [
        BudgetUse(
            principal=row["principal_key"],
            meter=row["meter"],
            limit=row["cap"],
            window_seconds=row["window_seconds"],
            used=row["used"],
            foreign=row["foreign_used"],
            blocked_until=row["blocked_until"],
        )
        for row in rows
    ]

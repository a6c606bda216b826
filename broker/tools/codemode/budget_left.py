"""What is left of an account's budget, for a program that asks who it is."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from broker.accounts.tables import accounts
from broker.db.database import Database
from broker.gate.usage import budget_use


async def budget_left(db: Database, tenant_id: UUID, account_id: UUID, reserve: int) -> dict[str, Any] | None:
    """The largest meter of the account's upstream principal, None where nothing was spent from it yet. `reserve`
    requests are people's own."""
    statement = select(accounts.c.principal_key).where(accounts.c.tenant_id == tenant_id, accounts.c.id == account_id)
    async with db.tenant(tenant_id) as conn:
        principal = (await conn.execute(statement)).scalar_one_or_none()
    if principal is None:
        return None
    mine = [use for use in await budget_use(db, tenant_id) if bytes(use.principal) == bytes(principal)]
    if not mine:
        return None
    use = max(mine, key=lambda one: one.limit)
    return {
        "meter": use.meter,
        "limit": use.limit,
        "remaining": max(0, use.limit - use.used - use.foreign - reserve),
        "window_seconds": use.window_seconds,
    }

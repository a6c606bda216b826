"""What a tenant may know of the budgets its accounts spend: its own use, everybody else's as one number."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from broker.accounts.tables import accounts, connections
from broker.db.database import Database
from broker.domain import Caller
from broker.gate.usage import BudgetUse, budget_use
from broker.identity.roles import reach


class Budgets:
    """`GET /v1/budgets`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(self, caller: Caller) -> Sequence[dict[str, Any]]:
        """One line per connection, principal and meter; a session sees its own accounts' only."""
        used = {(bytes(use.principal), use.meter): use for use in await budget_use(self._db, caller.tenant_id)}
        lines = [
            _line(row, use)
            for row in await self._principals(caller)
            for (principal, _), use in used.items()
            if principal == bytes(row.principal_key)
        ]
        return sorted(lines, key=lambda line: (line["connection_name"], line["principal"], line["meter"]))

    async def _principals(self, caller: Caller) -> Sequence[Any]:
        statement = (
            select(connections.c.name, accounts.c.principal, accounts.c.principal_key)
            .distinct()
            .join(
                connections,
                (connections.c.tenant_id == accounts.c.tenant_id) & (connections.c.id == accounts.c.connection_id),
            )
            .where(
                accounts.c.tenant_id == caller.tenant_id,
                accounts.c.principal_key.is_not(None),
                accounts.c.status != "revoked",
            )
            .limit(1000)
        )
        if reach(caller, "budgets.read") == "own":
            assert caller.identity is not None  # noqa: S101 - a session has one
            statement = statement.where(accounts.c.identity_id == caller.identity.id)
        async with self._db.tenant(caller.tenant_id) as conn:
            return (await conn.execute(statement)).all()


def _line(row: Any, use: BudgetUse) -> dict[str, Any]:
    return {
        "connection_name": row.name,
        "principal": row.principal,
        "meter": use.meter,
        "limit": use.limit,
        "window_seconds": use.window_seconds,
        "used": use.used,
        "foreign": use.foreign,
        "remaining": max(0, use.limit - use.used - use.foreign),
        "blocked_until": use.blocked_until,
    }

"""What a person does with their own accounts in their pages, by a login and by nothing else: the API has no such call,
so that no agent's session token can cut its engineer off."""

from typing import Any

from sqlalchemy import select

from broker.accounts.tables import accounts, connections
from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem
from broker.gate import revoke
from broker.ids import parse_id


class OwnAccounts:
    """The accounts of the person signed in."""

    def __init__(self, *, db: Database, trail: AuditTrail) -> None:
        self._db = db
        self._trail = trail

    async def revoke(self, caller: Caller, account_id: str) -> dict[str, Any]:
        """Revokes an account of the caller's own identity. When this returns nothing new is admitted with it; calls
        under way are cancelled. `caller` is of a login. Raises Problem `not_found`, also for anybody else's account."""
        wanted = parse_id(account_id)
        if wanted is None or caller.identity is None:
            raise Problem("not_found", "no such connected account of yours")
        statement = (
            select(accounts.c.id, connections.c.name)
            .join(
                connections,
                (connections.c.tenant_id == accounts.c.tenant_id) & (connections.c.id == accounts.c.connection_id),
            )
            .where(
                accounts.c.tenant_id == caller.tenant_id,
                accounts.c.id == wanted,
                accounts.c.identity_id == caller.identity.id,
            )
        )
        async with self._db.tenant(caller.tenant_id) as conn:
            row = (await conn.execute(statement)).one_or_none()
            if row is None:
                raise Problem("not_found", "no such connected account of yours")
            await self._trail.change(
                conn,
                caller,
                "account.revoked",
                identifier=caller.identity.identifier,
                connection_name=row.name,
                account_id=row.id,
                details={"reason": "revoked by its owner"},
            )
            revoked = await revoke.account(conn, caller.tenant_id, row.id, "revoked by its owner", caller.now)
            await revoke.cancel(conn, revoked.open_calls)
        return {"revoked_at": revoked.at, "connection_name": row.name, "in_flight": len(revoked.in_flight)}

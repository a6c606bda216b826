"""What a refusal by the upstream teaches about a credential: remembered, and named the next time."""

from uuid import UUID

from sqlalchemy import select, update

from broker.accounts.permissions import read_permissions, with_learned
from broker.accounts.tables import accounts
from broker.db.database import Database


class Learning:
    """Writes down what 403 answers have proved."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def learn(self, tenant_id: UUID, account_id: UUID, operation_id: str, permission: str) -> None:
        """Remembers that a refusal proved `permission` missing for an operation. Takes no lock; the last one wins."""
        mine = (accounts.c.tenant_id == tenant_id, accounts.c.id == account_id)
        async with self._db.tenant(tenant_id) as conn:
            stored = await conn.scalar(select(accounts.c.permissions).where(*mine))
            if stored is None or read_permissions(stored).learned.get(operation_id) == permission:
                return
            await conn.execute(
                update(accounts)
                .where(*mine)
                .values(
                    permissions=with_learned(stored, operation_id, permission),
                    permissions_version=accounts.c.permissions_version + 1,
                )
            )

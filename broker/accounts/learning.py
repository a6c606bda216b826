"""What a refusal by the upstream teaches about a credential: remembered, and named the next time."""

from uuid import UUID

from sqlalchemy import select, update

from broker.accounts.permissions import read_permissions, with_learned
from broker.accounts.tables import accounts
from broker.db.database import Database

TRIES = 5
"""How often it is tried again where another lesson, or a new credential, came in between."""


class Learning:
    """Writes down what 403 answers have proved."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def learn(self, tenant_id: UUID, account_id: UUID, operation_id: str, permission: str) -> None:
        """Remembers that a refusal proved `permission` missing for an operation. Takes no lock, and never puts back
        what was changed meanwhile: a new credential's permissions stay its own."""
        mine = (accounts.c.tenant_id == tenant_id, accounts.c.id == account_id)
        for _ in range(TRIES):
            async with self._db.tenant(tenant_id) as conn:
                seen = select(accounts.c.permissions, accounts.c.permissions_version).where(*mine)
                row = (await conn.execute(seen)).one_or_none()
                if row is None or read_permissions(row.permissions).learned.get(operation_id[:200]) == permission[:200]:
                    return
                written = await conn.execute(
                    update(accounts)
                    .where(*mine, accounts.c.permissions_version == row.permissions_version)
                    .values(
                        permissions=with_learned(row.permissions, operation_id, permission),
                        permissions_version=row.permissions_version + 1,
                    )
                )
            if written.rowcount == 1:
                return

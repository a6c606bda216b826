"""Tenants: made with their own keys and a first admin, and the first of all at the first start."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem
from broker.identity import names
from broker.identity.minting import Minted, mint_bearer
from broker.identity.roles import require
from broker.identity.tables import tenants
from broker.identity.taking import hold_minter, scope
from broker.ids import new_id
from vault.keyring import Keyring

DEFAULT_TENANT: Final = "default"


class Tenants:
    """The installation's tenants."""

    def __init__(self, *, db: Database, keyring: Keyring, trail: AuditTrail) -> None:
        self._db = db
        self._keyring = keyring
        self._trail = trail

    async def create(self, caller: Caller, *, name: str) -> dict[str, Any]:
        """A new tenant with its encryption keys and an admin's operator key, shown this once.

        The key is minted by the caller's: it lives no longer, and ends with it unless that is revoked with
        `keep_minted`. The change is recorded in the tenant the caller acts in. Raises Problem `forbidden`,
        `invalid_input`, `already_exists`.
        """
        require(caller, "tenants.create")
        names.tenant_name("name", name)
        async with self._db.tenant(caller.tenant_id) as conn:
            await hold_minter(conn, caller)
            row, minted = await self._make(conn, name, caller.now, caller)
            await scope(conn, caller.tenant_id)
            details = {"tenant": name, "tenant_id": str(row.id), "key_id": str(minted.id)}
            await self._trail.change(conn, caller, "tenant.created", details=details)
        return {
            "tenant": {
                "id": str(row.id),
                "name": row.name,
                "status": row.status,
                "created_at": row.created_at,
            },
            "admin_key": minted.token.text,
            "admin_key_id": str(minted.id),
        }

    async def bootstrap(self, now: datetime, keep: Callable[[str], None]) -> bool:
        """Makes tenant `default` and a platform admin's operator key where that tenant is not there yet;
        whether it did.

        `keep` stores the key (a file, mode 0600) before the transaction commits: if it raises, nothing was
        made, and a stale file of a failed commit is overwritten by the next start. Two nodes that start at
        once make it once.
        """
        async with self._db.platform() as conn:
            found = await conn.scalar(select(tenants.c.id).where(tenants.c.name == DEFAULT_TENANT))
            if found is not None:
                return False
            try:
                _, minted = await self._make(conn, DEFAULT_TENANT, now, None)
            except Problem as problem:
                if problem.code != "already_exists":
                    raise
                return False
            keep(minted.token.text)
        return True

    async def _make(self, conn: AsyncConnection, name: str, now: datetime, caller: Caller | None) -> tuple[Any, Minted]:
        """The tenant, its keys and first key. Leaves the transaction scoped to the new tenant."""
        tenant_id = new_id()
        statement = (
            insert(tenants)
            .values(
                id=tenant_id,
                name=name,
                status="active",
                policy_version=1,
                impersonation=True,
                settings={},
                version=1,
                created_at=now,
            )
            .on_conflict_do_nothing()
            .returning(tenants)
        )
        row = (await conn.execute(statement)).one_or_none()
        if row is None:
            raise Problem("already_exists", f"there is a tenant {name!r} already")
        await scope(conn, tenant_id)
        await self._keyring.ensure(conn, tenant_id, now)
        minted = await mint_bearer(
            conn,
            tenant_id,
            "operator",
            caller,
            now,
            name="first admin" if caller is not None else "bootstrap",
            role="admin" if caller is not None else "platform_admin",
            expires_at=None if caller is None else caller.bearer.expires_at,
        )
        return row, minted

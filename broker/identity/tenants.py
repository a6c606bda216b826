"""Tenants: made with their own keys and a first admin, and the first of all at the first start; and what a platform
admin sets of one (`sandbox.py`)."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem
from broker.identity import names
from broker.identity.minting import Minted, mint_bearer
from broker.identity.roles import require
from broker.identity.sandbox import Ceilings, read_rule
from broker.identity.tables import tenants
from broker.identity.taking import hold_minter, scope
from broker.ids import new_id, parse_id
from broker.settings import Limits
from vault.keyring import Keyring

DEFAULT_TENANT: Final = "default"

PolicyChanged = Callable[[AsyncConnection, UUID], Awaitable[int]]
"""`gate.revoke.policy_changed`: takes the tenant's lock exclusively, till the end of the transaction."""


class Tenants:
    """The installation's tenants."""

    def __init__(
        self,
        *,
        db: Database,
        keyring: Keyring,
        trail: AuditTrail,
        policy_changed: PolicyChanged | None = None,
        ceilings: Ceilings | None = None,
    ) -> None:
        self._db = db
        self._keyring = keyring
        self._trail = trail
        self._policy_changed = policy_changed
        self._ceilings = ceilings or Ceilings.of(Limits(), isolate=False)

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
            "tenant": _basics(row),
            "admin_key": minted.token.text,
            "admin_key_id": str(minted.id),
        }

    async def get(self, caller: Caller, tenant: str) -> dict[str, Any]:
        """A tenant by name or id, with what its programs are held to. Raises Problem `forbidden`, `not_found`."""
        require(caller, "tenants.read")
        async with self._db.platform() as conn:
            return self._shown(await _existing(conn, tenant))

    async def change(
        self, caller: Caller, tenant: str, sandbox: Mapping[str, Any] | None, version: int | None
    ) -> dict[str, Any]:
        """Sets members of what a tenant's programs are held to, below the installation's limits; those not named stay.
        A member of None, or `sandbox` None for all of them, is the installation's again. In force within a
        second, in every process. Recorded in that tenant. Raises Problem `forbidden`, `not_found`, `invalid_input`,
        `version_conflict`."""
        require(caller, "tenants.write")
        async with self._db.platform() as conn:
            row = await _existing(conn, tenant)
            await scope(conn, row.id)
            if self._policy_changed is not None:
                await self._policy_changed(conn, row.id)
            row = await _existing(conn, tenant)  # again, behind the lock
            if version is not None and version != row.version:
                raise Problem(
                    "version_conflict", f"tenant {row.name} is at version {row.version}, not {version}: read it again"
                )
            before = read_rule(row.sandbox)
            changes = dict.fromkeys(before.wire()) if sandbox is None else sandbox
            rule = self._ceilings.changed(before, changes)
            statement = (
                update(tenants)
                .where(tenants.c.id == row.id)
                .values(sandbox=rule.wire(), version=row.version + 1)
                .returning(tenants)
            )
            row = (await conn.execute(statement)).one()
            details = {"tenant": row.name, "sandbox": rule.wire(), "before": before.wire()}
            await self._trail.change(conn, caller, "tenant.changed", details=details, tenant_id=row.id)
        return self._shown(row)

    def _shown(self, row: Any) -> dict[str, Any]:
        rule = read_rule(row.sandbox)
        return {
            **_basics(row),
            "version": row.version,
            "sandbox": rule.wire(),
            "sandbox_limits": self._ceilings.shown(rule),
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
                sandbox={},
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


def _basics(row: Any) -> dict[str, Any]:
    return {"id": str(row.id), "name": row.name, "status": row.status, "created_at": row.created_at}


async def _existing(conn: AsyncConnection, tenant: str) -> Any:
    """The tenant with this name, or else this id. Raises Problem `not_found`."""
    wanted = parse_id(tenant)
    same = tenants.c.name == tenant if wanted is None else (tenants.c.name == tenant) | (tenants.c.id == wanted)
    rows = (await conn.execute(select(tenants).where(same))).all()
    row = next((one for one in rows if one.name == tenant), rows[0] if rows else None)
    if row is None:
        raise Problem("not_found", f"there is no tenant {tenant[:63]!r}")
    return row

"""Deposits that are not verified yet: a `pending` account with a sealed credential, and every way it goes again.

An account that was never verified has no upstream principal; by that it is known, whatever its status has become
meanwhile (an offboarding revokes pending accounts too). Such an account never carried a call of a tool.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import delete, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts.tables import accounts
from broker.accounts.views import View
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Caller, Connection
from broker.errors import Field, Problem, misfit
from broker.ids import new_id
from connectors.errors import InvalidInput
from vault.binding import CredentialBinding
from vault.errors import VaultError
from vault.secret import Secret
from vault.store import Vault
from vault.tables import credentials

_log = structlog.get_logger(__name__)

PENDING_FOR: Final = timedelta(minutes=10)
"""A deposit older than this was left by a crash: verifying takes four calls of 20 s at most."""

_TENANTS: Final = text("select id from broker.tenants order by id")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose account it is to be: an identity, or the tenant itself (`identity_id` None); and its label."""

    identity_id: UUID | None
    identifier: str | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Pending:
    """A sealed credential waiting for its verification. `public` are its fields that are no secret."""

    account_id: UUID
    kind: str
    public: Mapping[str, Any]
    secret: Secret
    fingerprint: str


class Pendings:
    """Makes pending accounts and takes them away."""

    def __init__(self, *, db: Database, vault_: Vault, trail: AuditTrail, clock: Clock) -> None:
        self._db = db
        self._vault = vault_
        self._trail = trail
        self._clock = clock

    async def seal(
        self, caller: Caller, connection: Connection, view: View, owner: Owner, credential: Mapping[str, Any]
    ) -> Pending:
        """Checks a credential's form and stores it sealed. Raises Problem `invalid_input`, `unknown_field`; no value is
        quoted."""
        try:
            kind, plaintext, _ = view.connector.check_credential(credential)
        except InvalidInput as error:
            root = "credential"
            fields = [Field(f"{root}.{f.path}" if f.path else root, f.problem, f.unknown) for f in error.fields]
            raise misfit(fields, str(error), hint=error.hint) from None
        secret = Secret(plaintext)
        account_id, credential_id, now = new_id(), new_id(), self._clock.now()
        binding = CredentialBinding(caller.tenant_id, account_id, credential_id, 1, kind, view.origins)
        async with self._db.tenant(caller.tenant_id) as conn:
            sealed = await self._vault.put_credential(conn, binding, secret, now)
            await conn.execute(
                insert(accounts).values(
                    tenant_id=caller.tenant_id,
                    id=account_id,
                    connection_id=connection.id,
                    identity_id=owner.identity_id,
                    label=owner.label,
                    status="pending",
                    kind=kind,
                    credential_id=credential_id,
                    permissions={"source": "unknown"},
                    permissions_version=1,
                    version=1,
                    created_at=now,
                )
            )
        hidden = secret_fields(view, kind)
        public = {name: value for name, value in credential.items() if name not in hidden}
        return Pending(account_id, kind, public, secret, sealed.fingerprint)

    async def discard(
        self, caller: Caller, connection: Connection, owner: Owner, pending: Pending, why: BaseException
    ) -> None:
        """Removes what a failed deposit left and records that it was tried, also when the caller is cancelled again.
        Where the database is away the job does it later."""
        try:
            await asyncio.shield(asyncio.ensure_future(self._discard(caller, connection, owner, pending, why)))
        except (SQLAlchemyError, OSError, TimeoutError, VaultError) as failure:
            _log.warning("pending_deposit_left", account_id=str(pending.account_id), error=type(failure).__name__)

    async def _discard(
        self, caller: Caller, connection: Connection, owner: Owner, pending: Pending, why: BaseException
    ) -> None:
        async with self._db.tenant(caller.tenant_id) as conn:
            if not await remove(conn, caller.tenant_id, pending.account_id):
                return
            reason = why.code if isinstance(why, Problem) else type(why).__name__
            await self._trail.change(
                conn,
                caller,
                "account.deposit_refused",
                identifier=owner.identifier,
                connection_name=connection.name,
                details={"reason": reason, "kind": pending.kind, "fingerprint": pending.fingerprint},
            )

    async def remove_stale(self) -> int:
        """Removes what crashes have left behind, in all tenants; how many. A job."""
        async with self._db.platform() as conn:
            tenants = [row.id for row in await conn.execute(_TENANTS)]
        before, removed = self._clock.now() - PENDING_FOR, 0
        for tenant_id in tenants:
            async with self._db.tenant(tenant_id) as conn:
                removed += await _remove_stale(conn, tenant_id, before)
        if removed:
            _log.info("stale_deposits_removed", count=removed)
        return removed


def secret_fields(view: View, kind: str) -> tuple[str, ...]:
    """The fields of a kind's credential that are secret."""
    return next((k.secret_fields for k in view.connector.kinds if k.name == kind), ("token",))


async def remove(conn: AsyncConnection, tenant_id: UUID, account_id: UUID) -> bool:
    """Removes an account that was never verified, and its sealed credential; whether there was one."""
    gone = await conn.execute(
        delete(accounts).where(
            accounts.c.tenant_id == tenant_id,
            accounts.c.id == account_id,
            accounts.c.status != "active",
            accounts.c.principal.is_(None),
        )
    )
    if gone.rowcount != 1:
        return False
    await conn.execute(
        delete(credentials).where(credentials.c.tenant_id == tenant_id, credentials.c.account_id == account_id)
    )
    return True


async def _remove_stale(conn: AsyncConnection, tenant_id: UUID, before: datetime) -> int:
    stale = await conn.execute(
        select(accounts.c.id).where(
            accounts.c.tenant_id == tenant_id,
            accounts.c.status != "active",
            accounts.c.principal.is_(None),
            accounts.c.created_at < before,
        )
    )
    return sum([await remove(conn, tenant_id, row.id) for row in stale.all()])

"""Depositing a credential: sealed first, verified upstream through the gate, and only then of any use.

The order is what keeps a failed deposit harmless. A `pending` account with the sealed credential is committed; the
verification calls run like any other call (budget, intent, outcome) against it; then one transaction either makes it
the identity's account, or gives its credential to the account that was there, or removes every trace of it. Whatever
account was there before goes on working until that transaction commits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts.permissions import write_permissions
from broker.accounts.tables import accounts, connections
from broker.accounts.views import View, Views
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Caller, Connection
from broker.errors import Field, Problem
from broker.gate import revoke
from broker.gate.maintenance import Maintenance, MaintenanceCall
from broker.gate.principals import Principals
from broker.identity.tables import identities
from broker.ids import new_id
from connectors.base import Answer, Permissions, Prepared, UpstreamIdentity
from connectors.errors import CredentialRejected, EgressRefused, InvalidInput, UpstreamFault, UpstreamTimeout
from vault.binding import CredentialBinding
from vault.secret import Secret
from vault.store import Vault
from vault.tables import credentials

VERIFY_SECONDS = 20.0
"""Deadline of each verification call."""

PENDING_FOR = timedelta(minutes=10)
"""A pending account older than this was left by a crash; a job removes it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose account it is to be: an identity, or the tenant itself (`identity_id` None); and its label."""

    identity_id: UUID | None
    identifier: str | None
    label: str | None


@dataclass(frozen=True, slots=True)
class _Pending:
    """A sealed credential waiting for its verification."""

    account_id: UUID
    kind: str
    secret: Secret
    declared: tuple[str, ...]
    fingerprint: str


class Deposit:
    """Takes credentials in. One per process."""

    def __init__(
        self,
        *,
        db: Database,
        vault_: Vault,
        trail: AuditTrail,
        maintenance: Maintenance,
        principals: Principals,
        views: Views,
        clock: Clock,
    ) -> None:
        self._db = db
        self._vault = vault_
        self._trail = trail
        self._maintenance = maintenance
        self._principals = principals
        self._views = views
        self._clock = clock

    async def deposit(
        self,
        caller: Caller,
        connection: Connection,
        owner: Owner,
        credential: Mapping[str, Any],
        *,
        replace: bool,
    ) -> UUID:
        """Verifies and keeps a credential; returns its account's id.

        Raises Problem: `invalid_input` (its form, or the upstream rejects it), `principal_changed`,
        `upstream_unreachable`, `upstream_timeout`, and the gate's own.
        """
        view = await self._views.connection(caller.tenant_id, connection)
        pending = await self._seal(caller, connection, view, owner, credential)
        try:
            upstream = await self._verify(caller, connection, view, pending, credential)
            return await self._keep(caller, connection, view, owner, pending, upstream, replace=replace)
        except BaseException as error:
            await self._discard(caller, connection, owner, pending, error)
            raise

    async def reverify(
        self, caller: Caller, connection: Connection, account_id: UUID, kind: str, public: Mapping[str, Any]
    ) -> UpstreamIdentity:
        """Asks the upstream again about a credential that is in use: its expiry and permissions. `public` are the
        credential's fields that are no secret, as far as they are known."""
        view = await self._views.connection(caller.tenant_id, connection)
        return await self._ask(caller, connection, view, account_id, kind, public, None)

    async def _seal(
        self, caller: Caller, connection: Connection, view: View, owner: Owner, credential: Mapping[str, Any]
    ) -> _Pending:
        try:
            kind, plaintext, declared = view.connector.check_credential(credential)
        except InvalidInput as error:
            fields = [Field(f"credential.{f.path}" if f.path else "credential", f.problem) for f in error.fields]
            raise Problem("invalid_input", str(error)[:1000], fields=fields, hint=error.hint) from None
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
        return _Pending(account_id, kind, secret, declared, sealed.fingerprint)

    async def _verify(
        self,
        caller: Caller,
        connection: Connection,
        view: View,
        pending: _Pending,
        credential: Mapping[str, Any],
    ) -> UpstreamIdentity:
        public = {k: v for k, v in credential.items() if k not in _secret_fields(view, pending.kind)}
        return await self._ask(
            caller,
            connection,
            view,
            pending.account_id,
            pending.kind,
            public,
            f"credential:{pending.fingerprint}",
        )

    async def _ask(
        self,
        caller: Caller,
        connection: Connection,
        view: View,
        account_id: UUID,
        kind: str,
        public: Mapping[str, Any],
        principal: str | None,
    ) -> UpstreamIdentity:
        execution_id, made = new_id(), 0

        async def perform(prepared: Prepared) -> Answer:
            nonlocal made
            made += 1
            call = MaintenanceCall(
                caller=caller,
                connection=connection,
                connector=view.connector,
                account_id=account_id,
                principal=principal,
                execution_id=execution_id,
                n=made,
                deadline=self._clock.now() + timedelta(seconds=VERIFY_SECONDS),
            )
            return await self._maintenance.perform(call, prepared)

        try:
            upstream = await view.connector.verify(view, kind, public, perform)
        except CredentialRejected as error:
            told = str(error)[:300]
            field = Field(f"credential.{_secret_fields(view, kind)[0]}", told)
            raise Problem("invalid_input", told, fields=[field], hint=error.hint) from None
        except EgressRefused as error:
            raise Problem("egress_refused", error.reason) from None
        except UpstreamTimeout as error:
            raise Problem(
                "upstream_timeout", f"the credential could not be verified: {error}", sent=error.sent
            ) from None
        except UpstreamFault as error:
            told = f"the credential could not be verified: {error}"
            raise Problem("upstream_unreachable", told, sent=error.sent) from None
        if principal is not None:
            # They were counted on the credential while nobody knew whose it was; they were spent by its principal.
            await self._maintenance.book(
                view.connector, view.origins[0], caller.tenant_id, upstream.principal, view.connector.meters[:1], made
            )
        return upstream

    async def _keep(
        self,
        caller: Caller,
        connection: Connection,
        view: View,
        owner: Owner,
        pending: _Pending,
        upstream: UpstreamIdentity,
        *,
        replace: bool,
    ) -> UUID:
        now = self._clock.now()
        known = self._known(caller.tenant_id, view, pending, upstream)
        async with self._db.tenant(caller.tenant_id) as conn:
            if owner.identity_id is not None:
                await revoke.hold_identity(conn, owner.identity_id)
            await _still_wanted(conn, caller.tenant_id, connection, owner)
            before = await _current(conn, caller.tenant_id, connection.id, owner)
            if before is None:
                await _activate(conn, caller.tenant_id, pending.account_id, known)
                kept, action = pending.account_id, "account.connected"
            elif before.principal == upstream.principal:
                await self._renew(conn, caller.tenant_id, view, before, pending, known, now)
                kept, action = before.id, "account.credential_replaced"
            elif replace:
                reason = "replaced by another principal"
                revoked = await revoke.account(conn, caller.tenant_id, before.id, reason, now)
                await revoke.cancel(conn, revoked.open_calls)
                await _activate(conn, caller.tenant_id, pending.account_id, known)
                kept, action = pending.account_id, "account.replaced"
            else:
                raise Problem(
                    "principal_changed",
                    "this credential belongs to another upstream principal than the account's",
                    hint="an admin can deposit it with replace: true; the old account is revoked then",
                )
            details = {
                "kind": pending.kind,
                "fingerprint": pending.fingerprint,
                "principal": upstream.principal,
            }
            await self._trail.change(
                conn,
                caller,
                action,
                identifier=owner.identifier,
                connection_name=connection.name,
                account_id=kept,
                details=details,
            )
        return kept

    def _known(self, tenant_id: UUID, view: View, pending: _Pending, upstream: UpstreamIdentity) -> dict[str, Any]:
        permissions = upstream.permissions
        if permissions is None or permissions.source == "unknown":
            permissions = declared_permissions(pending.declared)
        return {
            "principal": upstream.principal,
            "principal_key": self._principals.key(view.connector, view.origins[0], tenant_id, upstream.principal),
            "upstream_display": upstream.display[:200],
            "upstream_account_id": upstream.account_id,
            "upstream_token_id": upstream.token_id,
            "upstream_expires_at": upstream.expires_at,
            "permissions": write_permissions(permissions),
        }

    async def _renew(
        self,
        conn: AsyncConnection,
        tenant_id: UUID,
        view: View,
        before: Any,
        pending: _Pending,
        known: Mapping[str, Any],
        now: datetime,
    ) -> None:
        """Gives the verified credential to the account that is there, as its next version."""
        credential_id = new_id()
        latest = await conn.scalar(
            select(credentials.c.version)
            .where(credentials.c.tenant_id == tenant_id, credentials.c.account_id == before.id)
            .order_by(credentials.c.version.desc())
            .limit(1)
        )
        binding = CredentialBinding(tenant_id, before.id, credential_id, (latest or 0) + 1, pending.kind, view.origins)
        await self._vault.put_credential(conn, binding, pending.secret, now)
        await conn.execute(
            update(accounts)
            .where(accounts.c.tenant_id == tenant_id, accounts.c.id == before.id)
            .values(
                status="active",
                kind=pending.kind,
                credential_id=credential_id,
                permissions_version=before.permissions_version + 1,
                version=before.version + 1,
                **known,
            )
        )
        await _remove(conn, tenant_id, pending.account_id)

    async def _discard(
        self, caller: Caller, connection: Connection, owner: Owner, pending: _Pending, error: BaseException
    ) -> None:
        """Removes what a failed deposit left, and records that it was tried."""
        async with self._db.tenant(caller.tenant_id) as conn:
            if not await _remove(conn, caller.tenant_id, pending.account_id):
                return
            reason = error.code if isinstance(error, Problem) else type(error).__name__
            await self._trail.change(
                conn,
                caller,
                "account.deposit_refused",
                identifier=owner.identifier,
                connection_name=connection.name,
                details={"reason": reason, "kind": pending.kind, "fingerprint": pending.fingerprint},
            )


def declared_permissions(declared: tuple[str, ...]) -> Permissions:
    """What a depositor says the token may do, where the token cannot say so itself."""
    if not declared:
        return Permissions("unknown")
    return Permissions(
        "declared", policies=({"effect": "allow", "permission_groups": [{"name": n} for n in declared]},)
    )


def _secret_fields(view: View, kind: str) -> tuple[str, ...]:
    return next((k.secret_fields for k in view.connector.kinds if k.name == kind), ("token",))


async def _still_wanted(conn: AsyncConnection, tenant_id: UUID, connection: Connection, owner: Owner) -> None:
    """Under the identity's lock: nobody was offboarded and nothing redirected while the upstream was asked."""
    version = await conn.scalar(
        select(connections.c.version).where(
            connections.c.tenant_id == tenant_id,
            connections.c.id == connection.id,
            connections.c.status == "active",
        )
    )
    if version != connection.version:
        raise Problem("version_conflict", f"connection {connection.name} was changed meanwhile", hint="deposit again")
    if owner.identity_id is None:
        return
    status = await conn.scalar(
        select(identities.c.status).where(identities.c.tenant_id == tenant_id, identities.c.id == owner.identity_id)
    )
    if status != "active":
        raise Problem("identity_disabled", f"identity {owner.identifier!r} is disabled")


async def _current(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, owner: Owner) -> Any:
    """The account that this owner and label have now, locked for the change."""
    statement = (
        select(accounts)
        .where(
            accounts.c.tenant_id == tenant_id,
            accounts.c.connection_id == connection_id,
            accounts.c.identity_id.is_(None)
            if owner.identity_id is None
            else accounts.c.identity_id == owner.identity_id,
            accounts.c.label.is_(None) if owner.label is None else accounts.c.label == owner.label,
            accounts.c.status.in_(("active", "needs_reauth")),
        )
        .with_for_update()
    )
    return (await conn.execute(statement)).one_or_none()


async def _activate(conn: AsyncConnection, tenant_id: UUID, account_id: UUID, known: Mapping[str, Any]) -> None:
    done = await conn.execute(
        update(accounts)
        .where(accounts.c.tenant_id == tenant_id, accounts.c.id == account_id, accounts.c.status == "pending")
        .values(status="active", version=accounts.c.version + 1, permissions_version=2, **known)
    )
    if done.rowcount != 1:
        raise Problem("version_conflict", "the deposit took too long and was given up", hint="deposit it again")


async def _remove(conn: AsyncConnection, tenant_id: UUID, account_id: UUID) -> bool:
    gone = await conn.execute(
        delete(accounts).where(
            accounts.c.tenant_id == tenant_id, accounts.c.id == account_id, accounts.c.status == "pending"
        )
    )
    if gone.rowcount != 1:
        return False
    await conn.execute(
        delete(credentials).where(credentials.c.tenant_id == tenant_id, credentials.c.account_id == account_id)
    )
    return True


async def remove_stale(conn: AsyncConnection, tenant_id: UUID, now: datetime) -> int:
    """Removes pending accounts that a crash left behind; how many. Runs in a transaction scoped to the tenant."""
    stale = await conn.execute(
        select(accounts.c.id).where(
            accounts.c.tenant_id == tenant_id,
            accounts.c.status == "pending",
            accounts.c.created_at < now - PENDING_FOR,
        )
    )
    removed = 0
    for row in stale.all():
        removed += await _remove(conn, tenant_id, row.id)
    return removed

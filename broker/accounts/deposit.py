"""Depositing a credential: sealed first, verified upstream through the gate, and only then of any use.

The order is what keeps a failed deposit harmless. A `pending` account with the sealed credential is committed; the
verification calls run like any other call (budget, intent, outcome) against it; then one transaction either makes it
the identity's account, or gives its credential to the account that was there, or removes every trace of it. Whatever
account was there before goes on working until that transaction commits.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts.definitions import DefinitionPins
from broker.accounts.pending import Owner, Pending, Pendings, remove, secret_fields
from broker.accounts.permissions import write_permissions
from broker.accounts.principals import budget_key, budget_principal
from broker.accounts.tables import accounts, connections
from broker.accounts.verification import Verification
from broker.accounts.views import View, Views
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Caller, Connection
from broker.errors import Field, Problem
from broker.gate import revoke
from broker.gate.maintenance import Maintenance
from broker.gate.principals import Principals
from broker.identity.tables import identities
from broker.identity.taking import hold_identity, hold_minter
from broker.ids import new_id
from connectors.base import UpstreamIdentity
from connectors.errors import CredentialRejected
from vault.binding import CredentialBinding
from vault.store import Vault
from vault.tables import credentials

_ONE_AT_A_TIME: Final = text("select pg_advisory_xact_lock(hashtextextended(:place, 7))")


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
        definitions: DefinitionPins | None = None,
    ) -> None:
        self._definitions = definitions
        self._db = db
        self._vault = vault_
        self._trail = trail
        self._maintenance = maintenance
        self._principals = principals
        self._views = views
        self._clock = clock
        self._verification = Verification(maintenance, clock)
        self.pendings = Pendings(db=db, vault_=vault_, trail=trail, clock=clock)

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
        pending = await self.pendings.seal(caller, connection, view, owner, credential)
        try:
            upstream = await self._verify(caller, connection, view, owner, pending)
            kept = await self._keep(caller, connection, view, owner, pending, upstream, replace=replace)
        except BaseException as error:
            await self.pendings.discard(caller, connection, owner, pending, error)
            raise
        if self._definitions is not None:
            await self._definitions.first(caller, connection, kept)
        return kept

    async def reverify(
        self, caller: Caller, connection: Connection, account_id: UUID, kind: str, public: Mapping[str, Any]
    ) -> UpstreamIdentity:
        """Asks the upstream again about a credential that is in use, on its own budget. Raises Problem `needs_reauth`
        where it is accepted no longer, and those of `Verification.ask`."""
        view = await self._views.connection(caller.tenant_id, connection)
        try:
            found = await self._verification.ask(caller, connection, view, account_id, kind, public, principal=None)
        except CredentialRejected as error:
            raise Problem("needs_reauth", str(error)[:300], hint=error.hint) from None
        return found.upstream

    async def _verify(
        self, caller: Caller, connection: Connection, view: View, owner: Owner, pending: Pending
    ) -> UpstreamIdentity:
        # Before anyone knows whose credential it is, its requests count for whoever's account it would be: that bounds
        # guessing, and the budgets that guesses can leave behind.
        sharer = owner.identity_id or caller.tenant_id
        unknown = f"deposit:{connection.id}:{sharer}"
        try:
            found = await self._verification.ask(
                caller, connection, view, pending.account_id, pending.kind, pending.public, principal=unknown
            )
        except CredentialRejected as error:
            told = str(error)[:300]
            field = Field(f"credential.{(*secret_fields(view, pending.kind), 'kind')[0]}", told)
            raise Problem("invalid_input", told, fields=[field], hint=error.hint) from None
        await self._maintenance.book(
            view.connector,
            view.origins[0],
            caller.tenant_id,
            _budget_of(view, found.upstream),
            view.connector.meters[:1],
            found.requests,
            sharer=sharer,
        )
        return found.upstream

    async def _keep(
        self,
        caller: Caller,
        connection: Connection,
        view: View,
        owner: Owner,
        pending: Pending,
        upstream: UpstreamIdentity,
        *,
        replace: bool,
    ) -> UUID:
        now = self._clock.now()
        known = self._known(caller.tenant_id, view, upstream)
        async with self._db.tenant(caller.tenant_id) as conn:
            await _still_wanted(conn, caller, connection, owner)
            before = await _current(conn, caller.tenant_id, connection.id, owner)
            if before is None:
                await _activate(conn, caller.tenant_id, pending.account_id, known)
                kept, action = pending.account_id, "account.connected"
            elif before.principal == upstream.principal:
                await self._renew(conn, caller.tenant_id, view, before, pending, known, now)
                kept, action = before.id, "account.credential_replaced"
            elif replace:
                await _take_over(conn, caller.tenant_id, before.id, pending.account_id, known, now)
                kept, action = pending.account_id, "account.replaced"
            else:
                raise _another_principal()
            await self._trail.change(
                conn,
                caller,
                action,
                identifier=owner.identifier,
                connection_name=connection.name,
                account_id=kept,
                details={"kind": pending.kind, "fingerprint": pending.fingerprint, "principal": upstream.principal},
            )
        return kept

    def _known(self, tenant_id: UUID, view: View, upstream: UpstreamIdentity) -> dict[str, Any]:
        return {
            "principal": upstream.principal,
            "principal_key": self._principals.key(
                view.connector, view.origins[0], tenant_id, _budget_of(view, upstream)
            ),
            "upstream_display": upstream.display[:200],
            "upstream_account_id": upstream.account_id,
            "upstream_token_id": upstream.token_id,
            "upstream_expires_at": upstream.expires_at,
            "permissions": write_permissions(upstream.permissions),
        }

    async def _renew(
        self,
        conn: AsyncConnection,
        tenant_id: UUID,
        view: View,
        before: Any,
        pending: Pending,
        known: Mapping[str, Any],
        now: datetime,
    ) -> None:
        """Gives the verified credential to the account that is there, as its next version."""
        credential_id = new_id()
        changed = await conn.execute(
            update(accounts)
            .where(
                accounts.c.tenant_id == tenant_id,
                accounts.c.id == before.id,
                accounts.c.version == before.version,
            )
            .values(
                status="active",
                kind=pending.kind,
                credential_id=credential_id,
                permissions_version=accounts.c.permissions_version + 1,
                version=before.version + 1,
                **known,
            )
        )
        if changed.rowcount != 1:
            raise Problem("version_conflict", "the account was changed meanwhile", hint="deposit it again")
        # After the account's row is ours: a revocation that waits for it will find this credential too.
        latest = await conn.scalar(
            select(credentials.c.version)
            .where(credentials.c.tenant_id == tenant_id, credentials.c.account_id == before.id)
            .order_by(credentials.c.version.desc())
            .limit(1)
        )
        binding = CredentialBinding(tenant_id, before.id, credential_id, (latest or 0) + 1, pending.kind, view.origins)
        await self._vault.put_credential(conn, binding, pending.secret, now)
        await remove(conn, tenant_id, pending.account_id)


def _budget_of(view: View, upstream: UpstreamIdentity) -> str:
    return budget_principal(budget_key(view.config), upstream.principal, upstream.token_id, upstream.account_id)


def _another_principal() -> Problem:
    return Problem(
        "principal_changed",
        "this credential belongs to another upstream principal than the account's",
        hint="an admin can deposit it with replace: true; the old account is revoked then",
    )


async def _still_wanted(conn: AsyncConnection, caller: Caller, connection: Connection, owner: Owner) -> None:
    """Till the end of the transaction nobody redirects the connection, offboards the owner or revokes the caller's
    bearer, and none of it happened while the upstream was asked. Deposits to one place come one at a time."""
    place = f"deposit:{connection.id}:{owner.identity_id}:{owner.label}"
    await conn.execute(_ONE_AT_A_TIME, {"place": place})
    version = await conn.scalar(
        select(connections.c.version)
        .where(
            connections.c.tenant_id == caller.tenant_id,
            connections.c.id == connection.id,
            connections.c.status == "active",
        )
        .with_for_update(read=True)
    )
    if version != connection.version:
        raise Problem("version_conflict", f"connection {connection.name} was changed meanwhile", hint="deposit again")
    # Which account a call uses may be another from now on: a call judged before must be judged anew.
    await revoke.policy_changed(conn, caller.tenant_id)
    if owner.identity_id is not None:
        await hold_identity(conn, owner.identity_id)
    await hold_minter(conn, caller)
    if owner.identity_id is None:
        return
    status = await conn.scalar(
        select(identities.c.status).where(
            identities.c.tenant_id == caller.tenant_id, identities.c.id == owner.identity_id
        )
    )
    if status != "active":
        raise Problem("identity_disabled", f"identity {owner.identifier!r} is disabled")


async def _current(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, owner: Owner) -> Any:
    """The account that this owner and label have now."""
    identity, label = accounts.c.identity_id, accounts.c.label
    statement = select(accounts).where(
        accounts.c.tenant_id == tenant_id,
        accounts.c.connection_id == connection_id,
        identity.is_(None) if owner.identity_id is None else identity == owner.identity_id,
        label.is_(None) if owner.label is None else label == owner.label,
        accounts.c.status.in_(("active", "needs_reauth")),
    )
    return (await conn.execute(statement)).one_or_none()


async def _take_over(
    conn: AsyncConnection, tenant_id: UUID, old: UUID, new: UUID, known: Mapping[str, Any], now: datetime
) -> None:
    """Another principal's account in the place of the one that is there, which is revoked."""
    revoked = await revoke.account(conn, tenant_id, old, "replaced by another principal", now)
    await revoke.cancel(conn, revoked.open_calls)
    await _activate(conn, tenant_id, new, known)


async def _activate(conn: AsyncConnection, tenant_id: UUID, account_id: UUID, known: Mapping[str, Any]) -> None:
    done = await conn.execute(
        update(accounts)
        .where(accounts.c.tenant_id == tenant_id, accounts.c.id == account_id, accounts.c.status == "pending")
        .values(status="active", version=accounts.c.version + 1, permissions_version=2, **known)
    )
    if done.rowcount != 1:
        raise Problem("version_conflict", "the deposit took too long and was given up", hint="deposit it again")

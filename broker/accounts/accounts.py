"""Connected accounts: deposit, list, revoke, verify again. Answers are metadata; a secret never comes out."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts.deposit import Deposit
from broker.accounts.pending import Owner
from broker.accounts.permissions import read_permissions, write_permissions
from broker.accounts.rows import unknown
from broker.accounts.tables import accounts, connections
from broker.accounts.upstream_oauth.giving_back import GivingBack
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.db.paging import Page, PageRequest, keyset
from broker.domain import Caller, Connection
from broker.errors import Problem, invalid
from broker.gate import revoke
from broker.gate.inflight import Drain
from broker.identity.identities import unknown_identity
from broker.identity.roles import allows, reach, require
from broker.identity.tables import identities
from broker.ids import parse_id
from connectors.base import UpstreamIdentity
from vault.tables import credentials


class Accounts:
    """The connected accounts of the caller's tenant. A session sees and deposits its own identity's only."""

    def __init__(
        self, *, db: Database, trail: AuditTrail, deposit: Deposit, drain: Drain, clock: Clock, giving_back: GivingBack
    ) -> None:
        self._db = db
        self._trail = trail
        self._deposit = deposit
        self._drain = drain
        self._clock = clock
        self._giving_back = giving_back

    async def put(
        self,
        caller: Caller,
        *,
        connection_name: str,
        identifier: str | None,
        shared: bool,
        label: str | None,
        credential: Mapping[str, Any],
        replace: bool,
    ) -> dict[str, Any]:
        """Deposits a credential, verified upstream first. Raises Problem; see `Deposit.deposit`."""
        if (identifier is None) == (not shared):
            raise invalid("identifier", "name whose account it is, or set shared: true; one of the two")
        _may_deposit(caller, connection_name, identifier, shared=shared, replace=replace)
        async with self._db.tenant(caller.tenant_id) as conn:
            connection = await self._connection(conn, caller, connection_name)
            owner = await self._owner(conn, caller, identifier, label)
        account_id = await self._deposit.deposit(caller, connection, owner, credential, replace=replace)
        return await self.get(caller, str(account_id))

    async def get(self, caller: Caller, account_id: str) -> dict[str, Any]:
        """One account's metadata. Raises Problem `not_found`, also for another identity's."""
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await self._row(conn, caller, account_id)
        return _shown(row)

    async def list(
        self,
        caller: Caller,
        page: PageRequest,
        *,
        connection_name: str | None = None,
        identifier: str | None = None,
        status: str | None = None,
    ) -> Page[dict[str, Any]]:
        """The tenant's accounts, oldest first; a session's own."""
        statement = _select(caller)
        if connection_name is not None:
            statement = statement.where(connections.c.name == connection_name)
        if identifier is not None:
            statement = statement.where(identities.c.identifier == identifier)
        if status is not None:
            statement = statement.where(accounts.c.status == status)
        async with self._db.tenant(caller.tenant_id) as conn:
            found = await keyset(conn, statement, (accounts.c.created_at, accounts.c.id), page, of="connected_accounts")
        return Page([_shown(row) for row in found.items], found.next_page_token)

    async def revoke(
        self, caller: Caller, account_id: str, *, reason: str, upstream: bool, drain_seconds: float
    ) -> dict[str, Any]:
        """Revokes an account. When this returns nothing new is admitted with it; the calls still open are named.

        `upstream`: then the tokens of a sign-in are given back to their server too, as far as it answers in
        `giving_back.WAIT`; repeating it asks again. Credentials of other kinds are `kept`: delete those there.
        """
        require(caller, "accounts.revoke")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await self._row(conn, caller, account_id)
            await self._trail.change(
                conn,
                caller,
                "account.revoked",
                identifier=row.identifier,
                connection_name=row.connection_name,
                account_id=row.id,
                details={"reason": reason},
            )
            revoked = await revoke.account(conn, caller.tenant_id, row.id, reason, self._clock.now())
            if drain_seconds > 0:
                await revoke.cancel(conn, revoked.open_calls)
        drained = await self._drain.wait(caller.tenant_id, revoked, drain_seconds)
        if upstream:
            given_back = await self._giving_back.give_back(caller, [row.id])
        else:
            given_back = await self._giving_back.standing(caller.tenant_id, [row.id])
        return {
            "revoked_at": revoked.at,
            "in_flight": [str(i) for i in revoked.in_flight],
            "drained": drained,
            "upstream": given_back[row.id],
        }

    async def verify(self, caller: Caller, account_id: str) -> dict[str, Any]:
        """Asks the upstream again about the credential in use; forgets what refusals had taught about it.

        Raises Problem `needs_reauth` (also where the upstream accepts it no longer), `principal_changed`,
        `version_conflict` where another credential came meanwhile.
        """
        require(caller, "accounts.verify")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await self._row(conn, caller, account_id)
            connection = await self._connection(conn, caller, row.connection_name)
        if row.status != "active":
            raise Problem("needs_reauth", f"the account is {row.status}", hint="deposit a credential again")
        public = {} if row.upstream_account_id is None else {"account_id": row.upstream_account_id}
        upstream = await self._deposit.reverify(caller, connection, row.id, row.kind, public)
        if upstream.principal != row.principal:
            raise Problem("principal_changed", "the upstream now names another principal for this credential")
        await self._verified(caller, row, upstream)
        return await self.get(caller, account_id)

    async def _verified(self, caller: Caller, row: Any, upstream: UpstreamIdentity) -> None:
        """Writes down what the upstream says now. What a person declared stands where it says nothing."""
        permissions = upstream.permissions
        before = read_permissions(row.permissions)
        if permissions is None and before.source == "declared":
            permissions = dataclasses.replace(before, learned={})
        async with self._db.tenant(caller.tenant_id) as conn:
            written = await conn.execute(
                update(accounts)
                .where(
                    accounts.c.tenant_id == caller.tenant_id,
                    accounts.c.id == row.id,
                    accounts.c.status == "active",
                    accounts.c.credential_id == row.credential_id,
                )
                .values(
                    upstream_expires_at=upstream.expires_at,
                    permissions=write_permissions(permissions),
                    permissions_version=accounts.c.permissions_version + 1,
                )
            )
            if written.rowcount != 1:
                raise Problem("version_conflict", "the account's credential was changed meanwhile", hint="try again")
            await self._trail.change(
                conn,
                caller,
                "account.verified",
                identifier=row.identifier,
                connection_name=row.connection_name,
                account_id=row.id,
            )

    async def _row(self, conn: AsyncConnection, caller: Caller, account_id: str) -> Any:
        wanted = parse_id(account_id)
        row = None
        if wanted is not None:
            row = (await conn.execute(_select(caller).where(accounts.c.id == wanted))).one_or_none()
        if row is None:
            raise Problem("not_found", "no such connected account")
        return row

    @staticmethod
    async def _connection(conn: AsyncConnection, caller: Caller, name: str) -> Connection:
        statement = select(connections).where(
            connections.c.tenant_id == caller.tenant_id,
            connections.c.name == name,
            connections.c.status != "deleted",
        )
        row = (await conn.execute(statement)).one_or_none()
        if row is None and allows(caller, "connections.read"):
            raise await unknown(conn, caller.tenant_id, name)
        if row is None:
            raise Problem("unknown_connection", f"no connection {name!r} in this tenant")
        if row.status != "active":
            raise Problem("forbidden", f"connection {name} is {row.status}")
        return Connection(row.id, row.name, row.connector, row.version, row.status)

    @staticmethod
    async def _owner(conn: AsyncConnection, caller: Caller, identifier: str | None, label: str | None) -> Owner:
        if identifier is None:
            return Owner(None, None, label)
        statement = select(identities.c.id, identities.c.status).where(
            identities.c.tenant_id == caller.tenant_id, identities.c.identifier == identifier
        )
        row = (await conn.execute(statement)).one_or_none()
        if row is None:
            raise await unknown_identity(conn, caller, identifier)
        if row.status != "active":
            raise Problem("identity_disabled", f"identity {identifier!r} is disabled")
        return Owner(row.id, identifier, label)


def _may_deposit(caller: Caller, connection_name: str, identifier: str | None, *, shared: bool, replace: bool) -> None:
    """A session deposits for itself, on the connections that it may use; an admin for anyone."""
    if reach(caller, "accounts.deposit") == "any":
        return
    own = caller.identity is not None and caller.identity.identifier == identifier
    if shared or not own:
        raise Problem("forbidden", "a session deposits credentials for its own identity only")
    narrowed = caller.bearer.restrictions
    if narrowed.connections is not None and connection_name not in narrowed.connections:
        raise Problem("forbidden", "this session is restricted to other connections")
    if narrowed.access_at(connection_name) == "read":
        # What it deposits, every later call of its identity would go through.
        raise Problem("forbidden", "this session is restricted to reading; deposit with one that is not")
    if replace:
        raise Problem("forbidden", "only an admin replaces an account by another principal's")


def _select(caller: Caller) -> Any:
    """Accounts with what their metadata needs; narrowed to the caller's own unless it may read all."""
    statement = (
        select(
            accounts,
            connections.c.name.label("connection_name"),
            identities.c.identifier,
            credentials.c.version.label("credential_version"),
            credentials.c.fingerprint,
            credentials.c.created_at.label("credential_created_at"),
        )
        .select_from(accounts)
        .join(
            connections,
            (connections.c.tenant_id == accounts.c.tenant_id) & (connections.c.id == accounts.c.connection_id),
        )
        .join(
            identities,
            (identities.c.tenant_id == accounts.c.tenant_id) & (identities.c.id == accounts.c.identity_id),
            isouter=True,
        )
        .join(
            credentials,
            (credentials.c.tenant_id == accounts.c.tenant_id) & (credentials.c.id == accounts.c.credential_id),
            isouter=True,
        )
        .where(accounts.c.tenant_id == caller.tenant_id)
    )
    if reach(caller, "accounts.read") == "any":
        return statement
    assert caller.identity is not None  # noqa: S101 - a session has one
    return statement.where(accounts.c.identity_id == caller.identity.id)


def _shown(row: Any) -> dict[str, Any]:
    upstream: dict[str, Any] = {"principal": row.principal, "display": row.upstream_display}
    if row.upstream_account_id is not None:
        upstream["account_id"] = row.upstream_account_id
    if row.upstream_expires_at is not None:
        upstream["expires_at"] = row.upstream_expires_at
    permissions = read_permissions(row.permissions)
    return {
        "id": str(row.id),
        "connection_name": row.connection_name,
        "identifier": row.identifier,
        "shared": row.identity_id is None,
        "label": row.label,
        "status": row.status,
        "kind": row.kind,
        "upstream": upstream,
        "credential": {
            "version": row.credential_version,
            "fingerprint": row.fingerprint,
            "created_at": row.credential_created_at,
        },
        "permissions": {"source": permissions.source, "learned": dict(permissions.learned)},
        "version": row.version,
        "created_at": row.created_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
    }

"""Grants: stored authority. Made, shown and taken away by admins alone; every change is audited, and none
takes effect beside a call that was decided on what stood before."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, column, insert, select, table, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.db.paging import Page, PageRequest, keyset
from broker.domain import Caller
from broker.errors import Problem
from broker.identity import names
from broker.identity.identities import existing
from broker.identity.roles import require
from broker.identity.tables import identities
from broker.ids import new_id, parse_id
from broker.policy.spec import GrantSpec, check
from broker.policy.tables import grants

PolicyChanged = Callable[[AsyncConnection, UUID], Awaitable[Any]]
"""`gate.revoke.policy_changed`: takes the tenant's lock exclusively, till the end of the transaction."""

# The packages above declare this table; here only its name and key are read.
_connections = table(
    "connections", column("tenant_id"), column("id"), column("name"), column("status"), schema="broker"
)

_OPEN: Final = text(
    """
    select distinct o.execution_id from broker.open_calls o
      left join broker.identities i on i.tenant_id = o.tenant_id and i.id = o.identity_id
     where o.tenant_id = :tenant and o.connection_id = :connection
       and (:kind = 'everyone' or (:kind = 'identity' and o.identity_id = :identity)
            or (:kind = 'group' and :group_name = any (i.groups)))
     order by 1 limit 10000"""
)


class Grants:
    """The grants of the caller's tenant."""

    def __init__(self, *, db: Database, trail: AuditTrail, policy_changed: PolicyChanged) -> None:
        self._db = db
        self._trail = trail
        self._policy_changed = policy_changed

    async def create(self, caller: Caller, spec: GrantSpec) -> dict[str, Any]:
        """A new grant, in force for the very next call. Raises Problem `forbidden`, `invalid_input` (every
        wrong item named), `unknown_connection`, `unknown_identity`."""
        require(caller, "grants.write")
        check(spec, caller.now)
        async with self._db.tenant(caller.tenant_id) as conn:
            identity = None if spec.identifier is None else await existing(conn, caller, spec.identifier)
            # Behind the tenant's lock, so that the connection is not deleted between look-up and insert.
            await self._policy_changed(conn, caller.tenant_id)
            connection = await _connection(conn, caller.tenant_id, spec.connection_name)
            grant_id = await _insert(
                conn, caller, spec, connection.id, None if identity is None else identity.id, caller.now
            )
            row = (await conn.execute(_select(caller.tenant_id).where(grants.c.id == grant_id))).one()
            await _record(self._trail, conn, caller, "grant.created", row)
        return _shown(row)

    async def list(
        self,
        caller: Caller,
        page: PageRequest,
        *,
        connection_name: str | None = None,
        identifier: str | None = None,
        group: str | None = None,
    ) -> Page[dict[str, Any]]:
        """The grants in force or expired, oldest first. `identifier` and `group` are those *named* by grants:
        what reaches an identity through its groups or as everyone is not among them."""
        require(caller, "grants.read")
        statement = _select(caller.tenant_id).where(grants.c.deleted_at.is_(None))
        if connection_name is not None:
            wanted = names.connection("connection_name", connection_name)
            statement = statement.where(_connections.c.name == wanted)
        if identifier is not None:
            statement = statement.where(identities.c.identifier == names.identifier("identifier", identifier))
        if group is not None:
            statement = statement.where(grants.c.group_name == names.group("group", group))
        async with self._db.tenant(caller.tenant_id) as conn:
            found = await keyset(conn, statement, (grants.c.created_at, grants.c.id), page, of="grants")
        return Page([_shown(row) for row in found.items], found.next_page_token)

    async def delete(self, caller: Caller, grant_id: str) -> dict[str, Any]:
        """Takes a grant away. When this returns nothing new is admitted by it. `in_flight` names every
        execution open then of those whom the grant could serve on its connection. Repeating it answers the
        first time again. Raises Problem `forbidden`, `not_found`."""
        require(caller, "grants.write")
        wanted = parse_id(grant_id)
        if wanted is None:
            raise Problem("not_found", "no such grant")
        mine = (grants.c.tenant_id == caller.tenant_id) & (grants.c.id == wanted)
        async with self._db.tenant(caller.tenant_id) as conn:
            await self._policy_changed(conn, caller.tenant_id)
            flip = update(grants).where(mine, grants.c.deleted_at.is_(None)).values(deleted_at=caller.now)
            flipped = (await conn.execute(flip.returning(grants.c.id))).one_or_none()
            row = (await conn.execute(_select(caller.tenant_id).where(grants.c.id == wanted))).one_or_none()
            if row is None:
                raise Problem("not_found", "no such grant")
            in_flight = await _open_executions(conn, row)
            if flipped is not None:
                await _record(self._trail, conn, caller, "grant.deleted", row)
        return {"revoked_at": row.deleted_at, "in_flight": [str(e) for e in in_flight]}


async def insert_default(
    conn: AsyncConnection, trail: AuditTrail, caller: Caller, connection_id: UUID, name: str, now: datetime
) -> UUID:
    """Grants everyone `read` on a connection made in this very transaction, which has said
    `policy_changed`."""
    spec = GrantSpec(connection_name=name, access="read", everyone=True)
    grant_id = await _insert(conn, caller, spec, connection_id, None, now)
    row = (await conn.execute(_select(caller.tenant_id).where(grants.c.id == grant_id))).one()
    await _record(trail, conn, caller, "grant.created", row)
    return grant_id


async def operation_patterns(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID) -> Sequence[str] | None:
    """The `operations` of all grants on a connection, each once; None where one of them covers every
    operation."""
    statement = select(grants.c.operations).where(
        grants.c.tenant_id == tenant_id, grants.c.connection_id == connection_id, grants.c.deleted_at.is_(None)
    )
    lists = [row.operations for row in await conn.execute(statement)]
    if any(operations is None for operations in lists):
        return None
    return sorted({pattern for operations in lists for pattern in operations})


async def _insert(
    conn: AsyncConnection,
    caller: Caller,
    spec: GrantSpec,
    connection_id: UUID,
    identity_id: UUID | None,
    now: datetime,
) -> UUID:
    grant_id = new_id()
    await conn.execute(
        insert(grants).values(
            tenant_id=caller.tenant_id,
            id=grant_id,
            subject_kind="everyone" if spec.everyone else "group" if spec.group is not None else "identity",
            identity_id=identity_id,
            group_name=spec.group,
            connection_id=connection_id,
            tools=_items(spec.tools),
            access=spec.access,
            operations=_items(spec.operations),
            accounts=_items(spec.accounts),
            zones=_items(spec.zones),
            account=spec.account,
            expires_at=spec.expires_at,
            created_by=caller.actor[:300],
            created_at=now,
        )
    )
    return grant_id


def _items(items: Sequence[str] | None) -> list[str] | None:
    return None if items is None else list(dict.fromkeys(items))


def _select(tenant_id: UUID) -> Select[Any]:
    return (
        select(grants, _connections.c.name.label("connection_name"), identities.c.identifier)
        .join(
            _connections,
            (_connections.c.tenant_id == grants.c.tenant_id) & (_connections.c.id == grants.c.connection_id),
        )
        .join(
            identities,
            (identities.c.tenant_id == grants.c.tenant_id) & (identities.c.id == grants.c.identity_id),
            isouter=True,
        )
        .where(grants.c.tenant_id == tenant_id)
    )


async def _connection(conn: AsyncConnection, tenant_id: UUID, name: str) -> Any:
    mine = (_connections.c.tenant_id == tenant_id) & (_connections.c.status != "deleted")
    statement = select(_connections.c.id).where(mine, _connections.c.name == name)
    row = (await conn.execute(statement)).one_or_none()
    if row is None:
        some = await conn.execute(select(_connections.c.name).where(mine).order_by(_connections.c.name).limit(500))
        hint = names.near(name, [str(other.name) for other in some])
        raise Problem("unknown_connection", f"no connection {name!r} in this tenant", hint=hint)
    return row


async def _open_executions(conn: AsyncConnection, row: Any) -> list[UUID]:
    values = {
        "tenant": row.tenant_id,
        "connection": row.connection_id,
        "kind": row.subject_kind,
        "identity": row.identity_id,
        "group_name": row.group_name,
    }
    return [found[0] for found in await conn.execute(_OPEN, values)]


async def _record(trail: AuditTrail, conn: AsyncConnection, caller: Caller, action: str, row: Any) -> None:
    shown = _shown(row)
    kept = ("tools", "access", "operations", "resources", "account")
    details = {"grant_id": shown["id"], "subject": shown["subject"], **{name: shown[name] for name in kept}}
    details["expires_at"] = None if row.expires_at is None else row.expires_at.isoformat()
    await trail.change(
        conn, caller, action, identifier=row.identifier, connection_name=row.connection_name, details=details
    )


def _shown(row: Any) -> dict[str, Any]:
    subject: dict[str, Any] = {
        "everyone": {"everyone": True},
        "group": {"group": row.group_name},
        "identity": {"identifier": row.identifier},
    }[row.subject_kind]
    limited = row.accounts is not None or row.zones is not None
    return {
        "id": str(row.id),
        "subject": subject,
        "connection_name": row.connection_name,
        "tools": row.tools,
        "access": row.access,
        "operations": row.operations,
        "resources": {"accounts": row.accounts, "zones": row.zones} if limited else None,
        "account": row.account,
        "expires_at": row.expires_at,
        "created_by": row.created_by,
        "created_at": row.created_at,
    }

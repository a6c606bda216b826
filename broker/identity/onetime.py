"""One-time links: the rows behind them, made, found and used up. What a link opens is for its own module to say.

A link stands on a session bearer of its identity whose token nobody has: it expires, and is revoked, with that bearer
(by whoever may, by offboarding, with the key of whoever made it). Opening it changes nothing, so that link scanners and
prefetching browsers use nothing up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.db.database import Database
from broker.domain import Access, Bearer, Caller, Restrictions
from broker.errors import Problem
from broker.identity import tickets
from broker.identity.identities import existing
from broker.identity.minting import mint_bearer
from broker.identity.taking import hold_identity, hold_minter, scope
from broker.identity.tokens import ParsedToken
from broker.ids import new_id

LinkKind = Literal["connect", "sign_in"]

LIVE: Final = 20
"""Links of one kind and identity that may wait for use at the same time. Of one kind: an agent makes connect links for
its identity, and must not be able to keep the admin from making the link by which that person signs in and stops it."""

_INSERT: Final = text(
    """
    insert into broker.links (tenant_id, id, kind, token_hash, bearer_id, connection_name, made_by, created_at)
    values (:tenant, :id, :kind, :hash, :bearer, :connection, :made_by, :now)"""
)
_LIVE: Final = text(
    """
    select count(*) from broker.bearers b
      join broker.links l on l.tenant_id = b.tenant_id and l.bearer_id = b.id and l.used_at is null and l.kind = :kind
     where b.tenant_id = :tenant and b.identity_id = :identity and b.revoked_at is null and b.expires_at > :now"""
)
_FIND: Final = text(
    """
    select l.id, l.kind, l.bearer_id, l.connection_name, l.made_by, l.used_at,
           b.token_hash, b.revoked_at, b.expires_at, b.parent_id, b.parent_tenant_id,
           i.id as identity_id, i.identifier, i.status, t.name as tenant_name, t.status as tenant_status
      from broker.links l
      join broker.bearers b on b.tenant_id = l.tenant_id and b.id = l.bearer_id
      join broker.identities i on i.tenant_id = l.tenant_id and i.id = b.identity_id
      join broker.tenants t on t.id = l.tenant_id
     where l.tenant_id = :tenant and l.token_hash = :hash and l.kind = :kind"""
)
_USED: Final = text(
    "update broker.links set used_at = :now where tenant_id = :tenant and id = :id and used_at is null returning id"
)
_BEARER: Final = text("select * from broker.bearers where tenant_id = :tenant and id = :id")


@dataclass(frozen=True, slots=True)
class Link:
    """A link that stands. `token` looks up the session it stands on; `parent` is the bearer that made it, as (tenant,
    id); `csrf` is what forms opened by it carry."""

    id: UUID
    kind: LinkKind
    tenant_id: UUID
    tenant_name: str
    identity_id: UUID
    identifier: str
    connection_name: str | None
    made_by: str
    expires_at: datetime
    bearer_id: UUID
    parent: tuple[UUID, UUID]
    token: ParsedToken = field(repr=False)
    csrf: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link just made: `ticket` is shown this once."""

    id: UUID
    ticket: str = field(repr=False)
    identifier: str
    expires_at: datetime


async def make(
    conn: AsyncConnection,
    caller: Caller,
    kind: LinkKind,
    identifier: str,
    *,
    lasts: timedelta,
    connections: Sequence[str],
    access: Access | None,
    connection_name: str | None,
) -> NewLink:
    """A link for one identity, in the caller's own tenant's transaction. It never outlives the caller's bearer.

    Raises Problem `unknown_identity`, `identity_disabled`, `rate_limited`, `unauthenticated`.
    """
    owner = await _held(conn, caller, kind, identifier)
    what = "sign-in link" if connection_name is None else f"connect link for {connection_name}"
    minted = await mint_bearer(
        conn,
        caller.tenant_id,
        "session",
        caller,
        caller.now,
        identity_id=owner.id,
        connections=list(connections),
        access=access,
        client=f"{what}, made by {caller.actor}"[:300],
        expires_at=caller.now + lasts,
    )
    text_, ticket = tickets.mint(kind, caller.tenant_id)
    link_id = new_id()
    values: dict[str, Any] = {"tenant": caller.tenant_id, "id": link_id, "kind": kind, "hash": ticket.digest}
    values |= {"bearer": minted.id, "connection": connection_name, "made_by": caller.actor[:300], "now": caller.now}
    await conn.execute(_INSERT, values)
    assert minted.expires_at is not None  # noqa: S101 - it was given one
    return NewLink(link_id, text_, owner.identifier, minted.expires_at)


async def _held(conn: AsyncConnection, caller: Caller, kind: LinkKind, identifier: str) -> Any:
    """The active identity that a link is for, held with the caller's bearer until the transaction ends."""
    found = await existing(conn, caller, identifier)
    await hold_identity(conn, found.id)
    await hold_minter(conn, caller)
    # Read again behind the lock: an offboarding that was under way has finished by now.
    owner = await existing(conn, caller, identifier)
    if owner.status != "active":
        raise Problem("identity_disabled", f"identity {identifier!r} is disabled")
    values = {"tenant": caller.tenant_id, "identity": owner.id, "kind": kind, "now": caller.now}
    if int(await conn.scalar(_LIVE, values) or 0) >= LIVE:
        told = f"{LIVE} links already wait for this identity"
        raise Problem("rate_limited", told, hint="use one of them, or wait until they expire", retry_after=600)
    return owner


async def find(db: Database, kind: LinkKind, ticket_text: str, now: datetime) -> Link:
    """The link that `ticket_text` opens. Changes nothing. Raises Problem `not_found` (also used, expired, revoked),
    `identity_disabled`, `forbidden`."""
    ticket = tickets.parse(kind, ticket_text)
    async with db.tenant(ticket.tenant_id) as conn:
        return await find_in(conn, ticket, now)


async def find_in(conn: AsyncConnection, ticket: tickets.Ticket, now: datetime) -> Link:
    """As `find`, in a transaction of the ticket's tenant."""
    values = {"tenant": ticket.tenant_id, "hash": ticket.digest, "kind": ticket.kind}
    row: Any = (await conn.execute(_FIND, values)).one_or_none()
    if row is None:
        raise Problem("not_found", "this is not a link that this server made", hint="ask for a new link")
    if row.used_at is not None:
        raise Problem("not_found", "this link has been used", hint="a link works once; ask for a new one")
    if row.revoked_at is not None or row.parent_id is None:
        raise Problem("not_found", "this link was revoked", hint="ask for a new link")
    if row.expires_at <= now:
        raise Problem("not_found", "this link has expired", hint="ask for a new link")
    if row.status != "active":
        raise Problem("identity_disabled", f"identity {row.identifier!r} is disabled")
    if row.tenant_status != "active":
        raise Problem("forbidden", f"tenant {row.tenant_name} is {row.tenant_status}")
    return Link(
        id=row.id,
        kind=row.kind,
        tenant_id=ticket.tenant_id,
        tenant_name=row.tenant_name,
        identity_id=row.identity_id,
        identifier=row.identifier,
        connection_name=row.connection_name,
        made_by=row.made_by,
        expires_at=row.expires_at,
        bearer_id=row.bearer_id,
        parent=(row.parent_tenant_id, row.parent_id),
        token=ParsedToken("session", ticket.tenant_id, bytes(row.token_hash)),
        csrf=ticket.csrf,
    )


async def use(conn: AsyncConnection, link: Link, now: datetime) -> None:
    """Uses a link up. Raises Problem `not_found` where it was used meanwhile."""
    values = {"tenant": link.tenant_id, "id": link.id, "now": now}
    if (await conn.execute(_USED, values)).one_or_none() is None:
        raise Problem("not_found", "this link has been used", hint="a link works once; ask for a new one")


async def maker_of(conn: AsyncConnection, link: Link, now: datetime) -> Caller:
    """Whoever made the link, as a caller in the link's tenant, its bearer held until the transaction ends. Raises
    Problem `unauthenticated` where that bearer stands no longer."""
    home, bearer_id = link.parent
    await scope(conn, home)
    row: Any = (await conn.execute(_BEARER, {"tenant": home, "id": bearer_id})).one_or_none()
    await scope(conn, link.tenant_id)
    if row is None:
        raise Problem("not_found", "this link was revoked", hint="ask for a new link")
    bearer = Bearer(
        id=row.id,
        tenant_id=home,
        kind=row.kind,
        root_id=row.root_id,
        name=row.name,
        role=row.role,
        identifiers=None if row.identifiers is None else tuple(row.identifiers),
        tenants=None if row.tenants is None else tuple(row.tenants),
        identity_id=row.identity_id,
        restrictions=Restrictions(),
        expires_at=row.expires_at,
    )
    caller = Caller(
        tenant_id=link.tenant_id,
        tenant_name=link.tenant_name,
        policy_version=0,
        bearer=bearer,
        identity=None,
        on_behalf_of=False,
        client=None,
        agent=None,
        run_id=None,
        now=now,
    )
    await hold_minter(conn, caller)
    return caller

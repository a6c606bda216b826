"""Session tokens: short-lived bearers for one identity, whose restrictions only narrow its grants."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.db.paging import Page, PageRequest, keyset
from broker.domain import Access, Caller, Restrictions
from broker.errors import Problem, invalid
from broker.identity import names
from broker.identity.authenticate import may_act_for
from broker.identity.identities import existing
from broker.identity.minting import mint_bearer
from broker.identity.restrictions import as_columns, capped, within
from broker.identity.roles import allows, reach
from broker.identity.tables import bearers, identities
from broker.identity.taking import Revocation, hold_identity, hold_minter
from broker.ids import parse_id
from connectors.base import EFFECT_RANK

DEFAULT_SECONDS: Final = 900
SHORTEST: Final = 60
LONGEST: Final = 86_400
MAX_CONNECTIONS: Final = 100

_EXISTING: Final = text(
    """
    select name from broker.connections
     where tenant_id = :tenant and status <> 'deleted' and name = any (cast(:wanted as text[]))"""
)
_SOME: Final = text(
    """
    select name from broker.connections
     where tenant_id = :tenant and status <> 'deleted' order by name limit 500"""
)
_DESCENDANTS: Final = text(
    """
    with recursive family(id) as (
        select id from broker.bearers where tenant_id = :tenant and root_id = :root and parent_id = :bearer
        union
        select b.id from broker.bearers b join family f on b.parent_id = f.id
         where b.tenant_id = :tenant and b.root_id = :root
    ) select id from family limit 10000"""
)


class Sessions:
    """The sessions of the caller's tenant: all of them for admins, else those minted from the caller's own
    bearer."""

    def __init__(
        self, *, db: Database, trail: AuditTrail, revocation: Revocation, mcp_url: Callable[[str], str]
    ) -> None:
        """`mcp_url` makes the address of a tenant's MCP endpoint from its name."""
        self._db = db
        self._trail = trail
        self._revocation = revocation
        self._mcp_url = mcp_url

    async def create(
        self,
        caller: Caller,
        *,
        identifier: str | None = None,
        connections: Sequence[str] | None = None,
        access: Access | None = None,
        ttl_seconds: int | None = None,
        audience: str | None = None,
    ) -> dict[str, Any]:
        """A new session with its token, shown this once.

        Lives `ttl_seconds` (60 to 86,400; default 900), never longer than what mints it, and never reaches
        further: a session mints narrower children of itself. `audience`: the one resource it is good at, else
        everywhere. Raises Problem `forbidden`, `invalid_input`, `unknown_identity`, `unknown_connection` and the like.
        """
        identifier = _may_mint_for(caller, identifier)
        narrowed = narrower(caller.bearer.restrictions, connections, access)
        expires_at = expiry(caller, ttl_seconds)
        async with self._db.tenant(caller.tenant_id) as conn:
            await _connections_exist(conn, caller, connections)
            found = await existing(conn, caller, identifier)
            await hold_identity(conn, found.id)
            await hold_minter(conn, caller)
            # Read again behind the lock: an offboarding that was under way has finished by now.
            owner = await existing(conn, caller, identifier)
            if owner.status != "active":
                raise Problem("identity_disabled", f"identity {identifier!r} is disabled")
            minted = await mint_bearer(
                conn,
                caller.tenant_id,
                "session",
                caller,
                caller.now,
                identity_id=owner.id,
                **as_columns(narrowed),
                audience=audience,
                client=None if caller.client is None else caller.client[:300],
                expires_at=expires_at,
            )
            details = {"session_id": str(minted.id), **as_columns(narrowed), "expires_at": expires_at.isoformat()}
            await self._trail.change(conn, caller, "session.created", identifier=identifier, details=details)
        return {
            "id": str(minted.id),
            "token": minted.token.text,
            "expires_at": minted.expires_at,
            "mcp_url": self._mcp_url(caller.tenant_name),
            "identifier": identifier,
            **as_columns(narrowed),
        }

    async def list(
        self, caller: Caller, page: PageRequest, *, identifier: str | None = None, ended: bool = False
    ) -> Page[dict[str, Any]]:
        """Sessions, oldest first: those that live, with `ended` also the revoked and expired. Never a
        token."""
        far = reach(caller, "sessions.read")
        statement = (
            select(bearers, identities.c.identifier)
            .join(
                identities,
                and_(identities.c.tenant_id == bearers.c.tenant_id, identities.c.id == bearers.c.identity_id),
            )
            .where(bearers.c.tenant_id == caller.tenant_id, bearers.c.kind == "session")
        )
        if not ended:
            statement = statement.where(_lives(caller.now))
        if identifier is not None:
            statement = statement.where(identities.c.identifier == names.identifier("identifier", identifier))
        async with self._db.tenant(caller.tenant_id) as conn:
            if far == "own":
                statement = statement.where(bearers.c.id.in_(await _own(conn, caller)))
            found = await keyset(conn, statement, (bearers.c.created_at, bearers.c.id), page, of="sessions")
        return Page([_shown(row) for row in found.items], found.next_page_token)

    async def revoke(self, caller: Caller, session_id: str) -> dict[str, Any]:
        """Revokes a session and the children it minted. A session may end itself. Raises Problem
        `not_found`."""
        far = reach(caller, "sessions.revoke")
        wanted = parse_id(session_id)
        async with self._db.tenant(caller.tenant_id) as conn:
            statement = (
                select(bearers.c.id, identities.c.identifier)
                .join(
                    identities,
                    and_(
                        identities.c.tenant_id == bearers.c.tenant_id,
                        identities.c.id == bearers.c.identity_id,
                    ),
                )
                .where(
                    bearers.c.tenant_id == caller.tenant_id,
                    bearers.c.kind == "session",
                    bearers.c.id == wanted,
                )
            )
            row = None if wanted is None else (await conn.execute(statement)).one_or_none()
            # Another's session is answered like none at all: a bearer learns nothing of others.
            if row is None or (far == "own" and row.id not in await _own(conn, caller)):
                raise Problem("not_found", "no such session")
            gone = await self._revocation.bearer(conn, caller.tenant_id, row.id, "session revoked", caller.now)
            also = [str(i) for i in gone.ids if i != row.id]
            details = {"session_id": str(row.id), "also_revoked": len(also)}
            await self._trail.change(conn, caller, "session.revoked", identifier=row.identifier, details=details)
        return {"revoked_at": gone.at, "in_flight": [str(e) for e in gone.in_flight], "also_revoked": also}


def narrower(parent: Restrictions, connections: Sequence[str] | None, access: Access | None) -> Restrictions:
    """The child's restrictions: what was asked for within the parent's, and the parent's where nothing was. Where the
    parent's access differs by connection, the child's does, up to what was asked. Pure.

    Raises Problem `forbidden` when more is asked for than the parent has, `invalid_input` for an unusable
    list.
    """
    if connections is not None:
        if len(connections) > MAX_CONNECTIONS:
            raise invalid("connections", f"holds at most {MAX_CONNECTIONS} names")
        for n, name in enumerate(connections):
            names.connection(f"connections.{n}", name)
        if parent.connections is not None and not set(connections) <= set(parent.connections):
            beyond = sorted(set(connections) - set(parent.connections))
            raise Problem("forbidden", f"a child session cannot reach further than its parent: {', '.join(beyond)}")
    kept = parent if connections is None else within(parent, tuple(dict.fromkeys(connections)))
    if access is not None and kept.access is not None and EFFECT_RANK[access] > EFFECT_RANK[kept.access]:
        raise Problem("forbidden", f"a child session cannot have more access than its parent's {kept.access}")
    return capped(kept, access)


def expiry(caller: Caller, ttl_seconds: int | None) -> datetime:
    """When a session minted now expires. Pure. Raises Problem `invalid_input` for more than the minter has
    left."""
    if ttl_seconds is not None and not SHORTEST <= ttl_seconds <= LONGEST:
        raise invalid("ttl_seconds", f"must be {SHORTEST} to {LONGEST}")
    wanted = caller.now + timedelta(seconds=DEFAULT_SECONDS if ttl_seconds is None else ttl_seconds)
    limit = caller.bearer.expires_at
    if limit is None or wanted <= limit:
        return wanted
    if ttl_seconds is not None:
        left = max(0, int((limit - caller.now).total_seconds()))
        raise invalid("ttl_seconds", f"must be at most {left}: what mints the session expires then")
    return limit


def _may_mint_for(caller: Caller, identifier: str | None) -> str:
    """The identifier to mint for. Raises Problem `forbidden` before it is said whether the identity
    exists."""
    far = reach(caller, "sessions.mint")
    if identifier is None:
        if caller.bearer.kind != "session" or caller.identity is None:
            raise invalid("identifier", "is required with an agent key or an operator key")
        return caller.identity.identifier
    names.identifier("identifier", identifier)
    if far == "any":
        return identifier
    if caller.bearer.kind == "agent" and not may_act_for(caller.bearer, identifier):
        raise Problem("forbidden", "this agent key does not list that identifier")
    if caller.bearer.kind == "session" and (caller.identity is None or caller.identity.identifier != identifier):
        raise Problem("forbidden", "a session mints sessions of its own identity only")
    return identifier


async def _connections_exist(conn: AsyncConnection, caller: Caller, wanted: Sequence[str] | None) -> None:
    if not wanted:
        return
    values = {"tenant": caller.tenant_id, "wanted": list(wanted)}
    known = {str(row[0]) for row in await conn.execute(_EXISTING, values)}
    missing = next((name for name in wanted if name not in known), None)
    if missing is None:
        return
    hint = None
    # Whoever may not list the tenant's connections is told no other name either.
    if allows(caller, "connections.read"):
        some = [str(row[0]) for row in await conn.execute(_SOME, {"tenant": caller.tenant_id})]
        hint = names.near(missing, some)
    raise Problem("unknown_connection", f"no connection {missing!r} in this tenant", hint=hint)


async def _own(conn: AsyncConnection, caller: Caller) -> set[UUID]:
    """The caller's own sessions: what its bearer minted, and itself if it is one."""
    values = {"tenant": caller.tenant_id, "root": caller.bearer.root_id, "bearer": caller.bearer.id}
    found = {row[0] for row in await conn.execute(_DESCENDANTS, values)}
    return found | {caller.bearer.id}


def _lives(now: datetime) -> ColumnElement[bool]:
    return and_(bearers.c.revoked_at.is_(None), or_(bearers.c.expires_at.is_(None), bearers.c.expires_at > now))


def _shown(row: Any) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "identifier": row.identifier,
        "connections": row.connections,
        "access": row.access,
        "access_by": row.access_by,
        "audience": row.audience,
        "client": row.client,
        "minted_by": None if row.parent_id is None else str(row.parent_id),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
    }

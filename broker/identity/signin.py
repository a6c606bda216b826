"""Sign-in links: an admin lets a person into their pages once. Whoever opens the link acts as that person, so making
one is audited as impersonation and closed to tenants that allow none."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.domain import Caller, Identity
from broker.errors import Problem
from broker.identity import names, onetime, tickets
from broker.identity.identities import existing
from broker.identity.logins import Logins, NewLogin
from broker.identity.roles import require
from broker.identity.taking import hold_identity

LASTS: Final = timedelta(minutes=10)
_IMPERSONATION: Final = text("select impersonation from broker.tenants where id = :tenant")


class SignIn:
    """Makes and takes sign-in links. `url` makes a link's address from its ticket."""

    def __init__(self, *, db: Database, trail: AuditTrail, logins: Logins, url: Callable[[str], str]) -> None:
        self._db = db
        self._trail = trail
        self._logins = logins
        self._url = url

    async def create(self, caller: Caller, identifier: str) -> dict[str, Any]:
        """`{url, expires_at}`: a link that signs `identifier` in, once, within 10 minutes. Raises Problem `forbidden`,
        `unknown_identity`, `identity_disabled`, `rate_limited`."""
        require(caller, "links.sign_in")
        names.identifier("identifier", identifier)
        async with self._db.tenant(caller.tenant_id) as conn:
            await _impersonation(conn, caller.tenant_id)
            owner = await existing(conn, caller, identifier)
            made = await onetime.make(
                conn,
                caller,
                "sign_in",
                identifier,
                lasts=LASTS,
                connections=(),
                access="read",
                connection_name=None,
            )
            as_them = replace(
                caller,
                identity=Identity(owner.id, identifier, tuple(owner.groups), owner.status),
                on_behalf_of=True,
            )
            await self._trail.change(
                conn,
                as_them,
                "identity.sign_in_link_created",
                identifier=identifier,
                details={"link_id": str(made.id), "expires_at": made.expires_at.isoformat()},
            )
        return {"url": self._url(made.ticket), "expires_at": made.expires_at}

    async def peek(self, ticket: str, now: datetime) -> onetime.Link:
        """Whom the link would sign in. Uses nothing up. Raises Problem `not_found`, `identity_disabled`."""
        return await onetime.find(self._db, "sign_in", ticket, now)

    async def use(self, ticket: str, now: datetime) -> NewLogin:
        """Signs in. Raises as `peek`, `unauthenticated` where the key that made the link was revoked, and `forbidden`
        where the tenant has come to allow no impersonation."""
        parsed = tickets.parse("sign_in", ticket)
        async with self._db.tenant(parsed.tenant_id) as conn:
            link = await onetime.find_in(conn, parsed, now)
            await hold_identity(conn, link.identity_id)
            maker = await onetime.maker_of(conn, link, now)
            # A new statement behind the locks: an offboarding or revocation that was under way has finished by now.
            link = await onetime.find_in(conn, parsed, now)
            await _impersonation(conn, link.tenant_id)
            await onetime.use(conn, link, now)
            return await self._logins.begin_in(
                conn, link.tenant_id, link.identity_id, now, how="sign_in_link", maker=maker
            )


async def _impersonation(conn: AsyncConnection, tenant_id: UUID) -> None:
    """Returns if the tenant allows it. Raises Problem `forbidden`."""
    if not await conn.scalar(_IMPERSONATION, {"tenant": tenant_id}):
        raise Problem("forbidden", "this tenant does not let operators act on behalf of identities")

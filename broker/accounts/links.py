"""Connect links: one identity deposits its own credential on one connection, once, on a page of ours.

The credential is deposited by the identity itself (`session:<identifier>`), by the same path as over the API; the audit
also says who made the link. A link is used up by the deposit that verified, not by looking at it and not by a
credential that the upstream refused.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text

from broker.accounts.accounts import Accounts
from broker.accounts.offers import Asker, Offers, Review
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem, invalid
from broker.gate import revoke
from broker.identity import names, onetime
from broker.identity.authenticate import may_act_for
from broker.identity.onetime import Link
from broker.identity.roles import allows, reach

LASTS: Final = timedelta(minutes=15)
ATTEMPTS: Final = 20
"""How many credentials may be tried with one link."""
ABANDONED: Final = timedelta(minutes=3)
"""A try older than this was left by a crash: no request takes as long."""

_CONNECTIONS: Final = text(
    """
    select name, status from broker.connections
     where tenant_id = :tenant and status <> 'deleted' and (name = :name or :every) order by name limit 500"""
)
_CLAIM: Final = text(
    """
    update broker.links set claimed_at = :now, attempts = attempts + 1
     where tenant_id = :tenant and id = :id and used_at is null and attempts < :most
       and (claimed_at is null or claimed_at < :abandoned) returning id"""
)
_RELEASE: Final = text("update broker.links set claimed_at = null where tenant_id = :tenant and id = :id")


class Links:
    """Makes connect links and takes what is deposited by them. `url` makes a link's address from its ticket."""

    def __init__(
        self,
        *,
        db: Database,
        trail: AuditTrail,
        clock: Clock,
        accounts: Accounts,
        offers: Offers,
        url: Callable[[str], str],
    ) -> None:
        self._db = db
        self._trail = trail
        self._clock = clock
        self._accounts = accounts
        self._offers = offers
        self._url = url

    async def create(self, caller: Caller, *, connection_name: str, identifier: str | None) -> dict[str, Any]:
        """`{url, expires_at}`: a link that lives 15 minutes, at most as long as the caller's bearer. Raises Problem
        `forbidden`, `unknown_connection`, `unknown_identity`, `identity_disabled`, `rate_limited`."""
        chosen = _may_link(caller, connection_name, identifier)
        async with self._db.tenant(caller.tenant_id) as conn:
            values = {"tenant": caller.tenant_id, "name": connection_name, "every": allows(caller, "connections.read")}
            found = {str(row.name): row.status for row in await conn.execute(_CONNECTIONS, values)}
            if connection_name not in found:
                near = names.near(connection_name, list(found))
                raise Problem("unknown_connection", f"no connection {connection_name!r} in this tenant", hint=near)
            if found[connection_name] != "active":
                raise Problem("forbidden", f"connection {connection_name} is {found[connection_name]}")
            made = await onetime.make(
                conn,
                caller,
                "connect",
                chosen,
                lasts=LASTS,
                connections=(connection_name,),
                access=caller.bearer.restrictions.access_at(connection_name),
                connection_name=connection_name,
            )
            await self._trail.change(
                conn,
                caller,
                "account.link_created",
                identifier=chosen,
                connection_name=connection_name,
                details={"link_id": str(made.id), "expires_at": made.expires_at.isoformat()},
            )
        return {"url": self._url(made.ticket), "expires_at": made.expires_at}

    async def peek(self, ticket: str, now: datetime) -> Link:
        """What the link is for. Uses nothing up. Raises Problem `not_found`, `identity_disabled`."""
        return await onetime.find(self._db, "connect", ticket, now)

    async def deposit(self, link: Link, credential: Mapping[str, Any]) -> tuple[dict[str, Any], Review]:
        """Verifies and keeps the identity's own credential, and uses the link up; the account's metadata, and what the
        credential can do. Raises as `Accounts.put`, and `not_found` where the link was used meanwhile, `rate_limited`
        after too many tries."""
        assert link.connection_name is not None  # noqa: S101 - a connect link has one
        async with self._claimed(link):
            asker = asker_of(link)
            resolved = await self._offers.caller(asker, self._clock.now())
            account = await self._accounts.put(
                resolved.caller,
                connection_name=link.connection_name,
                identifier=link.identifier,
                shared=False,
                label=None,
                credential=credential,
                replace=False,
            )
            now = self._clock.now()
            # As long as the link's own session stands.
            review = await self._offers.review(asker, link.connection_name, account["id"], now)
            async with self._db.tenant(link.tenant_id) as conn:
                await onetime.use(conn, link, now)
                await self._trail.change(
                    conn,
                    resolved.caller,
                    "account.link_used",
                    identifier=link.identifier,
                    connection_name=link.connection_name,
                    details={"link_id": str(link.id), "made_by": link.made_by, "account_id": account["id"]},
                )
                await revoke.bearer(conn, link.tenant_id, link.bearer_id, "the link was used", now)
        return account, review

    @asynccontextmanager
    async def _claimed(self, link: Link) -> AsyncIterator[None]:
        """One deposit at a time by one link; what fails gives it back."""
        now = self._clock.now()
        values = {"tenant": link.tenant_id, "id": link.id}
        claim = {**values, "now": now, "most": ATTEMPTS, "abandoned": now - ABANDONED}
        async with self._db.tenant(link.tenant_id) as conn:
            if (await conn.execute(_CLAIM, claim)).one_or_none() is None:
                told = "this link was tried too often, or is being used this moment"
                raise Problem("rate_limited", told, hint="wait a minute, or ask for a new link", retry_after=60)
        try:
            yield
        except BaseException:
            async with self._db.tenant(link.tenant_id) as conn:
                await conn.execute(_RELEASE, values)
            raise


def asker_of(link: Link) -> Asker:
    """Whose page a link opens, as the audit names it."""
    return Asker(link.token, f"connect link made by {link.made_by}"[:300])


def _may_link(caller: Caller, connection_name: str, identifier: str | None) -> str:
    """The identifier to make the link for. Raises Problem `forbidden` before it is said whether the identity exists."""
    names.connection("connection_name", connection_name)
    far = reach(caller, "links.connect")
    if identifier is None:
        if caller.bearer.kind != "session" or caller.identity is None:
            raise invalid("identifier", "is required with an agent key or an operator key")
        identifier = caller.identity.identifier
    names.identifier("identifier", identifier)
    if far == "any":
        return identifier
    if caller.bearer.kind == "agent" and not may_act_for(caller.bearer, identifier):
        raise Problem("forbidden", "this agent key does not list that identifier")
    if caller.bearer.kind == "session":
        _session_may_link(caller, connection_name, identifier)
    return identifier


def _session_may_link(caller: Caller, connection_name: str, identifier: str) -> None:
    """A session links for itself, and no further than it may deposit (`Accounts.put`)."""
    if caller.identity is None or caller.identity.identifier != identifier:
        raise Problem("forbidden", "a session makes connect links for its own identity only")
    narrowed = caller.bearer.restrictions
    if narrowed.connections is not None and connection_name not in narrowed.connections:
        raise Problem("forbidden", "this session is restricted to other connections")
    if narrowed.access_at(connection_name) == "read":
        raise Problem("forbidden", "this session is restricted to reading", hint="open the page at connect_url instead")

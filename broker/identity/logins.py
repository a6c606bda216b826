"""Logins: a person signed in with a browser. 12 hours at most, one hour without a request.

A login stands on a session bearer of its identity whose token nobody has: it is listed with the sessions, ends when
that bearer is revoked (by whoever may, by offboarding, with the key of whoever made the sign-in link), and everything
done with it is decided, admitted and audited as that session's. Every request asks the database.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem
from broker.identity import tickets
from broker.identity.minting import mint_bearer
from broker.identity.taking import Revocation, hold_identity
from broker.identity.tokens import ParsedToken
from broker.ids import new_id

LASTS: Final = timedelta(hours=12)
IDLE: Final = timedelta(hours=1)
NOTED: Final = timedelta(minutes=1)
"""How exactly the last request is known: it is written down once in this time."""
_HOW: Final = re.compile(r"[a-z_]{1,40}")

_INSERT: Final = text(
    """
    insert into broker.logins (tenant_id, id, token_hash, bearer_id, how, made_by, session, created_at, seen_at)
    values (:tenant, :id, :hash, :bearer, :how, :made_by, :session, :now, :now)"""
)
_FIND: Final = text(
    """
    select l.id, l.bearer_id, l.how, l.made_by, l.created_at, l.seen_at, b.token_hash, b.revoked_at, b.expires_at,
           i.id as identity_id, i.identifier, i.display_name, i.status, t.name as tenant_name, t.status as tenant_status
      from broker.logins l
      join broker.bearers b on b.tenant_id = l.tenant_id and b.id = l.bearer_id
      join broker.identities i on i.tenant_id = l.tenant_id and i.id = b.identity_id
      join broker.tenants t on t.id = l.tenant_id
     where l.tenant_id = :tenant and l.token_hash = :hash"""
)
_SEEN: Final = text("update broker.logins set seen_at = :now where tenant_id = :tenant and id = :id and seen_at < :now")


@dataclass(frozen=True, slots=True)
class Login:
    """A person signed in. `token` is how their session is looked up (`Authenticator.resolve`); `at` when they signed
    in, `how` by what (`sign_in_link`, `oidc`), `made_by` whose doing that was where it was not their own."""

    id: UUID
    tenant_id: UUID
    tenant_name: str
    identity_id: UUID
    identifier: str
    display_name: str | None
    bearer_id: UUID
    token: ParsedToken = field(repr=False)
    at: datetime
    how: str
    made_by: str | None
    expires_at: datetime
    csrf: str = field(repr=False)

    @property
    def client(self) -> str:
        """How the audit names what this person uses."""
        return "Keyreeve pages" if self.made_by is None else f"Keyreeve pages, signed in by a link of {self.made_by}"


@dataclass(frozen=True, slots=True)
class NewLogin:
    """A login just begun: `cookie` is shown to the browser and kept nowhere."""

    cookie: str = field(repr=False)
    expires_at: datetime


class Logins:
    """The logins of all tenants. One per process."""

    def __init__(self, *, db: Database, trail: AuditTrail, revocation: Revocation) -> None:
        self._db = db
        self._trail = trail
        self._revocation = revocation

    async def begin(self, tenant_id: UUID, identity_id: UUID, now: datetime, *, how: str) -> NewLogin:
        """Signs an identity in that has just been authenticated. Raises Problem `identity_disabled`, `not_found`."""
        async with self._db.tenant(tenant_id) as conn:
            await hold_identity(conn, identity_id)
            return await self.begin_in(conn, tenant_id, identity_id, now, how=how)

    async def begin_in(
        self,
        conn: AsyncConnection,
        tenant_id: UUID,
        identity_id: UUID,
        now: datetime,
        *,
        how: str,
        maker: Caller | None = None,
        facts: Mapping[str, Any] | None = None,
        session: bytes | None = None,
    ) -> NewLogin:
        """As `begin`, in a transaction of the tenant's that holds the identity (`taking.hold_identity`), and the bearer
        of `maker`, whose authority the login then depends on. `facts` are what else the audit keeps of how it came to
        be; `session` is the digest of the provider's session that it came of, which it ends with."""
        if _HOW.fullmatch(how) is None:
            raise ValueError("how a person signed in is a word of a-z and _")
        owner: Any = (
            await conn.execute(
                text("select identifier, status from broker.identities where tenant_id = :tenant and id = :id"),
                {"tenant": tenant_id, "id": identity_id},
            )
        ).one_or_none()
        _check_owner(owner)
        made_by = None if maker is None else maker.actor[:300]
        minted = await mint_bearer(
            conn,
            tenant_id,
            "session",
            maker,
            now,
            identity_id=identity_id,
            client=f"browser login ({how}{'' if made_by is None else f' made by {made_by}'})"[:300],
            expires_at=now + LASTS,
        )
        cookie, ticket = tickets.mint("login", tenant_id)
        login_id = new_id()
        values = {"tenant": tenant_id, "id": login_id, "hash": ticket.digest, "bearer": minted.id, "now": now}
        await conn.execute(_INSERT, {**values, "how": how, "made_by": made_by, "session": session})
        await self._trail.change(
            conn,
            None,
            "identity.signed_in",
            identifier=owner.identifier,
            details={"how": how, "made_by": made_by, "session_id": str(minted.id)} | dict(facts or {}),
            tenant_id=tenant_id,
            actor=f"session:{owner.identifier}",
        )
        assert minted.expires_at is not None  # noqa: S101 - it was given one
        return NewLogin(cookie, minted.expires_at)

    async def resolve(self, cookie: str, now: datetime) -> Login:
        """Who is signed in. Raises Problem `unauthenticated`, `session_expired`, `identity_disabled`, `forbidden` (the
        tenant is not active)."""
        try:
            ticket = tickets.parse("login", cookie)
        except Problem:
            raise _ended() from None
        async with self._db.tenant(ticket.tenant_id) as conn:
            row: Any = (await conn.execute(_FIND, {"tenant": ticket.tenant_id, "hash": ticket.digest})).one_or_none()
            _stands(row, now)
            if row.seen_at <= now - NOTED:
                await conn.execute(_SEEN, {"tenant": ticket.tenant_id, "id": row.id, "now": now})
        return Login(
            id=row.id,
            tenant_id=ticket.tenant_id,
            tenant_name=row.tenant_name,
            identity_id=row.identity_id,
            identifier=row.identifier,
            display_name=row.display_name,
            bearer_id=row.bearer_id,
            token=ParsedToken("session", ticket.tenant_id, bytes(row.token_hash)),
            at=row.created_at,
            how=row.how,
            made_by=row.made_by,
            expires_at=row.expires_at,
            csrf=ticket.csrf,
        )

    async def end(self, login: Login, now: datetime) -> None:
        """Signs out: nothing more is done with this login, nor with what it minted."""
        async with self._db.tenant(login.tenant_id) as conn:
            await self._trail.change(
                conn,
                None,
                "identity.signed_out",
                identifier=login.identifier,
                details={"session_id": str(login.bearer_id)},
                tenant_id=login.tenant_id,
                actor=f"session:{login.identifier}",
            )
            await self._revocation.bearer(conn, login.tenant_id, login.bearer_id, "signed out", now)


def csrf(login: Login) -> str:
    """What every form of this login carries."""
    return login.csrf


def check(login: Login, given: str) -> None:
    """Returns if a form was made for this very login. Raises Problem `forbidden`."""
    tickets.check_csrf(login.csrf, given)


def return_path(given: str | None) -> str | None:
    """`given` if it is a path of this very server that may be returned to after signing in, else None. Pure.

    A browser reads `//host`, `/\\host` and either with a tab or newline in it as another host (WHATWG URL § 4.4).
    """
    if given is None or not 1 <= len(given) <= 2000 or not given.isascii() or not given.isprintable():
        return None
    if not given.startswith("/") or given.startswith("//") or "\\" in given or " " in given:
        return None
    return given


def _check_owner(owner: Any) -> None:
    if owner is None:
        raise Problem("not_found", "there is no such identity any more")
    if owner.status != "active":
        raise Problem("identity_disabled", f"identity {owner.identifier!r} is disabled")


def _stands(row: Any, now: datetime) -> None:
    if row is None or row.revoked_at is not None:
        raise _ended()
    if row.expires_at <= now or row.seen_at <= now - IDLE:
        raise Problem("session_expired", "you were signed out after a while", hint="sign in again")
    if row.status != "active":
        raise Problem("identity_disabled", f"identity {row.identifier!r} is disabled")
    if row.tenant_status != "active":
        raise Problem("forbidden", f"tenant {row.tenant_name} is {row.tenant_status}")


def _ended() -> Problem:
    return Problem("unauthenticated", "you are not signed in", hint="sign in")

"""Authorization codes: what a person agreed to, for the minute until the client fetches its tokens."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.db.database import Database
from broker.errors import Problem
from broker.identity import tickets
from broker.identity.logins import Login
from broker.identity.oauth import clients, pkce
from broker.identity.oauth.asking import Asking
from broker.identity.oauth.choices import Choice
from broker.identity.oauth.errors import OAuthRefusal
from broker.identity.oauth.sign_ins import SignIns, Tokens, parent_of
from broker.identity.restrictions import as_text
from broker.identity.taking import hold_identity

LASTS: Final = timedelta(seconds=60)
KEPT: Final = timedelta(days=1)
"""How long a used code is remembered, so that using it again ends what it began."""

_INSERT: Final = text(
    """
    insert into broker.oauth_codes
        (tenant_id, token_hash, login_bearer_id, client_id, client_name, redirect_uri, challenge, resource,
         connections, access, access_by, created_at, expires_at)
    values (:tenant, :hash, :login, :client, :name, :redirect, :challenge, :resource, :connections, :access,
            cast(:access_by as jsonb), :now, :expires)"""
)
_FORGET: Final = text("delete from broker.oauth_codes where tenant_id = :tenant and expires_at < :before")
_HELD: Final = text("select * from broker.oauth_codes where tenant_id = :tenant and token_hash = :hash for update")
_USED: Final = text(
    """
    update broker.oauth_codes set used_at = :now, sign_in_id = :sign_in
     where tenant_id = :tenant and token_hash = :hash"""
)
_LOGIN: Final = text(
    """
    select b.id as bearer_id, b.root_id, b.expires_at, b.identity_id, b.parent_id, b.parent_tenant_id,
           b.revoked_at is null and b.expires_at > :now as stands,
           i.id, i.identifier, i.status, t.status as tenant_status
      from broker.bearers b
      join broker.identities i on i.tenant_id = b.tenant_id and i.id = b.identity_id
      join broker.tenants t on t.id = b.tenant_id
     where b.tenant_id = :tenant and b.id = :id"""
)


class Codes:
    """The codes of all tenants."""

    def __init__(self, *, db: Database, sign_ins: SignIns) -> None:
        self._db = db
        self._sign_ins = sign_ins

    async def issue(self, login: Login, asking: Asking, choice: Choice, *, now: datetime) -> str:
        """A code for what the person who is signed in has just agreed to."""
        spelled, ticket = tickets.mint("code", login.tenant_id)
        values = {
            "tenant": login.tenant_id,
            "hash": ticket.digest,
            "login": login.bearer_id,
            "client": asking.client.client_id,
            "name": asking.client.name,
            "redirect": asking.redirect_uri,
            "challenge": asking.challenge,
            "resource": asking.resource.path,
            "connections": None if choice.connections is None else list(choice.connections),
            "access": choice.access,
            "access_by": as_text(choice.access_by),
            "now": now,
            "expires": now + LASTS,
        }
        async with self._db.tenant(login.tenant_id) as conn:
            await conn.execute(_FORGET, {"tenant": login.tenant_id, "before": now - KEPT})
            await conn.execute(_INSERT, values)
            await clients.used(conn, login.tenant_id, asking.client.client_id, now)
        return spelled

    async def redeem(
        self,
        tenant_id: UUID,
        code: str | None,
        *,
        client_id: str | None,
        redirect_uri: str | None,
        verifier: str | None,
        resource: str | None,
        now: datetime,
    ) -> Tokens:
        """The tokens that a code stands for. Whatever is wrong, the code is used up; a used one ends what it began.
        Raises OAuthRefusal."""
        refused = OAuthRefusal("invalid_grant", "the code is unknown, used, expired, or another client's")
        try:
            ticket = tickets.parse("code", code or "")
        except Problem:
            raise refused from None
        if ticket.tenant_id != tenant_id:
            raise refused
        async with self._db.tenant(tenant_id) as conn:
            named: dict[str, Any] = {"tenant": tenant_id, "hash": ticket.digest}
            row: Any = (await conn.execute(_HELD, named)).one_or_none()
            if row is None:
                raise refused
            fits = (
                row.expires_at > now
                and row.client_id == client_id
                and row.redirect_uri == (redirect_uri or row.redirect_uri)
                and resource in (None, row.resource)
                and pkce.proves(verifier, row.challenge)
            )
            sign_in: UUID | None = None
            tokens: Tokens | None = None
            if row.used_at is None and fits:
                sign_in, tokens = await self._begin(conn, tenant_id, row, now)
            if row.used_at is None:
                await conn.execute(_USED, named | {"now": now, "sign_in": sign_in})
        if row.used_at is not None and row.sign_in_id is not None:
            await self._sign_ins.end(tenant_id, row.sign_in_id, "client.reuse_refused", "code used twice", now)
        if tokens is None:
            raise refused
        return tokens

    async def _begin(
        self, conn: AsyncConnection, tenant_id: UUID, code: Any, now: datetime
    ) -> tuple[UUID | None, Tokens | None]:
        """The sign-in, unless whoever agreed to it is not signed in any more."""
        values = {"tenant": tenant_id, "id": code.login_bearer_id, "now": now}
        login: Any = (await conn.execute(_LOGIN, values)).one_or_none()
        if login is None:
            return None, None
        await hold_identity(conn, login.identity_id)
        try:
            parent = await parent_of(conn, tenant_id, login, now)
        except Problem:
            return None, None
        # A new statement behind the locks: an offboarding or revocation that was under way has finished by now.
        login = (await conn.execute(_LOGIN, values)).one()
        if not login.stands or login.status != "active" or login.tenant_status != "active":
            return None, None
        return await self._sign_ins.begin_in(conn, tenant_id, parent, code, login, now)

"""The clients of each tenant's authorization server. All are public: what proves a client is its redirect and PKCE.

Three kinds. An admin's are named by the admin. A *document*'s id is the https address where it describes itself, which
is fetched when somebody who is signed in wants to use it, and kept for an hour. *Dynamic* ones register themselves
(RFC 7591), which anybody may: bounded by tenant and address, and forgotten after a day unless somebody used them.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.db.paging import Page, PageRequest, page_token
from broker.domain import Caller
from broker.errors import Problem, invalid
from broker.identity import names
from broker.identity.oauth import redirects
from broker.identity.oauth.errors import OAuthRefusal
from broker.identity.oauth.metadata import MAX_CLIENT_ID, About, BadMetadata, is_document, read_about, read_document
from broker.identity.roles import require
from broker.identity.taking import Revocation
from connectors.base import HttpSender
from connectors.documents import NoDocument, fetch_json

FRESH: Final = timedelta(hours=1)
STALE: Final = timedelta(hours=24)
"""How long a document that cannot be fetched again may still be used."""
DOCUMENTS: Final = 500
PER_DAY: Final = 500
PER_ADDRESS: Final = 20
UNUSED: Final = timedelta(days=1)
FORGOTTEN: Final = timedelta(days=90)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DYNAMIC: Final = "dyn-"

# Only this constant goes into the statements below; every value is a parameter of theirs (S608).
_COLUMNS: Final = "client_id, source, name, uri, redirect_uris, made_by, created_at, expires_at, last_used_at"
_FIND: Final = text(f"select {_COLUMNS} from broker.oauth_clients where tenant_id = :tenant and client_id = :id")  # noqa: S608
_LIST: Final = text(
    f"""
    select {_COLUMNS}, md5(client_id)::uuid as id from broker.oauth_clients
     where tenant_id = :tenant
       and (cast(:at as timestamptz) is null or (created_at, md5(client_id)::uuid) > (:at, cast(:after as uuid)))
     order by created_at, id limit :most"""  # noqa: S608
)
"""Pages go by time and an id, which texts of any length are not: their digest stands for them."""
_INSERT: Final = text(
    """
    insert into broker.oauth_clients
        (tenant_id, client_id, source, name, uri, redirect_uris, made_by, created_at, expires_at)
    values (:tenant, :id, :source, :name, :uri, :redirects, :made_by, :now, :expires)"""
)
_KEEP: Final = text(
    """
    insert into broker.oauth_clients
        (tenant_id, client_id, source, name, uri, redirect_uris, made_by, created_at, expires_at)
    values (:tenant, :id, :source, :name, :uri, :redirects, :made_by, :now, :expires)
    on conflict (tenant_id, client_id) do update
       set name = excluded.name, uri = excluded.uri, redirect_uris = excluded.redirect_uris,
           expires_at = excluded.expires_at
     where broker.oauth_clients.source = 'document'"""
)
_FEWER: Final = text(
    """
    delete from broker.oauth_clients where tenant_id = :tenant and source = 'document' and client_id in (
        select client_id from broker.oauth_clients where tenant_id = :tenant and source = 'document'
         order by expires_at desc offset :most)"""
)
_FORGET: Final = text(
    """
    delete from broker.oauth_clients where tenant_id = :tenant and source = 'dynamic'
       and coalesce(last_used_at < :forgotten, created_at < :unused)"""
)
_COUNT: Final = text(
    """
    select count(*) as day, count(*) filter (where made_by = :by and created_at > :hour) as hour
      from broker.oauth_clients where tenant_id = :tenant and source = 'dynamic' and created_at > :day"""
)
_USED: Final = text("update broker.oauth_clients set last_used_at = :now where tenant_id = :tenant and client_id = :id")
_DELETE: Final = text("delete from broker.oauth_clients where tenant_id = :tenant and client_id = :id returning source")
_SIGNED_IN: Final = text(
    """
    select s.bearer_id from broker.oauth_sign_ins s
      join broker.bearers b on b.tenant_id = s.tenant_id and b.id = s.bearer_id
     where s.tenant_id = :tenant and s.client_id = :id and b.revoked_at is null
     order by s.bearer_id limit 10000"""
)
_NO_CODES: Final = text(
    "delete from broker.oauth_codes where tenant_id = :tenant and client_id = :id and used_at is null"
)


@dataclass(frozen=True, slots=True)
class Client:
    """A client as the consent page and the checks see it."""

    client_id: str
    source: str
    name: str
    uri: str | None
    redirect_uris: tuple[str, ...]


class Clients:
    """The clients of all tenants. `seeds` are metadata documents by client id that the operator put into a folder: they
    are used instead of fetching, which sites without a way out need."""

    def __init__(
        self,
        *,
        db: Database,
        trail: AuditTrail,
        revocation: Revocation,
        http: HttpSender,
        seeds: Mapping[str, Any],
    ) -> None:
        self._db = db
        self._trail = trail
        self._revocation = revocation
        self._http = http
        self._seeds = seeds

    async def find(self, tenant_id: UUID, client_id: str | None, now: datetime) -> Client:
        """The client of that id. Only for somebody who is signed in: it may fetch a document. Raises Problem
        `invalid_input`."""
        if client_id is None or not 1 <= len(client_id) <= MAX_CLIENT_ID or "\x00" in client_id:
            raise invalid("client_id", "is missing or too long")
        async with self._db.tenant(tenant_id) as conn:
            row: Any = (await conn.execute(_FIND, {"tenant": tenant_id, "id": client_id})).one_or_none()
        if row is not None and (row.expires_at is None or row.expires_at > now):
            return Client(row.client_id, row.source, row.name, row.uri, tuple(row.redirect_uris))
        if not is_document(client_id):
            raise _unknown(client_id)
        try:
            about = await self._document(client_id)
        except (NoDocument, BadMetadata) as problem:
            if isinstance(problem, NoDocument) and row is not None and row.expires_at + STALE > now:
                return Client(row.client_id, row.source, row.name, row.uri, tuple(row.redirect_uris))
            told = f"the editor's own description at its address cannot be used: {problem}"
            hint = "an admin can register the editor, or the operator can put its document into the clients folder"
            raise Problem("invalid_input", told, hint=hint, fix="admin") from None
        await self._keep(tenant_id, client_id, about, now)
        return Client(client_id, "document", about.name, about.uri, about.redirect_uris)

    async def _document(self, client_id: str) -> About:
        given = self._seeds.get(client_id)
        return read_document(await fetch_json(self._http, client_id) if given is None else given, client_id)

    async def _keep(self, tenant_id: UUID, client_id: str, about: About, now: datetime) -> None:
        values = _values(tenant_id, client_id, "document", about, "document", now) | {"expires": now + FRESH}
        async with self._db.tenant(tenant_id) as conn:
            await conn.execute(_KEEP, values)
            await conn.execute(_FEWER, {"tenant": tenant_id, "most": DOCUMENTS})

    async def register(self, tenant_id: UUID, given: Any, address: str, now: datetime) -> dict[str, Any]:
        """Registers a client that asks for it (RFC 7591 § 3), as a public one whatever it asked for. Raises
        OAuthRefusal."""
        try:
            about = read_about(given, "An unnamed program")
        except BadMetadata as bad:
            raise OAuthRefusal(bad.error, str(bad)) from None
        client_id = _DYNAMIC + secrets.token_urlsafe(18)
        by = f"address {address}"[:300]
        async with self._db.tenant(tenant_id) as conn:
            await self._room(conn, tenant_id, by, now)
            await conn.execute(_INSERT, _values(tenant_id, client_id, "dynamic", about, by, now))
        return {
            "client_id": client_id,
            "client_id_issued_at": int(now.timestamp()),
            "client_name": about.name,
            "redirect_uris": list(about.redirect_uris),
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }

    @staticmethod
    async def _room(conn: AsyncConnection, tenant_id: UUID, by: str, now: datetime) -> None:
        """Forgets whom nobody used, and returns if another may register. Raises OAuthRefusal."""
        old = {"tenant": tenant_id, "forgotten": now - FORGOTTEN, "unused": now - UNUSED}
        await conn.execute(_FORGET, old)
        since = {"tenant": tenant_id, "by": by, "hour": now - timedelta(hours=1), "day": now - timedelta(days=1)}
        counted: Any = (await conn.execute(_COUNT, since)).one()
        if counted.hour >= PER_ADDRESS:
            raise OAuthRefusal("slow_down", "too many registrations from this address", retry_after=3600)
        if counted.day >= PER_DAY:
            raise OAuthRefusal("slow_down", "too many registrations today", retry_after=3600)

    async def create(
        self, caller: Caller, *, client_id: str, name: str, redirect_uris: Sequence[str]
    ) -> dict[str, Any]:
        """Registers a client by an admin's hand. Raises Problem `forbidden`, `invalid_input`, `already_exists`."""
        require(caller, "clients.write")
        if _ID.fullmatch(client_id) is None or client_id.startswith(_DYNAMIC):
            raise invalid("client_id", "must be 1 to 64 of letters, digits and . _ -, and not begin with dyn-")
        names.printable("name", name, 100)
        if not 1 <= len(redirect_uris) <= 20:
            raise invalid("redirect_uris", "holds 1 to 20 addresses")
        for n, uri in enumerate(redirect_uris):
            try:
                redirects.check(uri, any_scheme=True)
            except redirects.BadRedirect as bad:
                raise invalid(f"redirect_uris.{n}", str(bad)) from None
        about = About(name, None, tuple(dict.fromkeys(redirect_uris)))
        values = _values(caller.tenant_id, client_id, "admin", about, caller.actor[:300], caller.now)
        try:
            async with self._db.tenant(caller.tenant_id) as conn:
                await conn.execute(_INSERT, values)
                details = {"client_id": client_id, "name": name, "redirect_uris": list(about.redirect_uris)}
                await self._trail.change(conn, caller, "client.created", details=details)
                row: Any = (await conn.execute(_FIND, {"tenant": caller.tenant_id, "id": client_id})).one()
        except IntegrityError:
            raise Problem("already_exists", f"there is a client {client_id!r} already") from None
        return _shown(row)

    async def list(self, caller: Caller, page: PageRequest) -> Page[dict[str, Any]]:
        """The clients, oldest first. Raises Problem `forbidden`."""
        require(caller, "clients.read")
        at, after = page.past("oauth_clients") or (None, None)
        values = {"tenant": caller.tenant_id, "at": at, "after": after, "most": page.size + 1}
        async with self._db.tenant(caller.tenant_id) as conn:
            rows: Any = (await conn.execute(_LIST, values)).all()
        shown = rows[: page.size]
        token = page_token(shown[-1].created_at, shown[-1].id, "oauth_clients") if len(rows) > page.size else None
        return Page([_shown(row) for row in shown], token)

    async def delete(self, caller: Caller, client_id: str) -> dict[str, Any]:
        """Deletes a client and ends every sign-in with it. Raises Problem `forbidden`, `not_found`."""
        require(caller, "clients.write")
        named = {"tenant": caller.tenant_id, "id": client_id}
        in_flight: set[UUID] = set()
        async with self._db.tenant(caller.tenant_id) as conn:
            if "\x00" in client_id or (await conn.execute(_DELETE, named)).one_or_none() is None:
                raise Problem("not_found", "no such client in this tenant")
            await conn.execute(_NO_CODES, named)
            ended = [row[0] for row in await conn.execute(_SIGNED_IN, named)]
            details = {"client_id": client_id, "signed_out": len(ended)}
            await self._trail.change(conn, caller, "client.deleted", details=details)
            for bearer_id in ended:
                gone = await self._revocation.bearer(conn, caller.tenant_id, bearer_id, "client deleted", caller.now)
                in_flight.update(gone.in_flight)
        return {"revoked_at": caller.now, "in_flight": sorted(str(i) for i in in_flight), "signed_out": len(ended)}


async def used(conn: AsyncConnection, tenant_id: UUID, client_id: str, now: datetime) -> None:
    """Notes that somebody signed in with the client."""
    await conn.execute(_USED, {"tenant": tenant_id, "id": client_id, "now": now})


def _values(tenant_id: UUID, client_id: str, source: str, about: About, by: str, now: datetime) -> dict[str, Any]:
    return {
        "tenant": tenant_id,
        "id": client_id,
        "source": source,
        "name": about.name,
        "uri": about.uri,
        "redirects": list(about.redirect_uris),
        "made_by": by,
        "now": now,
        "expires": None,
    }


def _shown(row: Any) -> dict[str, Any]:
    return {
        "client_id": row.client_id,
        "source": row.source,
        "name": row.name,
        "redirect_uris": list(row.redirect_uris),
        "made_by": row.made_by,
        "created_at": row.created_at,
        "last_used_at": row.last_used_at,
    }


def _unknown(client_id: str) -> Problem:
    return Problem(
        "invalid_input",
        f"no client {client_id[:100]!r} is registered here",
        hint="remove the sign-in in your editor and start again: it may have been forgotten for lack of use",
        fix="user",
    )

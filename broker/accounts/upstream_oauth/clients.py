"""As whom we ask an authorization server."""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID
from weakref import WeakValueDictionary

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts.upstream_oauth.redirects import Redirects
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem, invalid
from broker.identity.roles import require
from connectors.base import HttpSender
from connectors.mcp_upstream.oauth.discovery import SignIn
from connectors.mcp_upstream.oauth.registration import as_document, register
from connectors.mcp_upstream.oauth.tokens import OAuthClient
from vault.binding import BlobBinding
from vault.store import Vault

PURPOSE: Final = "upstream_client"
MAX_CLIENTS: Final = 1_000
"""Clients of one tenant, so that a server that names ever new issuers fills nothing."""
_ISSUER = re.compile(r"https?://[\x21-\x7e]{1,1990}")
UNUSED: Final = timedelta(hours=1)
"""After which a registration that nobody has signed in by makes room, where there is none."""

_FIND: Final = text(
    "select issuer, sealed, expires_at from broker.upstream_clients where tenant_id = :tenant and place = :place"
)
_COUNT: Final = text("select count(*) from broker.upstream_clients where tenant_id = :tenant")
_KEEP: Final = text(
    """
    insert into broker.upstream_clients (tenant_id, place, issuer, sealed, created_at, expires_at)
    values (:tenant, :place, :issuer, :sealed, :now, :expires)
    on conflict (tenant_id, place) do update
       set issuer = excluded.issuer, sealed = excluded.sealed, created_at = :now, expires_at = excluded.expires_at,
           used_at = null"""
)
_USED: Final = text("update broker.upstream_clients set used_at = :now where tenant_id = :tenant and place = :place")
_MAKE_ROOM: Final = text(
    "delete from broker.upstream_clients "
    "where tenant_id = :tenant and place like 'issuer:%' and used_at is null and created_at < :before"
)
_REMOVE: Final = text("delete from broker.upstream_clients where tenant_id = :tenant and place = :place")
_CONNECTION: Final = text(
    "select id from broker.connections where tenant_id = :tenant and name = :name and connector = 'mcp' "
    "and status <> 'deleted'"
)
_ONE_AT_A_TIME: Final = text("select pg_advisory_xact_lock(hashtextextended(:place, 11))")


@dataclass(frozen=True, slots=True)
class OurClient:
    """As whom we ask, and where the answer is to come: to nowhere else is it taken."""

    client: OAuthClient
    redirect_uri: str


class UpstreamClients:
    """One per process."""

    def __init__(self, *, db: Database, vault_: Vault, trail: AuditTrail, clock: Clock, redirects: Redirects) -> None:
        self._db = db
        self._vault = vault_
        self._trail = trail
        self._clock = clock
        self.redirects = redirects
        self._registering: WeakValueDictionary[tuple[UUID, str], asyncio.Lock] = WeakValueDictionary()

    async def client(self, http: HttpSender, tenant_id: UUID, connection_id: UUID, sign_in: SignIn) -> OurClient:
        """The client for a sign-in: the connection's own, our document, else one that is registered now, by `http`, if
        it was not before. The document only where the server promises to name itself in its answers: any other server
        could be passed the same document by a hostile one, and its answer would look like that one's.

        Raises Problem `forbidden` where the admin's client belongs to another issuer, `rate_limited`; NoSignIn,
        UpstreamFault, EgressRefused.
        """
        issuer = sign_in.issuer
        kept = await self._find(tenant_id, _of_connection(connection_id))
        if kept is not None:
            if kept[0] != issuer:
                told = "the server now names another authorization server than the one its client was registered for"
                raise Problem("forbidden", told, hint="an admin must look at it and register the client anew")
            return OurClient(kept[1], self.redirects.registered(issuer))
        published = as_document(sign_in, self.redirects.document(issuer)) if sign_in.names_itself else None
        if published is not None:
            return OurClient(published, self.redirects.documented(issuer))
        place = self._of_issuer(issuer)
        lock = self._registering.setdefault((tenant_id, place), asyncio.Lock())
        async with lock:  # or two who sign in at once would register twice
            return OurClient(await self._registered(http, tenant_id, sign_in, place), self.redirects.registered(issuer))

    async def own(self, tenant_id: UUID, connection_id: UUID) -> tuple[str, str] | None:
        """(issuer, client id) of the client that an admin set for a connection."""
        kept = await self._find(tenant_id, _of_connection(connection_id))
        return None if kept is None else (kept[0], kept[1].client_id)

    async def used(self, tenant_id: UUID, issuer: str) -> None:
        """Notes that somebody has signed in: the registration is of use."""
        async with self._db.tenant(tenant_id) as conn:
            values = {"tenant": tenant_id, "place": self._of_issuer(issuer), "now": self._clock.now()}
            await conn.execute(_USED, values)

    async def _registered(self, http: HttpSender, tenant_id: UUID, sign_in: SignIn, place: str) -> OAuthClient:
        kept = await self._find(tenant_id, place)
        if kept is not None and kept[0] == sign_in.issuer:
            return kept[1]
        async with self._db.tenant(tenant_id) as conn:
            if await self._full(conn, tenant_id):
                await conn.execute(_MAKE_ROOM, {"tenant": tenant_id, "before": self._clock.now() - UNUSED})
                if await self._full(conn, tenant_id):
                    told = "this tenant is the client of too many authorization servers"
                    raise Problem("rate_limited", told, fix="admin")
        made = await register(http, sign_in, self.redirects.registered(sign_in.issuer))
        expires = None if made.secret_expires_at is None else datetime.fromtimestamp(made.secret_expires_at, UTC)
        return await self._keep(tenant_id, place, sign_in.issuer, made.client, expires)

    @staticmethod
    async def _full(conn: AsyncConnection, tenant_id: UUID) -> bool:
        return int(await conn.scalar(_COUNT, {"tenant": tenant_id}) or 0) >= MAX_CLIENTS

    async def _keep(
        self, tenant_id: UUID, place: str, issuer: str, client: OAuthClient, expires: datetime | None
    ) -> OAuthClient:
        """Keeps a registration; the one that another kept meanwhile, where there is one."""
        sealed = await self._seal(tenant_id, place, client)
        async with self._db.tenant(tenant_id) as conn:
            await conn.execute(_ONE_AT_A_TIME, {"place": f"upstream client {tenant_id} {place}"})
            row = (await conn.execute(_FIND, {"tenant": tenant_id, "place": place})).one_or_none()
            if row is None or row.issuer != issuer or _past(row.expires_at, self._clock.now()):
                values = {"tenant": tenant_id, "place": place, "issuer": issuer, "sealed": sealed}
                await conn.execute(_KEEP, {**values, "now": self._clock.now(), "expires": expires})
                return client
        return await self._open(tenant_id, place, row.sealed)

    async def _find(self, tenant_id: UUID, place: str) -> tuple[str, OAuthClient] | None:
        async with self._db.tenant(tenant_id) as conn:
            row = (await conn.execute(_FIND, {"tenant": tenant_id, "place": place})).one_or_none()
        if row is None or _past(row.expires_at, self._clock.now()):
            return None
        return str(row.issuer), await self._open(tenant_id, place, row.sealed)

    async def _seal(self, tenant_id: UUID, place: str, client: OAuthClient) -> bytes:
        plain = {"client_id": client.client_id, "client_secret": client.client_secret, "method": client.method}
        return await self._vault.seal_blob(BlobBinding(tenant_id, PURPOSE, place), orjson.dumps(plain))

    async def _open(self, tenant_id: UUID, place: str, sealed: bytes) -> OAuthClient:
        plain = await self._vault.open_blob(BlobBinding(tenant_id, PURPOSE, place), bytes(sealed))
        return OAuthClient(**orjson.loads(plain))

    async def forget(self, tenant_id: UUID, issuer: str) -> None:
        """Forgets the registration at an issuer that knows us no longer: the next sign-in registers anew."""
        async with self._db.tenant(tenant_id) as conn:
            await conn.execute(_REMOVE, {"tenant": tenant_id, "place": self._of_issuer(issuer)})

    async def preregister(self, caller: Caller, connection_name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Keeps the client that an admin registered at `issuer` for a connection; `{issuer, client_id,
        redirect_uri}`. Its secret goes to that issuer and to no other. Raises Problem `forbidden`,
        `unknown_connection`, `invalid_input`."""
        require(caller, "connections.write")
        client = _checked(body)
        connection_id = await self._connection(caller, connection_name)
        place = _of_connection(connection_id)
        sealed = await self._seal(caller.tenant_id, place, client)
        values = {"tenant": caller.tenant_id, "place": place, "issuer": body["issuer"], "sealed": sealed}
        async with self._db.tenant(caller.tenant_id) as conn:
            await conn.execute(_KEEP, {**values, "now": self._clock.now(), "expires": None})
            details = {"issuer": body["issuer"], "client_id": client.client_id}
            action = "connection.client_set"
            await self._trail.change(conn, caller, action, connection_name=connection_name, details=details)
        redirect_uri = self.redirects.registered(body["issuer"])
        return {"issuer": body["issuer"], "client_id": client.client_id, "redirect_uri": redirect_uri}

    async def remove(self, caller: Caller, connection_name: str) -> None:
        """Forgets the connection's own client. Raises Problem `forbidden`, `unknown_connection`."""
        require(caller, "connections.write")
        connection_id = await self._connection(caller, connection_name)
        async with self._db.tenant(caller.tenant_id) as conn:
            await conn.execute(_REMOVE, {"tenant": caller.tenant_id, "place": _of_connection(connection_id)})
            await self._trail.change(
                conn, caller, "connection.client_removed", connection_name=connection_name, details={}
            )

    def _of_issuer(self, issuer: str) -> str:
        asked = f"{issuer} {self.redirects.registered(issuer)}"
        return "issuer:" + hashlib.sha256(asked.encode()).hexdigest()

    async def _connection(self, caller: Caller, name: str) -> UUID:
        async with self._db.tenant(caller.tenant_id) as conn:
            found: UUID | None = await conn.scalar(_CONNECTION, {"tenant": caller.tenant_id, "name": name})
        if found is None:
            raise Problem("unknown_connection", f"no connection {name[:60]!r} to an MCP server in this tenant")
        return found


def _checked(body: dict[str, Any]) -> OAuthClient:
    issuer, client_id, secret = body.get("issuer"), body.get("client_id"), body.get("client_secret")
    if not isinstance(issuer, str) or _ISSUER.fullmatch(issuer) is None:
        raise invalid("issuer", "is required: the authorization server's issuer, letter by letter")
    if not isinstance(client_id, str) or not 0 < len(client_id) <= 500 or not client_id.isprintable():
        raise invalid("client_id", "is required, at most 500 characters")
    if secret is not None and (not isinstance(secret, str) or not 0 < len(secret) <= 2_000 or not secret.isascii()):
        raise invalid("client_secret", "must be text, at most 2,000 characters")
    method = body.get("method") or ("none" if secret is None else "client_secret_basic")
    if method not in ("client_secret_basic", "client_secret_post", "none") or (method == "none") != (secret is None):
        raise invalid("method", "must be client_secret_basic or client_secret_post with a secret, none without")
    return OAuthClient(client_id, secret, method)


def _past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def _of_connection(connection_id: UUID) -> str:
    return f"connection:{connection_id}"

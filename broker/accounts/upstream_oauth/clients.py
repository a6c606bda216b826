"""As whom we ask an authorization server."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy import text

from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem, invalid
from broker.identity.roles import require
from connectors.base import HttpSender
from connectors.mcp_upstream.oauth.discovery import SignIn
from connectors.mcp_upstream.oauth.registration import as_document, document, register
from connectors.mcp_upstream.oauth.tokens import OAuthClient
from vault.binding import BlobBinding
from vault.store import Vault

PURPOSE: Final = "upstream_client"
MAX_CLIENTS: Final = 1_000
"""Clients of one tenant, so that a server that names ever new issuers fills nothing."""

_log = structlog.get_logger(__name__)

_FIND: Final = text(
    "select issuer, sealed, expires_at from broker.upstream_clients where tenant_id = :tenant and place = :place"
)
_COUNT: Final = text("select count(*) from broker.upstream_clients where tenant_id = :tenant")
_KEEP: Final = text(
    """
    insert into broker.upstream_clients (tenant_id, place, issuer, sealed, created_at, expires_at)
    values (:tenant, :place, :issuer, :sealed, :now, :expires)
    on conflict (tenant_id, place) do update
       set issuer = excluded.issuer, sealed = excluded.sealed, created_at = :now, expires_at = excluded.expires_at"""
)
_REMOVE: Final = text("delete from broker.upstream_clients where tenant_id = :tenant and place = :place")
_CONNECTION: Final = text(
    "select id from broker.connections where tenant_id = :tenant and name = :name and connector = 'mcp' "
    "and status <> 'deleted'"
)
_ONE_AT_A_TIME: Final = text("select pg_advisory_xact_lock(hashtextextended(:place, 11))")


class UpstreamClients:
    """One per process. `document` is where our own client document is published, None where nobody outside could fetch
    it; `redirect_uri` where people come back to."""

    def __init__(
        self,
        *,
        db: Database,
        vault_: Vault,
        trail: AuditTrail,
        clock: Clock,
        http: HttpSender,
        redirect_uri: str,
        document: str | None,
    ) -> None:
        self._db = db
        self._vault = vault_
        self._trail = trail
        self._clock = clock
        self._http = http
        self.redirect_uri = redirect_uri
        self.document = document

    def published(self) -> dict[str, Any]:
        """Our client id metadata document. Raises Problem `not_found` where there is none."""
        if self.document is None:
            raise Problem("not_found", "this installation has no public https address, so it publishes no document")
        return document(self.document, self.redirect_uri)

    async def client(self, tenant_id: UUID, connection_id: UUID, sign_in: SignIn) -> OAuthClient:
        """The client for a sign-in: the connection's own, our document, else one that is registered now, if it was not
        before. Raises Problem `forbidden` where the admin's client belongs to another issuer, `rate_limited`;
        NoSignIn, UpstreamFault, EgressRefused."""
        kept = await self._find(tenant_id, _of_connection(connection_id))
        if kept is not None:
            issuer, client = kept
            if issuer != sign_in.issuer:
                told = "the server now names another authorization server than the one its client was registered for"
                raise Problem("forbidden", told, hint="an admin must look at it and register the client anew")
            return client
        published = as_document(sign_in, self.document)
        return published or await self._registered(tenant_id, sign_in)

    async def _registered(self, tenant_id: UUID, sign_in: SignIn) -> OAuthClient:
        place = _of_issuer(sign_in.issuer, self.redirect_uri)
        kept = await self._find(tenant_id, place)
        if kept is not None and kept[0] == sign_in.issuer:
            return kept[1]
        async with self._db.tenant(tenant_id) as conn:
            if int(await conn.scalar(_COUNT, {"tenant": tenant_id}) or 0) >= MAX_CLIENTS:
                raise Problem(
                    "rate_limited", "this tenant is the client of too many authorization servers", fix="admin"
                )
        made = await register(self._http, sign_in, self.redirect_uri)
        expires = None if made.secret_expires_at is None else datetime.fromtimestamp(made.secret_expires_at, UTC)
        return await self._keep(tenant_id, place, sign_in.issuer, made.client, expires)

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
            await conn.execute(_REMOVE, {"tenant": tenant_id, "place": _of_issuer(issuer, self.redirect_uri)})

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
        return {"issuer": body["issuer"], "client_id": client.client_id, "redirect_uri": self.redirect_uri}

    async def remove(self, caller: Caller, connection_name: str) -> None:
        """Forgets the connection's own client. Raises Problem `forbidden`, `unknown_connection`."""
        require(caller, "connections.write")
        connection_id = await self._connection(caller, connection_name)
        async with self._db.tenant(caller.tenant_id) as conn:
            await conn.execute(_REMOVE, {"tenant": caller.tenant_id, "place": _of_connection(connection_id)})
            await self._trail.change(
                conn, caller, "connection.client_removed", connection_name=connection_name, details={}
            )

    async def _connection(self, caller: Caller, name: str) -> UUID:
        async with self._db.tenant(caller.tenant_id) as conn:
            found: UUID | None = await conn.scalar(_CONNECTION, {"tenant": caller.tenant_id, "name": name})
        if found is None:
            raise Problem("unknown_connection", f"no connection {name[:60]!r} to an MCP server in this tenant")
        return found


def _checked(body: dict[str, Any]) -> OAuthClient:
    issuer, client_id, secret = body.get("issuer"), body.get("client_id"), body.get("client_secret")
    if not isinstance(issuer, str) or not 8 < len(issuer) <= 2_000 or not issuer.startswith(("https://", "http://")):
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


def _of_issuer(issuer: str, redirect_uri: str) -> str:
    return "issuer:" + hashlib.sha256(f"{issuer} {redirect_uri}".encode()).hexdigest()


def _of_connection(connection_id: UUID) -> str:
    return f"connection:{connection_id}"

"""From the page for connecting to an authorization server, and back."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson
import structlog
from sqlalchemy import text

from broker.accounts import rows
from broker.accounts.upstream_oauth.clients import OurClient, UpstreamClients
from broker.accounts.upstream_oauth.outward import OutwardOnly
from broker.accounts.upstream_oauth.redirects import Redirects
from broker.accounts.views import Views
from broker.audit.floods import FloodGate
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Caller, Connection
from broker.errors import Problem
from broker.identity.roles import require
from connectors.base import HttpSender
from connectors.egress import EgressPolicy
from connectors.errors import EgressRefused, UpstreamFault
from connectors.mcp_upstream.config import split_url
from connectors.mcp_upstream.oauth import authorization, discovery
from connectors.mcp_upstream.oauth.challenge import union
from connectors.mcp_upstream.oauth.discovery import SignIn
from connectors.mcp_upstream.oauth.errors import NoRegistration, NoSignIn, TokenRefused
from connectors.mcp_upstream.oauth.tokens import OAuthClient, Tokens, give_back, redeem
from vault.binding import BlobBinding
from vault.store import Vault

LASTS: Final = timedelta(minutes=10)
LIVE: Final = 20
"""Sign-ins of one identity that may be under way at the same time."""
TRIES: Final = 20
"""Sign-ins that one identity may begin within `LASTS`, in one process: each asks others up to eight times."""
MAX_SCOPES: Final = 2_000
PURPOSE: Final = "upstream_sign_in"
_BYTES: Final = 32
_STATE_LENGTH: Final = 64

_log = structlog.get_logger(__name__)

_EXPIRED: Final = text("delete from broker.upstream_sign_ins where tenant_id = :tenant and expires_at <= :now")
_LIVE: Final = text(
    "select count(*) from broker.upstream_sign_ins where tenant_id = :tenant and identity_id = :identity"
)
_INSERT: Final = text(
    """
    insert into broker.upstream_sign_ins
           (tenant_id, state_hash, browser_hash, identity_id, connection_id, link_id, sealed, created_at, expires_at)
    values (:tenant, :state, :browser, :identity, :connection, :link, :sealed, :now, :until)"""
)
_TAKE: Final = text(
    """
    delete from broker.upstream_sign_ins where tenant_id = :tenant and state_hash = :state
    returning browser_hash, identity_id, connection_id, link_id, sealed, expires_at"""
)
_WANTED: Final = text(
    """
    select t.scope, t.wanted_scope from broker.upstream_tokens t
      join broker.accounts a on a.tenant_id = t.tenant_id and a.id = t.account_id
     where a.tenant_id = :tenant and a.connection_id = :connection and a.identity_id = :identity
       and t.wanted_scope is not null
       and a.label is null and a.status in ('active', 'needs_reauth') limit 1"""
)


@dataclass(frozen=True, slots=True)
class Leaving:
    """Where a person is to go. `browser` is for a cookie of theirs; the answer is taken only beside it."""

    url: str = field(repr=False)
    host: str
    browser: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Back:
    """A person who came back, by a state that no second answer can use. `tenant_id`, `identity_id` and `link_id` are
    whose sign-in it is; whether that is who stands before us is for whoever holds their cookies to say."""

    tenant_id: UUID
    identity_id: UUID
    connection_id: UUID
    link_id: UUID | None
    connection_name: str
    server_url: str
    sign_in: SignIn
    client: OAuthClient
    redirect_uri: str
    scope: str | None
    verifier: str = field(repr=False)


class UpstreamSignIns:
    """One per process."""

    def __init__(
        self,
        *,
        db: Database,
        vault_: Vault,
        trail: AuditTrail,
        clock: Clock,
        views: Views,
        http: HttpSender,
        egress: EgressPolicy,
        clients: UpstreamClients,
    ) -> None:
        self._db = db
        self._vault = vault_
        self._trail = trail
        self._clock = clock
        self._views = views
        self._http = http
        self._outward = OutwardOnly(http, egress)
        self.clients = clients
        self._tries: FloodGate[None] = FloodGate(limit=TRIES, window=LASTS)

    async def begin(self, caller: Caller, connection: Connection, link_id: UUID | None) -> Leaving:
        """Finds out how the connection's server signs people in, and prepares it for the caller's identity.

        Raises Problem `invalid_input` where it offers no sign-in that is sound, `egress_refused`, `rate_limited`,
        `upstream_unreachable`, and those of `UpstreamClients.client`.
        """
        identity = caller.identity
        if identity is None or connection.connector != "mcp":
            raise Problem("forbidden", "only a person signs in, and only to an MCP server")
        view = await self._views.connection(caller.tenant_id, connection)
        if view.config.get("auth") == "token":
            raise Problem("forbidden", f"connection {connection.name} takes credentials, no sign-ins")
        url = str(view.config["url"])
        self._count(caller.tenant_id, identity.id)
        async with self._told(url):
            sign_in = await self._discover(url)
            known = await self.clients.client(self._asking(url), caller.tenant_id, connection.id, sign_in)
        return await self._leave(caller, connection, link_id, url, sign_in, known)

    async def registration(self, caller: Caller, connection_name: str) -> dict[str, Any]:
        """What an admin registers a client with, `{issuer, client_id, redirect_uri}`: of the client that is set, else
        (client_id None) as the connection's server says now. Raises Problem `forbidden`, `unknown_connection`, and
        those of `begin`."""
        require(caller, "connections.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await rows.existing(conn, caller.tenant_id, connection_name)
        if row.connector != "mcp":
            raise Problem("unknown_connection", f"connection {connection_name} leads to no MCP server")
        client_id: str | None = None
        own = await self.clients.own(caller.tenant_id, row.id)
        if own is None:
            connection = Connection(row.id, row.name, row.connector, row.version, row.status)
            url = str((await self._views.connection(caller.tenant_id, connection)).config["url"])
            self._count(caller.tenant_id, caller.bearer.id)
            async with self._told(url):
                issuer = (await self._discover(url)).issuer
        else:
            issuer, client_id = own
        redirect_uri = self.clients.redirects.registered(issuer)
        return {"issuer": issuer, "client_id": client_id, "redirect_uri": redirect_uri}

    def _count(self, tenant_id: UUID, who: UUID) -> None:
        if not self._tries.admit((tenant_id, who), None, self._clock.now())[0]:
            raise Problem("rate_limited", f"{TRIES} sign-ins were begun in the last minutes", retry_after=600)

    @asynccontextmanager
    async def _told(self, url: str) -> AsyncIterator[None]:
        """Tells whoever wants to sign in to a server why they cannot."""
        try:
            yield
        except EgressRefused as error:
            raise Problem("egress_refused", error.reason) from None
        except (NoSignIn, TokenRefused) as error:
            told, hint = f"you cannot sign in to {urlsplit(url).netloc}: {error}", "paste a credential instead"
            if isinstance(error, NoRegistration):
                redirect_uri = self.clients.redirects.registered(error.issuer)
                hint = (
                    f"{hint}, or tell your admin: register a client at {error.issuer} that comes back to {redirect_uri}"
                )
            else:
                hint += ", or tell your admin"
            raise Problem("invalid_input", told, hint=hint) from None
        except UpstreamFault as error:
            raise Problem("upstream_unreachable", f"the sign-in could not be prepared: {error}") from None

    def _asking(self, url: str) -> HttpSender:
        """By what others are asked that the server at `url` names: what the operator has opened is inside a network,
        and only who is inside too may have us ask there."""
        server = split_url(url)
        return self._http if self._outward.opened(server.origin) else self._outward

    async def _discover(self, url: str) -> SignIn:
        server = split_url(url)
        challenge = await discovery.challenge_of(self._http, origin=server.origin, path=server.path, query=server.query)
        asking = self._asking(url)
        found = await discovery.discover(asking, url, challenge)
        if asking is self._outward and found.revocation_endpoint is not None:
            # The one endpoint that is not asked during a sign-in: the gate asks it, which reaches what is opened.
            revocation = urlsplit(found.revocation_endpoint)
            self._outward.check(f"{revocation.scheme}://{revocation.netloc}")
        return found

    async def _leave(
        self,
        caller: Caller,
        connection: Connection,
        link_id: UUID | None,
        url: str,
        sign_in: SignIn,
        known: OurClient,
    ) -> Leaving:
        assert caller.identity is not None  # noqa: S101 - `begin` has looked
        now, proof = self._clock.now(), authorization.Proof.make()
        state, browser = _mint(caller.tenant_id), secrets.token_urlsafe(_BYTES)
        digest = _digest(state)
        who = {"tenant": caller.tenant_id, "identity": caller.identity.id, "connection": connection.id}
        scope = await self._scope(who, sign_in)
        kept = {
            "connection_name": connection.name,
            "server_url": url,
            "sign_in": sign_in,
            "client": known.client,
            "redirect_uri": known.redirect_uri,
            "scope": scope,
            "verifier": proof.verifier,
        }
        binding = BlobBinding(caller.tenant_id, PURPOSE, digest.hex())
        sealed = await self._vault.seal_blob(binding, orjson.dumps(kept))
        values: dict[str, Any] = {**who, "state": digest, "browser": _digest(browser), "link": link_id}
        async with self._db.tenant(caller.tenant_id) as conn:
            await conn.execute(_EXPIRED, {"tenant": caller.tenant_id, "now": now})
            if int(await conn.scalar(_LIVE, who) or 0) >= LIVE:
                raise Problem("rate_limited", f"{LIVE} sign-ins are under way already", retry_after=600)
            await conn.execute(_INSERT, {**values, "sealed": sealed, "now": now, "until": now + LASTS})
            details = {"issuer": sign_in.issuer, "link_id": None if link_id is None else str(link_id)}
            await self._trail.change(
                conn,
                caller,
                "account.sign_in_started",
                identifier=caller.identity.identifier,
                connection_name=connection.name,
                details=details,
            )
        address = authorization.address(
            sign_in,
            client_id=known.client.client_id,
            redirect_uri=known.redirect_uri,
            state=state,
            proof=proof,
            scope=scope,
        )
        return Leaving(address, urlsplit(address).netloc, browser, now + LASTS)

    async def _scope(self, who: Mapping[str, Any], sign_in: SignIn) -> str | None:
        """What is asked for: where a call was refused for want of more, that too, and what the account was given before
        as far as there is room. Or two tools that each want more would take the other's away."""
        async with self._db.tenant(who["tenant"]) as conn:
            wanted = (await conn.execute(_WANTED, who)).one_or_none()
        if wanted is None:
            return sign_in.scope
        scope = union(sign_in.scope, wanted.wanted_scope)
        whole = union(scope, wanted.scope)
        return whole if len(whole or "") <= MAX_SCOPES else scope

    async def take(self, state: str, browser: str, path: str) -> Back:
        """The sign-in that `state` ends, which it uses up, whatever comes of it. Raises Problem `not_found` for any
        state that this browser did not leave with, `invalid_input` where it is not the address (a path of ours) that
        the authorization server was given: another's answer then (RFC 9700 § 4.4.2.2)."""
        tenant_id = _tenant_of(state)
        digest = _digest(state)
        async with self._db.tenant(tenant_id) as conn:
            row = (await conn.execute(_TAKE, {"tenant": tenant_id, "state": digest})).one_or_none()
        if row is None or row.expires_at <= self._clock.now():
            raise _nothing()
        if not hmac.compare_digest(bytes(row.browser_hash), _digest(browser)):
            _log.warning("upstream_sign_in_from_another_browser", connection_id=str(row.connection_id))
            raise _nothing()
        plain = await self._vault.open_blob(BlobBinding(tenant_id, PURPOSE, digest.hex()), bytes(row.sealed))
        kept = orjson.loads(plain)
        if kept["redirect_uri"] != self.clients.redirects.base_url + path:
            _log.warning("upstream_answer_at_anothers_address", connection_id=str(row.connection_id))
            told = "the answer came to the address of another authorization server than the one you were sent to"
            raise Problem("invalid_input", f"nothing was connected: {told}", hint="tell your admin")
        found, client = kept.pop("sign_in"), kept.pop("client")
        return Back(
            tenant_id=tenant_id,
            identity_id=row.identity_id,
            connection_id=row.connection_id,
            link_id=row.link_id,
            sign_in=SignIn(**{**found, "methods": tuple(found["methods"])}),
            client=OAuthClient(**client),
            **kept,
        )

    async def redeem(
        self, back: Back, connection: Connection, *, iss: str | None, code: str | None, error: str | None
    ) -> Tokens:
        """The tokens of an answer. Nothing is asked for an answer that is another issuer's, nor for a connection that
        has moved to another server meanwhile. Raises Problem `invalid_input`, `version_conflict`,
        `upstream_unreachable`, `egress_refused`."""
        view = await self._views.connection(back.tenant_id, connection)
        if connection.id != back.connection_id or view.config.get("url") != back.server_url:
            raise Problem("version_conflict", "the connection was changed while you signed in", hint="start again")
        sign_in = back.sign_in
        try:
            wanted = authorization.read_answer(
                issuer=sign_in.issuer, names_itself=sign_in.names_itself, iss=iss, code=code, error=error
            )
            tokens = await redeem(
                self._asking(back.server_url),
                sign_in,
                back.client,
                code=wanted,
                verifier=back.verifier,
                redirect_uri=back.redirect_uri,
                scope=back.scope,
            )
            try:
                await self.clients.used(back.tenant_id, sign_in.issuer)
            except BaseException:
                await self.return_unused(back, tokens)
                raise
            return tokens
        except TokenRefused as refused:
            if refused.code in ("invalid_client", "unauthorized_client"):
                await self.clients.forget(back.tenant_id, sign_in.issuer)
            raise Problem("invalid_input", f"nothing was connected: {refused}", hint="start again") from None
        except NoSignIn as refused:
            raise Problem("invalid_input", f"nothing was connected: {refused}", hint="tell your admin") from None
        except EgressRefused as refused:
            raise Problem("egress_refused", refused.reason) from None
        except UpstreamFault as fault:
            raise Problem("upstream_unreachable", f"nothing was connected: {fault}", hint="start again") from None

    async def return_unused(self, back: Back, tokens: Tokens) -> None:
        """Gives tokens back that were not kept, as far as their server lets us; what fails is logged."""
        try:
            await give_back(self._asking(back.server_url), tokens)
        except (UpstreamFault, EgressRefused) as error:
            _log.warning("unused_tokens_not_given_back", issuer=tokens.issuer, error=type(error).__name__)


def make_upstream_sign_ins(
    *,
    base_url: str,
    db: Database,
    vault_: Vault,
    trail: AuditTrail,
    clock: Clock,
    views: Views,
    http: HttpSender,
    egress: EgressPolicy,
) -> UpstreamSignIns:
    """Those of an installation at `base_url`. `egress` is the rule that `http` keeps."""
    stored: dict[str, Any] = {"db": db, "vault_": vault_, "trail": trail, "clock": clock}
    clients = UpstreamClients(redirects=Redirects(base_url), **stored)
    return UpstreamSignIns(views=views, http=http, egress=egress, clients=clients, **stored)


def _mint(tenant_id: UUID) -> str:
    """A state: the tenant's id, which only chooses where it is looked up, and 32 random bytes."""
    return base64.urlsafe_b64encode(tenant_id.bytes + secrets.token_bytes(_BYTES)).decode("ascii")


def _tenant_of(state: str) -> UUID:
    if len(state) != _STATE_LENGTH or not state.isascii():
        raise _nothing()
    try:
        raw = base64.b64decode(state, altchars=b"-_", validate=True)
    except ValueError:
        raise _nothing() from None
    return UUID(bytes=raw[:16])


def _digest(text_: str) -> bytes:
    return hashlib.sha256(text_.encode("utf-8", "replace")).digest()


def _nothing() -> Problem:
    told = "this browser is not on its way back from such a sign-in, or has been back already"
    return Problem("not_found", told, hint="open your connect page and start again")

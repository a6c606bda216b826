"""Signing in by the tenant's provider: begun on our page, answered by the provider, finished in the same browser."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from broker.audit.floods import FloodGate
from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.errors import Problem, invalid
from broker.identity.logins import Logins, NewLogin
from broker.identity.names import TENANT_NAME
from broker.identity.oidc import exchange
from broker.identity.oidc.begun import (
    LASTS,
    SEED_BYTES,
    Begun,
    check_state,
    not_begun_here,
    read_cookie,
    request_address,
)
from broker.identity.oidc.discovery import Metadata, origin_of
from broker.identity.oidc.errors import Away, BadProvider, BadToken, OidcFault, UnknownKey
from broker.identity.oidc.fetching import Documents
from broker.identity.oidc.id_token import Expected, Person, read_id_token, verified_email
from broker.identity.oidc.logouts import ProviderLogouts, session_of
from broker.identity.oidc.people import People, actor_of, subject_digest
from broker.identity.oidc.providers import Provider, Providers
from broker.identity.oidc.room import Room
from broker.identity.taking import Revocation
from connectors.base import HttpSender
from vault.store import Vault

KEY_PURPOSE: Final = "oidc_begun"
_TENANT: Final = text("select id from broker.tenants where name = :name and status = 'active'")
_CLAIM: Final = text(
    """
    insert into broker.sign_in_states (tenant_id, digest, expires_at) values (:tenant, :digest, :until)
    on conflict do nothing returning digest"""
)
_FORGET: Final = text("delete from broker.sign_in_states where tenant_id = :tenant and expires_at < :now")


@dataclass(frozen=True, slots=True)
class Started:
    """Where the browser goes, and the cookie it takes along, which it keeps until `until`."""

    location: str = field(repr=False)
    cookie: str = field(repr=False)
    until: datetime


@dataclass(frozen=True, slots=True)
class OidcSignIn:
    """What the endpoints are handed. `key` is `Vault.platform_digest` of `KEY_PURPOSE`; `random` makes seeds."""

    db: Database
    trail: AuditTrail
    logins: Logins
    http: HttpSender
    documents: Documents
    providers: Providers
    people: People
    logouts: ProviderLogouts
    key: bytes = field(repr=False)
    random: Callable[[int], bytes]
    _room: Room = field(default_factory=Room)
    _refusals: FloodGate[None] = field(default_factory=FloodGate)

    async def offered(self, tenant: str) -> Provider | None:
        """The provider by which people sign in to `tenant`. None: there is no such tenant, or it has none."""
        tenant_id = await self._tenant(tenant)
        return None if tenant_id is None else await self.providers.find(tenant_id)

    async def begin(self, tenant: str, now: datetime, source: str) -> Started:
        """Begins a sign-in. `source`: who asks (`room.source_of`). Raises Problem `not_found`, `forbidden`,
        `rate_limited`, `upstream_unreachable`."""
        provider = await self.offered(tenant)
        if provider is None:
            raise _no_provider()
        self._room.begin(provider.tenant_id, source, now)
        try:
            metadata = await self._metadata(provider, now)
        except OidcFault as fault:
            raise _told(provider, fault) from None
        begun = Begun(provider.tenant_id, provider.digest, now, self.random(SEED_BYTES))
        location = request_address(
            metadata.authorization_endpoint,
            begun,
            client_id=provider.client_id,
            redirect_uri=self.providers.redirect_uri(tenant),
            scopes=provider.scopes,
        )
        return Started(location, begun.cookie(self.key), now + LASTS)

    async def finish(
        self, tenant: str, cookie: str | None, answer: Mapping[str, str], now: datetime, source: str
    ) -> NewLogin:
        """Signs in whom the provider's answer proves. Whatever comes of it, the provider is asked about one answer to
        each sign-in that was begun, and only if the browser that began it brings that. Raises Problem `forbidden`,
        `identity_disabled`, `not_found`, `invalid_input`, `rate_limited`, `upstream_unreachable`."""
        tenant_id = await self._tenant(tenant)
        if tenant_id is None:
            raise _no_provider()
        begun = read_cookie(self.key, cookie, tenant_id, now)
        check_state(begun, answer.get("state"))
        provider = await self.providers.find(tenant_id)
        if provider is None or provider.digest != begun.provider:
            raise not_begun_here()
        person: Person | None = None
        try:
            with self._room.asking(tenant_id, source):
                person = await self._proven(provider, begun, answer, self.providers.redirect_uri(tenant), now)
            return await self._signed_in(provider, begun, person, now)
        except OidcFault as fault:
            if isinstance(fault, BadToken):
                await self._refused(provider, person, str(fault), now)
            raise _told(provider, fault) from None
        except Problem as problem:
            if person is not None:
                await self._refused(provider, person, problem.detail, now)
            raise

    async def _proven(
        self, provider: Provider, begun: Begun, answer: Mapping[str, str], redirect_uri: str, now: datetime
    ) -> Person:
        """Who the provider's answer proves it is. Raises OidcFault, Problem `forbidden`, `invalid_input`."""
        metadata = await self._metadata(provider, now)
        if answer.get("iss", provider.issuer if not metadata.names_itself else None) != provider.issuer:
            raise BadToken("the answer is another provider's")  # RFC 9207 § 2.4
        if "error" in answer:
            raise _denied(provider, answer["error"])
        code = answer.get("code", "")
        if not 1 <= len(code) <= exchange.MAX_CODE:
            raise invalid("code", "is missing or too long")
        await self._claim(begun, now)
        token, access_token = await exchange.redeem(
            self.http,
            metadata,
            code=code,
            verifier=begun.verifier,
            redirect_uri=redirect_uri,
            client_id=provider.client_id,
            secret=await self.providers.secret(provider),
        )
        expected = Expected(provider.issuer, provider.client_id, begun.nonce)
        try:
            person = read_id_token(token, await self.documents.keys(metadata, now), expected, now)
        except UnknownKey:
            keys = await self.documents.keys(metadata, now, again=True)
            person = read_id_token(token, keys, expected, now)
        return await self._with_email(provider, metadata, person, access_token)

    async def _with_email(
        self, provider: Provider, metadata: Metadata, person: Person, access_token: str | None
    ) -> Person:
        """The person with the e-mail address that only the userinfo endpoint tells, where it is going to matter."""
        matters = provider.link_by_email or provider.create_identities
        if person.email is not None or not matters or await self.people.known(provider, person):
            return person
        told = await exchange.about(self.http, metadata, access_token)
        if told and told.get("sub") != person.subject:
            raise BadToken("its userinfo endpoint speaks of somebody else")  # Core § 5.3.2
        return replace(person, email=verified_email(told))

    async def _claim(self, begun: Begun, now: datetime) -> None:
        """Uses the sign-in up, before the provider is asked: else one that was begun would let a visitor have it asked
        about any number of codes. Raises Problem `forbidden`."""
        used = {"tenant": begun.tenant_id, "digest": begun.digest, "until": begun.at + LASTS + LASTS}
        async with self.db.tenant(begun.tenant_id) as conn:
            await conn.execute(_FORGET, {"tenant": begun.tenant_id, "now": now})
            if (await conn.execute(_CLAIM, used)).one_or_none() is None:
                raise not_begun_here()

    async def _signed_in(self, provider: Provider, begun: Begun, person: Person, now: datetime) -> NewLogin:
        async with self.db.tenant(provider.tenant_id) as conn:
            held = await self.providers.hold(conn, provider.tenant_id)
            if held is None or held.digest != begun.provider:
                raise not_begun_here()
            await self.logouts.check(conn, provider.tenant_id, person)
            identity_id, known_by = await self.people.identity_of(conn, provider, person, now)
            facts = {
                "method": "oidc",
                "issuer": person.issuer,
                "subject_digest": subject_digest(person.issuer, person.subject),
                "known_by": known_by,
            }
            session = session_of(person.issuer, person.session)
            return await self.logins.begin_in(
                conn, provider.tenant_id, identity_id, now, how="oidc", facts=facts, session=session
            )

    async def _metadata(self, provider: Provider, now: datetime) -> Metadata:
        metadata = await self.documents.metadata(provider.issuer, now)
        if origin_of(metadata.token_endpoint) != provider.token_origin:
            # The secret was sealed for the one that the admin saw.
            raise BadProvider("it has moved its token endpoint to another host; an admin must set it again")
        return metadata

    async def _tenant(self, name: str) -> UUID | None:
        if TENANT_NAME.fullmatch(name) is None:
            return None
        async with self.db.platform() as conn:
            found: UUID | None = await conn.scalar(_TENANT, {"name": name})
        return found

    async def _refused(self, provider: Provider, person: Person | None, reason: str, now: datetime) -> None:
        """Writes down that somebody was not let in: 20 a minute for each tenant and process."""
        admitted, _ = self._refusals.admit(provider.tenant_id, None, now)
        if not admitted:
            return
        details: dict[str, Any] = {"method": "oidc", "issuer": provider.issuer, "reason": reason[:300]}
        if person is not None:
            details["subject_digest"] = subject_digest(person.issuer, person.subject)
        async with self.db.tenant(provider.tenant_id) as conn:
            await self.trail.change(
                conn,
                None,
                "identity.sign_in_refused",
                details=details,
                tenant_id=provider.tenant_id,
                actor="oidc" if person is None else actor_of(person),
            )


def make_oidc(
    *,
    db: Database,
    trail: AuditTrail,
    revocation: Revocation,
    logins: Logins,
    http: HttpSender,
    documents: Documents,
    vault_: Vault,
    base_url: str,
    random: Callable[[int], bytes],
) -> OidcSignIn:
    """Puts it together. `base_url` is where this server is reached."""
    stored: dict[str, Any] = {"db": db, "trail": trail, "revocation": revocation}
    providers = Providers(
        vault_=vault_,
        documents=documents,
        redirect_uri=lambda tenant: f"{base_url}/t/{tenant}/signin/callback",
        logout_uri=lambda tenant: f"{base_url}/t/{tenant}/oidc/backchannel-logout",
        **stored,
    )
    people = People(providers=providers, **stored)
    return OidcSignIn(
        db=db,
        trail=trail,
        logins=logins,
        http=http,
        documents=documents,
        providers=providers,
        people=people,
        logouts=ProviderLogouts(documents=documents, providers=providers, people=people, **stored),
        key=vault_.platform_digest(KEY_PURPOSE, b""),
        random=random,
    )


def _no_provider() -> Problem:
    told = "there is no such organisation here, or it has not set up signing in with its own accounts"
    return Problem("not_found", told, hint="check the name, or ask your admin for a sign-in link", fix="user")


def _denied(provider: Provider, error: str) -> Problem:
    """The provider's own refusal. Of its words only a known one is repeated: anybody can write the address."""
    known = {"access_denied", "login_required", "consent_required", "interaction_required", "temporarily_unavailable"}
    told = error if error in known else "it said no"
    return Problem("forbidden", f"{provider.host} did not sign you in: {told}", hint="start again", fix="user")


def _told(provider: Provider, fault: OidcFault) -> Problem:
    """What people are told of a fault."""
    if isinstance(fault, Away):
        told = f"{provider.host} could not be asked: {fault}"
        return Problem("upstream_unreachable", told, hint="try again in a minute", retry_after=60)
    if isinstance(fault, BadProvider):
        return Problem("forbidden", f"the sign-in provider {provider.host} cannot be used: {fault}")
    return Problem("forbidden", f"the answer of {provider.host} was not accepted: {fault}", hint="start again")

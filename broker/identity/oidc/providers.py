"""A tenant's OIDC provider, as its admins set it. One a tenant; its client secret is sealed for it alone."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem, invalid
from broker.identity.oidc import begun
from broker.identity.oidc.discovery import Metadata, check_issuer, origin_of
from broker.identity.oidc.errors import OidcFault
from broker.identity.oidc.fetching import Documents
from broker.identity.roles import require
from broker.identity.taking import Revocation
from connectors.errors import EgressRefused
from vault.binding import BlobBinding
from vault.store import Vault

PURPOSE: Final = "oidc_client_secret"
SCOPES: Final = ("openid", "email", "profile")
ENDED_AT_ONCE: Final = 10_000
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")
_DOMAIN: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9][a-z0-9-]{0,62})+")

# Only constants go into the statements below; every value is a parameter of theirs (S608).
_COLUMNS: Final = (
    "tenant_id, issuer, client_id, token_origin, sealed_secret, scopes, allowed_domains, create_identities, "
    "link_by_email, version, made_by, created_at, updated_at"
)
_FIND: Final = text(f"select {_COLUMNS} from broker.sign_in_providers where tenant_id = :tenant")  # noqa: S608
_SHARE: Final = text(f"select {_COLUMNS} from broker.sign_in_providers where tenant_id = :tenant for share")  # noqa: S608
_LOCK: Final = text(f"select {_COLUMNS} from broker.sign_in_providers where tenant_id = :tenant for update")  # noqa: S608
_PUT: Final = text(
    f"""
    insert into broker.sign_in_providers ({_COLUMNS})
    values (:tenant, :issuer, :client_id, :token_origin, :sealed, :scopes, :domains, :creates, :links,
            1, :by, :now, :now)
    on conflict (tenant_id) do update
       set issuer = excluded.issuer, client_id = excluded.client_id, token_origin = excluded.token_origin,
           sealed_secret = excluded.sealed_secret, scopes = excluded.scopes, allowed_domains = excluded.allowed_domains,
           create_identities = excluded.create_identities, link_by_email = excluded.link_by_email,
           made_by = excluded.made_by, updated_at = excluded.updated_at, version = sign_in_providers.version + 1
    returning {_COLUMNS}"""  # noqa: S608
)
_DELETE: Final = text("delete from broker.sign_in_providers where tenant_id = :tenant returning issuer, client_id")
# Of one session of the provider's: also those that are not known to be of another, where it is known whose they are.
_THOSE: Final = """
       and b.revoked_at is null and b.expires_at > :now
       and (cast(:identity as uuid) is null or b.identity_id = :identity)
       and (cast(:session as bytea) is null or x.session = :session
            or (x.session is null and cast(:identity as uuid) is not null))
     order by x.bearer_id limit :most"""
_LOGINS: Final = text(
    f"""
    select x.bearer_id, i.identifier from broker.logins x
      join broker.bearers b on b.tenant_id = x.tenant_id and b.id = x.bearer_id
      join broker.identities i on i.tenant_id = b.tenant_id and i.id = b.identity_id
     where x.tenant_id = :tenant and x.how = 'oidc' {_THOSE}"""  # noqa: S608 - a constant of this file
)
# Editors that people let in: their sign-in is the root of its family where no admin's link stands behind it.
_EDITORS: Final = text(
    f"""
    select x.bearer_id, i.identifier from broker.oauth_sign_ins x
      join broker.bearers b on b.tenant_id = x.tenant_id and b.id = x.bearer_id
      join broker.identities i on i.tenant_id = b.tenant_id and i.id = b.identity_id
     where x.tenant_id = :tenant and b.root_id = b.id {_THOSE}"""  # noqa: S608 - a constant of this file
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an admin sets. Without `client_secret` the client is public, and PKCE alone proves it."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    scopes: Sequence[str] = SCOPES
    allowed_domains: Sequence[str] = ()
    create_identities: bool = False
    link_by_email: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as it was set. `token_origin` is the only place that the client secret is ever sent to."""

    tenant_id: UUID
    issuer: str
    client_id: str
    token_origin: str
    sealed_secret: bytes | None = field(repr=False)
    scopes: tuple[str, ...]
    allowed_domains: frozenset[str]
    create_identities: bool
    link_by_email: bool
    version: int

    @property
    def host(self) -> str:
        """What people are shown."""
        return urlsplit(self.issuer).netloc

    @property
    def digest(self) -> bytes:
        """By which a sign-in that was begun finds out whether this is still the provider it was begun with."""
        return begun.digest_of(self.issuer, self.client_id, self.version)


class Providers:
    """The providers of all tenants. `redirect_uri` and `logout_uri` make a tenant's from its name."""

    def __init__(
        self,
        *,
        db: Database,
        trail: AuditTrail,
        revocation: Revocation,
        vault_: Vault,
        documents: Documents,
        redirect_uri: Callable[[str], str],
        logout_uri: Callable[[str], str],
    ) -> None:
        self._db = db
        self._trail = trail
        self._revocation = revocation
        self._vault = vault_
        self._documents = documents
        self.redirect_uri = redirect_uri
        self._logout_uri = logout_uri

    async def put(self, caller: Caller, wanted: Wanted) -> dict[str, Any]:
        """Sets the tenant's provider, after its description and keys were fetched and fit; all of what was set before
        is replaced. Where issuer or client changes, logins by the provider before end. Raises Problem `forbidden`,
        `invalid_input`, `egress_refused`."""
        require(caller, "sign_in.write")
        checked = _checked(wanted)
        metadata = await self._verified(wanted.issuer)
        if wanted.client_secret is not None and metadata.authentication is None:
            raise invalid("client_secret", "this provider takes none by client_secret_basic or client_secret_post")
        token_origin = origin_of(metadata.token_endpoint)
        values: dict[str, Any] = {
            "tenant": caller.tenant_id,
            "issuer": wanted.issuer,
            "client_id": wanted.client_id,
            "token_origin": token_origin,
            "sealed": await self._sealed(caller.tenant_id, wanted, token_origin),
            **checked,
            "by": caller.actor[:300],
            "now": caller.now,
        }
        async with self._db.tenant(caller.tenant_id) as conn:
            before: Any = (await conn.execute(_LOCK, {"tenant": caller.tenant_id})).one_or_none()
            row: Any = (await conn.execute(_PUT, values)).one()
            details = _told(row)
            if before is not None and (before.issuer, before.client_id) != (row.issuer, row.client_id):
                details["signed_out"] = await self._end(conn, caller, "the sign-in provider was changed")
            await self._trail.change(conn, caller, "tenant.sign_in_provider_set", details=details)
        return self._shown(row, caller)

    async def get(self, caller: Caller) -> dict[str, Any]:
        """The tenant's provider, without its secret. Raises Problem `forbidden`, `not_found`."""
        require(caller, "sign_in.read")
        async with self._db.tenant(caller.tenant_id) as conn:
            row: Any = (await conn.execute(_FIND, {"tenant": caller.tenant_id})).one_or_none()
        if row is None:
            raise _none()
        return self._shown(row, caller)

    async def delete(self, caller: Caller) -> dict[str, Any]:
        """Takes the provider away and ends the logins that were begun with it; who is linked stays linked, for when the
        same issuer is set again. Raises Problem `forbidden`, `not_found`."""
        require(caller, "sign_in.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            row: Any = (await conn.execute(_DELETE, {"tenant": caller.tenant_id})).one_or_none()
            if row is None:
                raise _none()
            ended = await self._end(conn, caller, "the sign-in provider was deleted")
            details = {"issuer": row.issuer, "client_id": row.client_id, "signed_out": ended}
            await self._trail.change(conn, caller, "tenant.sign_in_provider_deleted", details=details)
        return {"deleted_at": caller.now, "signed_out": ended}

    async def find(self, tenant_id: UUID) -> Provider | None:
        """The tenant's provider, for signing in."""
        async with self._db.tenant(tenant_id) as conn:
            return _provider((await conn.execute(_FIND, {"tenant": tenant_id})).one_or_none())

    async def hold(self, conn: AsyncConnection, tenant_id: UUID, *, alone: bool = False) -> Provider | None:
        """The tenant's provider, which nobody changes until the transaction ends; `alone`: nor does anybody else hold
        it."""
        return _provider((await conn.execute(_LOCK if alone else _SHARE, {"tenant": tenant_id})).one_or_none())

    async def secret(self, provider: Provider) -> bytes | None:
        """The client secret, if it was sealed for exactly this provider. Raises vault's SealedDoesNotOpen."""
        if provider.sealed_secret is None:
            return None
        bound = _binding(provider.tenant_id, provider.issuer, provider.client_id, provider.token_origin)
        return await self._vault.open_blob(bound, provider.sealed_secret)

    async def _verified(self, issuer: str) -> Metadata:
        try:
            check_issuer(issuer, self._documents.egress)
            metadata = await self._documents.fetch_metadata(issuer)
            await self._documents.fetch_keys(metadata)
        except EgressRefused as refused:
            raise Problem("egress_refused", f"issuer: {refused.reason}") from None
        except OidcFault as fault:
            raise invalid("issuer", str(fault)) from None
        return metadata

    async def _sealed(self, tenant_id: UUID, wanted: Wanted, token_origin: str) -> bytes | None:
        if wanted.client_secret is None:
            return None
        bound = _binding(tenant_id, wanted.issuer, wanted.client_id, token_origin)
        return await self._vault.seal_blob(bound, wanted.client_secret.encode("ascii"))

    async def _end(self, conn: AsyncConnection, caller: Caller, reason: str) -> int:
        return len(await end_logins(conn, self._revocation, caller.tenant_id, None, reason, caller.now))

    def _shown(self, row: Any, caller: Caller) -> dict[str, Any]:
        return {
            "issuer": row.issuer,
            "client_id": row.client_id,
            "has_client_secret": row.sealed_secret is not None,
            "scopes": list(row.scopes),
            "allowed_domains": list(row.allowed_domains),
            "create_identities": row.create_identities,
            "link_by_email": row.link_by_email,
            "redirect_uri": self.redirect_uri(caller.tenant_name),
            "backchannel_logout_uri": self._logout_uri(caller.tenant_name),
            "version": row.version,
            "made_by": row.made_by,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }


async def end_logins(
    conn: AsyncConnection,
    revocation: Revocation,
    tenant_id: UUID,
    identity_id: UUID | None,
    reason: str,
    now: datetime,
    *,
    session: bytes | None = None,
) -> list[Any]:
    """Ends the logins that a provider's word began, and the editors that were let in with them: of one identity, of one
    session of the provider's, or, with neither, all. The `bearer_id` and `identifier` of each."""
    values = {"tenant": tenant_id, "identity": identity_id, "session": session, "now": now, "most": ENDED_AT_ONCE}
    ended: list[Any] = []
    # The logins first: whoever lets an editor in holds its login, so what is found then is all there will be.
    for found in (_LOGINS, _EDITORS):
        for row in (await conn.execute(found, values)).all():
            await revocation.bearer(conn, tenant_id, row.bearer_id, reason, now)
            ended.append(row)
    return ended


def _told(row: Any) -> dict[str, Any]:
    """What the audit keeps of a provider."""
    told = ("issuer", "client_id", "token_origin", "create_identities", "link_by_email", "version")
    listed = {"scopes": list(row.scopes), "allowed_domains": list(row.allowed_domains)[:20]}
    return {name: getattr(row, name) for name in told} | listed


def _provider(row: Any) -> Provider | None:
    if row is None:
        return None
    return Provider(
        tenant_id=row.tenant_id,
        issuer=row.issuer,
        client_id=row.client_id,
        token_origin=row.token_origin,
        sealed_secret=None if row.sealed_secret is None else bytes(row.sealed_secret),
        scopes=tuple(row.scopes),
        allowed_domains=frozenset(row.allowed_domains),
        create_identities=row.create_identities,
        link_by_email=row.link_by_email,
        version=row.version,
    )


def _binding(tenant_id: UUID, issuer: str, client_id: str, token_origin: str) -> BlobBinding:
    bound = "\n".join((issuer, client_id, token_origin)).encode()
    return BlobBinding(tenant_id, PURPOSE, hashlib.sha256(bound).hexdigest())


def _checked(wanted: Wanted) -> dict[str, Any]:
    """Scopes, domains and choices as they are kept. Raises Problem `invalid_input`."""
    if not 1 <= len(wanted.client_id) <= 200 or not _plain(wanted.client_id):
        raise invalid("client_id", "must be 1 to 200 printable ASCII characters")
    if wanted.client_secret is not None and (
        not 1 <= len(wanted.client_secret) <= 1000 or not _plain(wanted.client_secret)
    ):
        raise invalid("client_secret", "must be 1 to 1000 printable ASCII characters; leave it out for a public client")
    scopes = list(dict.fromkeys(("openid", *wanted.scopes)))
    if len(scopes) > 20 or not all(_SCOPE.fullmatch(scope) for scope in scopes):
        raise invalid("scopes", "holds at most 20 scopes, each of printable ASCII without spaces")
    domains = list(dict.fromkeys(domain.lower() for domain in wanted.allowed_domains))
    if len(domains) > 100 or not all(_DOMAIN.fullmatch(domain) for domain in domains):
        raise invalid("allowed_domains", "holds at most 100 domains, like acme.example")
    if (wanted.create_identities or wanted.link_by_email) and not domains:
        raise invalid("allowed_domains", "is needed to make or link identities: the domains whose addresses are yours")
    return {
        "scopes": scopes,
        "domains": domains,
        "creates": wanted.create_identities,
        "links": wanted.link_by_email,
    }


def _plain(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _none() -> Problem:
    return Problem("not_found", "this tenant has no sign-in provider", hint="PUT /v1/sign_in_provider sets one")

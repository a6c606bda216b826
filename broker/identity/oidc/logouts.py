"""What ends when a provider says that somebody's session there ended (OpenID Connect Back-Channel Logout 1.0 § 2.5 to
§ 2.8): the logins that its word began, and the editors that were let in with them.

Anybody may post here. What is not shaped like a logout token, or is of another issuer, is turned away before anything
is fetched; keys are kept, and asked for again once a minute at most (`fetching`); `AT_ONCE` tokens are at the
database at the same time and the others wait; refusals are written down 20 a minute. No junk keeps a true token from
being heard, nor does another tenant's provider that is slow.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.floods import FloodGate
from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.identity.names import TENANT_NAME
from broker.identity.oidc.begun import LASTS, SKEW
from broker.identity.oidc.errors import BadToken, UnknownKey
from broker.identity.oidc.fetching import Documents
from broker.identity.oidc.id_token import LEEWAY_SECONDS, Person
from broker.identity.oidc.logout_token import Ended, digest_of, glance, read_logout_token
from broker.identity.oidc.people import People, subject_digest
from broker.identity.oidc.providers import Provider, Providers, end_logins
from broker.identity.taking import Revocation

AT_ONCE: Final = 4
SHOWN: Final = 100
"""Sessions that the audit names of those that a logout ended."""

# Also of a tenant that is suspended: its logins would be back when it is resumed.
_TENANT: Final = text("select id from broker.tenants where name = :name and status <> 'closed'")
_HEARD: Final = text(
    """
    insert into broker.provider_logouts (tenant_id, digest, person, session, issued_at, expires_at)
    values (:tenant, :digest, :person, :session, :made, :until) on conflict do nothing returning digest"""
)
_FORGET: Final = text("delete from broker.provider_logouts where tenant_id = :tenant and expires_at < :now")
# A session that ended stays ended. A person's other sessions ended if they are older than the word that said so; one
# whose name is not known may be the very one.
_MEANWHILE: Final = text(
    """
    select exists (
        select from broker.provider_logouts
         where tenant_id = :tenant
           and (session = :session
                or (person = :person and issued_at >= :at and (session is null or cast(:session as bytea) is null))))"""
)


class ProviderLogouts:
    """Hears what the providers of all tenants say. One per process."""

    def __init__(
        self,
        *,
        db: Database,
        trail: AuditTrail,
        revocation: Revocation,
        documents: Documents,
        providers: Providers,
        people: People,
    ) -> None:
        self._db = db
        self._trail = trail
        self._revocation = revocation
        self._documents = documents
        self._providers = providers
        self._people = people
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._refusals: FloodGate[None] = FloodGate()

    async def hear(self, tenant: str, token: str, now: datetime) -> int:
        """Ends what the token says has ended: when this returns nothing new is admitted on it anywhere. How many logins
        and editors those were; none is no fault (§ 2.7). Raises OidcFault."""
        said = glance(token, now)
        async with self._turns:
            provider = await self._provider(tenant)
        if provider is None or provider.issuer != said.issuer:
            raise BadToken("it is of no issuer that people sign in by here")
        try:
            # Out of turn: nobody waits for a provider that is not theirs.
            said = await self._read(provider, token, now)
            async with self._turns:
                return await self._end(provider, said, now)
        except BadToken as bad:
            await self._refused(provider, str(bad), now)
            raise

    async def check(self, conn: AsyncConnection, tenant_id: UUID, person: Person) -> None:
        """Returns unless somebody's session ended while they were signing in, in a transaction that holds the provider
        (`Providers.hold`): every sign-in is either before a logout, and ended by it, or sees it here. Raises BadToken.
        """
        values = {"tenant": tenant_id, "person": digest_of("sub", person.issuer, person.subject), "at": person.at}
        if await conn.scalar(_MEANWHILE, {**values, "session": session_of(person.issuer, person.session)}):
            raise BadToken("the provider ended that session meanwhile")

    async def _provider(self, tenant: str) -> Provider | None:
        found: UUID | None = None
        if TENANT_NAME.fullmatch(tenant):
            async with self._db.platform() as conn:
                found = await conn.scalar(_TENANT, {"name": tenant})
        return None if found is None else await self._providers.find(found)

    async def _read(self, provider: Provider, token: str, now: datetime) -> Ended:
        metadata = await self._documents.metadata(provider.issuer, now)
        keys = await self._documents.keys(metadata, now)
        try:
            return read_logout_token(token, keys, provider.issuer, provider.client_id, now)
        except UnknownKey:
            keys = await self._documents.keys(metadata, now, again=True)
            return read_logout_token(token, keys, provider.issuer, provider.client_id, now)

    async def _end(self, provider: Provider, said: Ended, now: datetime) -> int:
        tenant_id, person = provider.tenant_id, None
        if said.subject is not None:
            person = digest_of("sub", said.issuer, said.subject)
        session = session_of(said.issuer, said.session)
        async with self._db.tenant(tenant_id) as conn:
            held = await self._providers.hold(conn, tenant_id, alone=True)
            if held is None or (held.issuer, held.client_id) != (provider.issuer, provider.client_id):
                raise BadToken("it is of no issuer that people sign in by here")
            await conn.execute(_FORGET, {"tenant": tenant_id, "now": now})
            heard = {"tenant": tenant_id, "digest": digest_of("jti", said.issuer, said.jti), "person": person}
            heard |= {"session": session, "made": said.made, "until": _remembered(said, now)}
            if (await conn.execute(_HEARD, heard)).one_or_none() is None:
                raise BadToken("it was sent before")
            identity_id = await self._people.linked_to(conn, tenant_id, said.issuer, said.subject)
            if identity_id is None and session is None:
                return 0  # somebody who is nobody here
            reason = "signed out at the sign-in provider"
            ended = await end_logins(conn, self._revocation, tenant_id, identity_id, reason, now, session=session)
            if ended:
                await self._told(conn, provider, said, ended)
        return len(ended)

    async def _told(self, conn: AsyncConnection, provider: Provider, said: Ended, ended: list[Any]) -> None:
        details: dict[str, Any] = {
            "issuer": said.issuer,
            "by": "subject" if said.session is None else "session",
            "signed_out": len(ended),
            "session_ids": [str(one.bearer_id) for one in ended[:SHOWN]],
        }
        if said.subject is not None:
            details["subject_digest"] = subject_digest(said.issuer, said.subject)
        await self._trail.change(
            conn,
            None,
            "identity.signed_out_by_provider",
            identifier=ended[0].identifier,
            details=details,
            tenant_id=provider.tenant_id,
            actor="oidc",
        )

    async def _refused(self, provider: Provider, reason: str, now: datetime) -> None:
        """Writes down that a token was not believed: 20 a minute for each tenant and process."""
        if not self._refusals.admit(provider.tenant_id, None, now)[0]:
            return
        details = {"issuer": provider.issuer, "reason": reason[:300]}
        async with self._db.tenant(provider.tenant_id) as conn:
            values: dict[str, Any] = {"details": details, "tenant_id": provider.tenant_id, "actor": "oidc"}
            await self._trail.change(conn, None, "identity.provider_logout_refused", **values)


def session_of(issuer: str, session: str | None) -> bytes | None:
    """A provider's session as it is kept with what it began."""
    return None if session is None else digest_of("sid", issuer, session)


def _remembered(said: Ended, now: datetime) -> datetime:
    """Until the token is good no more, and every sign-in that was under way is over."""
    return max(said.until + timedelta(seconds=LEEWAY_SECONDS), now + LASTS + SKEW)

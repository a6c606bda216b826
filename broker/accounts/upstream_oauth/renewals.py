"""The next tokens of an account, by one process at a time.

Authorization servers rotate refresh tokens and take the use of an old one for theft: two processes that renew at once
would cut the person off. So whoever renews first takes the account's row (`refreshing_by`, for `LEASE`, longer than a
renewal may last); the others wait until the generation has changed and go on with what was stored.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID
from weakref import WeakValueDictionary

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts.views import Views
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Caller, Connection
from broker.errors import Problem
from broker.gate import revoke
from broker.gate.maintenance import Maintenance, MaintenanceCall
from broker.ids import new_id
from connectors.base import Answer
from connectors.errors import EgressRefused, UpstreamFault
from connectors.mcp_upstream.oauth import renewal
from connectors.mcp_upstream.oauth.tokens import Tokens
from vault.binding import CredentialBinding
from vault.store import Vault

MARGIN: Final = timedelta(seconds=30)
"""A token that ends sooner is renewed before it is used."""
LASTS: Final = timedelta(seconds=25)
LEASE: Final = timedelta(seconds=60)
POLL_SECONDS: Final = 0.1
MAX_REMEMBERED: Final = 20_000
IN_VAIN: Final = timedelta(seconds=60)
"""How long a 401 renews nothing after a token was refused that a renewal had just brought: a server that refuses every
token must not have us ask its authorization server, who may be another's, at each call."""

UNKNOWN: Final = frozenset({"invalid_client", "unauthorized_client"})
ENDED: Final = frozenset({"invalid_grant", *UNKNOWN})
"""Refusals after which only a person can help (RFC 6749 § 5.2); after those of `UNKNOWN` they would be turned away too,
until we have registered anew."""

_log = structlog.get_logger(__name__)

_STATE: Final = text(
    "select generation, expires_at from broker.upstream_tokens where tenant_id = :tenant and account_id = :account"
)
_CLAIM: Final = text(
    """
    insert into broker.upstream_tokens as t (tenant_id, account_id, refreshing_by, refreshing_until)
    values (:tenant, :account, :me, clock_timestamp() + :lease)
    on conflict (tenant_id, account_id) do update
       set refreshing_by = :me, refreshing_until = clock_timestamp() + :lease
     where t.generation = :seen and (t.refreshing_until is null or t.refreshing_until < clock_timestamp())
    returning generation"""
)
_RELEASE: Final = text(
    """
    update broker.upstream_tokens set refreshing_by = null, refreshing_until = null
     where tenant_id = :tenant and account_id = :account and refreshing_by = :me"""
)
_STORED: Final = text(
    """
    insert into broker.upstream_tokens as t (tenant_id, account_id, generation, expires_at, scope, stored_at)
    values (:tenant, :account, 1, :expires, :scope, :now)
    on conflict (tenant_id, account_id) do update
       set generation = t.generation + 1, expires_at = :expires, scope = :scope, stored_at = :now,
           wanted_scope = case when :person then null else t.wanted_scope end,
           refreshing_by = null, refreshing_until = null
    returning generation"""
)
_WANTED: Final = text(
    """
    update broker.upstream_tokens set wanted_scope = :scope
     where tenant_id = :tenant and account_id = :account and wanted_scope is distinct from :scope"""
)
_ENDS: Final = text(
    """
    update broker.accounts set upstream_expires_at = :ends
     where tenant_id = :tenant and id = :account and kind = 'oauth'"""
)
_NOW: Final = text(
    """
    select t.generation, t.expires_at from broker.upstream_tokens t
      join broker.accounts a on a.tenant_id = t.tenant_id and a.id = t.account_id
     where t.tenant_id = :tenant and t.account_id = :account and a.kind = 'oauth' and a.status = 'active'"""
)
_ACCOUNT: Final = text(
    """
    select a.status, a.kind, a.credential_id, k.origins,
           (select max(x.version) from vault.credentials x
             where x.tenant_id = a.tenant_id and x.account_id = a.id) as newest
      from broker.accounts a
      join vault.credentials k on k.tenant_id = a.tenant_id and k.id = a.credential_id
     where a.tenant_id = :tenant and a.id = :account"""
)
_MOVE: Final = text(
    """
    update broker.accounts set credential_id = :new
     where tenant_id = :tenant and id = :account and status in ('active', 'revoked') and credential_id = :old
    returning status"""
)
_FORGET: Final = text(
    """
    delete from vault.credentials
     where tenant_id = :tenant and account_id = :account and status = 'superseded' and version < :before"""
)
_END: Final = text(
    """
    update broker.accounts set status = 'needs_reauth', version = version + 1
     where tenant_id = :tenant and id = :account and status = 'active' and credential_id = :credential returning id"""
)

_UNREGISTER: Final = text(
    "delete from broker.upstream_clients where tenant_id = :tenant and issuer = :issuer and place like 'issuer:%'"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account's tokens stood when somebody looked. `expires_at` None: nobody said."""

    generation: int
    expires_at: datetime | None

    def due(self, now: datetime) -> bool:
        """Whether they should be renewed before they are used."""
        return self.expires_at is not None and self.expires_at - MARGIN <= now


@dataclass(frozen=True, slots=True)
class Place:
    """Which account is meant, and for whom it is renewed."""

    caller: Caller
    connection: Connection
    account_id: UUID


class Renewals:
    """One per process."""

    def __init__(
        self, *, db: Database, vault_: Vault, trail: AuditTrail, clock: Clock, views: Views, maintenance: Maintenance
    ) -> None:
        self._db = db
        self._vault = vault_
        self._trail = trail
        self._clock = clock
        self._views = views
        self._maintenance = maintenance
        self._known: OrderedDict[UUID, Standing] = OrderedDict()
        self._vain: OrderedDict[UUID, datetime] = OrderedDict()
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Waits for the renewals under way: what a server has rotated must be stored."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def kept(self, tenant_id: UUID, account_id: UUID, tokens: Tokens) -> None:
        """Notes the tokens that a person's sign-in has just brought. Without a refresh token the account ends with its
        access token."""
        now = self._clock.now()
        expires = None if tokens.expires_in is None else now + timedelta(seconds=tokens.expires_in)
        async with self._db.tenant(tenant_id) as conn:
            await self._stored(conn, tenant_id, account_id, tokens, expires, person=True)
            ends = expires if tokens.refresh_token is None else None
            await conn.execute(_ENDS, {"tenant": tenant_id, "account": account_id, "ends": ends})

    async def standing(self, tenant_id: UUID, account_id: UUID) -> Standing | None:
        """How the account's tokens stand, None where it has none. What is remembered may be older than what is stored:
        a renewal looks again."""
        known = self._known.get(account_id)
        if known is not None:
            return known
        async with self._db.tenant(tenant_id) as conn:
            row = (await conn.execute(_STATE, {"tenant": tenant_id, "account": account_id})).one_or_none()
        return None if row is None else self._remember(account_id, Standing(row.generation, row.expires_at))

    async def now(self, tenant_id: UUID, account_id: UUID) -> Standing | None:
        """As `standing`, asked afresh; None too where the account is no sign-in, or does not stand."""
        async with self._db.tenant(tenant_id) as conn:
            row = (await conn.execute(_NOW, {"tenant": tenant_id, "account": account_id})).one_or_none()
        return None if row is None else self._remember(account_id, Standing(row.generation, row.expires_at))

    async def ready(self, place: Place) -> Standing:
        """Tokens that are good for a while yet, renewed where they were not. Raises Problem `needs_reauth`, and where
        the renewal failed and the old token has ended, `upstream_unreachable`, `upstream_timeout`."""
        now = self._clock.now()
        found = await self.standing(place.caller.tenant_id, place.account_id) or Standing(0, None)
        if not found.due(now):
            return found
        try:
            return await self.renew(place, found)
        except Problem as problem:
            if problem.code == "needs_reauth" or (found.expires_at is not None and found.expires_at <= now):
                raise
            return found  # it has not ended yet, and whoever uses it next tries again

    async def renew(self, place: Place, seen: Standing) -> Standing:
        """The tokens after `seen`: renewed now, or by whoever else did. Goes on when the caller leaves: a rotated token
        that is not stored would be lost. Raises as `ready`."""
        lock = self._locks.get(place.account_id)
        if lock is None:
            lock = self._locks[place.account_id] = asyncio.Lock()
        async with lock:
            known = self._known.get(place.account_id)
            if known is not None and known.generation > seen.generation:
                return known
            return await asyncio.shield(self._spawn(self._renew(place, seen)))

    def helps(self, account_id: UUID) -> bool:
        """Whether a refused token is worth renewing. Not again within `IN_VAIN` of `in_vain`."""
        at = self._vain.get(account_id)
        return at is None or not timedelta() <= self._clock.now() - at < IN_VAIN

    def in_vain(self, account_id: UUID) -> None:
        """Notes that the server refused the token too that a renewal had just brought."""
        self._vain[account_id] = self._clock.now()
        self._vain.move_to_end(account_id)
        if len(self._vain) > MAX_REMEMBERED:
            self._vain.popitem(last=False)

    async def wants(self, tenant_id: UUID, account_id: UUID, scope: str) -> None:
        """Remembers what scope a server has asked for: the next sign-in asks for it too."""
        async with self._db.tenant(tenant_id) as conn:
            await conn.execute(_WANTED, {"tenant": tenant_id, "account": account_id, "scope": scope[:1000]})

    def _remember(self, account_id: UUID, standing: Standing) -> Standing:
        known = self._known.get(account_id)
        if known is not None and known.generation > standing.generation:
            return known
        self._known[account_id] = standing
        self._known.move_to_end(account_id)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return standing

    def _spawn(self, work: Coroutine[Any, Any, Standing]) -> asyncio.Task[Standing]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _renew(self, place: Place, seen: Standing) -> Standing:
        me = new_id()
        key = {"tenant": place.caller.tenant_id, "account": place.account_id}
        try:
            async with asyncio.timeout(LEASE.total_seconds()):
                while not await self._claimed(key, me, seen):
                    found = await self._stored_by_another(key, seen)
                    if found is not None:
                        return self._remember(place.account_id, found)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            told = "another process renews this account's sign-in and does not come to an end"
            raise Problem("upstream_timeout", told, retry_after=5, sent=False) from None
        try:
            async with asyncio.timeout(LASTS.total_seconds()):
                return await self._exchange(place, key)
        except TimeoutError:
            raise Problem("upstream_timeout", "the sign-in could not be renewed in time", sent=False) from None
        finally:
            async with self._db.tenant(place.caller.tenant_id) as conn:
                await conn.execute(_RELEASE, {**key, "me": me})

    async def _claimed(self, key: dict[str, Any], me: UUID, seen: Standing) -> bool:
        values = {**key, "me": me, "lease": LEASE, "seen": seen.generation}
        async with self._db.tenant(key["tenant"]) as conn:
            return (await conn.execute(_CLAIM, values)).one_or_none() is not None

    async def _stored_by_another(self, key: dict[str, Any], seen: Standing) -> Standing | None:
        async with self._db.tenant(key["tenant"]) as conn:
            row = (await conn.execute(_STATE, key)).one_or_none()
        if row is None or row.generation <= seen.generation:
            return None
        return Standing(row.generation, row.expires_at)

    async def _exchange(self, place: Place, key: dict[str, Any]) -> Standing:
        """Asks for the next tokens and stores them. The row is ours."""
        async with self._db.tenant(key["tenant"]) as conn:
            account: Any = (await conn.execute(_ACCOUNT, key)).one_or_none()
        if account is None or account.kind != "oauth" or account.status != "active":
            raise Problem("needs_reauth", "the account must be connected again", sent=False)
        asked_at = self._clock.now()
        answer = await self._ask(place, asked_at)
        if answer.is_error:
            raise await self._refused(place, key, account, answer)
        tokens: Tokens = answer.data
        expires = None if tokens.expires_in is None else asked_at + timedelta(seconds=tokens.expires_in)
        async with self._db.tenant(key["tenant"]) as conn:
            generation = await self._replace(conn, place, account, tokens, expires)
        if generation is None:
            raise _changed()
        return self._remember(place.account_id, Standing(generation, expires))

    async def _ask(self, place: Place, now: datetime) -> Answer:
        view = await self._views.connection(place.caller.tenant_id, place.connection)
        call = MaintenanceCall(
            caller=place.caller,
            connection=place.connection,
            connector=view.connector,
            account_id=place.account_id,
            principal=None,
            execution_id=new_id(),
            n=1,
            deadline=now + LASTS,
        )
        request = renewal.prepared(renewal.REFRESH, view.origins[0], view.connector.meters[0])
        try:
            return await self._maintenance.perform(call, request)
        except EgressRefused as error:
            raise Problem("egress_refused", error.reason, sent=False) from None
        except UpstreamFault as error:
            raise Problem("upstream_unreachable", f"the sign-in could not be renewed: {error}", sent=False) from None

    async def _refused(self, place: Place, key: dict[str, Any], account: Any, answer: Answer) -> Problem:
        code = str((answer.error or {}).get("code"))
        if code not in ENDED:
            return Problem("upstream_unreachable", f"the sign-in could not be renewed ({code})", sent=False)
        async with self._db.tenant(key["tenant"]) as conn:
            if code in UNKNOWN:
                await conn.execute(_UNREGISTER, {**key, "issuer": str((answer.error or {}).get("issuer"))})
            # The tenant's lock before the account's row, as everybody takes them.
            await revoke.policy_changed(conn, key["tenant"])
            ended = await conn.execute(_END, {**key, "credential": account.credential_id})
            if ended.one_or_none() is not None:
                await self._trail.change(
                    conn,
                    place.caller,
                    "account.sign_in_ended",
                    connection_name=place.connection.name,
                    account_id=place.account_id,
                    details={"reason": code},
                )
        told = f"the sign-in to {place.connection.name}'s server has ended there"
        return Problem("needs_reauth", told, hint="connect the account again", sent=False)

    async def _replace(
        self, conn: AsyncConnection, place: Place, account: Any, tokens: Tokens, expires: datetime | None
    ) -> int | None:
        """Gives the account its next credential; None where it was revoked meanwhile: then that is revoked too, and
        there to be given back. Raises Problem where another came."""
        tenant_id, account_id, new = place.caller.tenant_id, place.account_id, new_id()
        key = {"tenant": tenant_id, "account": account_id}
        # The lock and the account's row first: whoever revokes it waits, and finds the new credential too.
        await revoke.hold_account(conn, account_id)
        moved = (await conn.execute(_MOVE, {**key, "new": new, "old": account.credential_id})).one_or_none()
        if moved is None:
            raise _changed()
        version = account.newest + 1
        binding = CredentialBinding(tenant_id, account_id, new, version, "oauth", tuple(account.origins))
        await self._vault.put_credential(conn, binding, tokens.dump(), self._clock.now())
        if moved.status == "revoked":
            await self._vault.revoke_credentials(conn, tenant_id, account_id)
            return None
        # Tokens that were rotated away open nothing any more; the last ones may be in a call that was just admitted.
        await conn.execute(_FORGET, {**key, "before": version - 1})
        return await self._stored(conn, tenant_id, account_id, tokens, expires, person=False)

    async def _stored(
        self,
        conn: AsyncConnection,
        tenant_id: UUID,
        account_id: UUID,
        tokens: Tokens,
        expires: datetime | None,
        *,
        person: bool,
    ) -> int:
        values = {"tenant": tenant_id, "account": account_id, "expires": expires, "scope": tokens.scope}
        row = (await conn.execute(_STORED, {**values, "now": self._clock.now(), "person": person})).one()
        generation: int = row.generation
        if person:
            self._known.pop(account_id, None)
        return generation


def _changed() -> Problem:
    return Problem("needs_reauth", "the account was revoked or connected again meanwhile", sent=False)

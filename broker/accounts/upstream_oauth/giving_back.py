"""Giving a revoked account's tokens back to the authorization server that issued them (RFC 7009).

It comes after the revocation and holds it up in nothing: whatever becomes of it, nothing is sent with those tokens any
more. It is a call like any other, with an intent and an outcome on the account's budget, and the only one that the gate
admits with a revoked credential, while `broker.accounts.giving_back` says `pending`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal
from uuid import UUID
from weakref import WeakValueDictionary

import structlog
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from broker.accounts.views import Views
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Caller, Connection
from broker.errors import Problem
from broker.gate.maintenance import Maintenance, MaintenanceCall
from broker.ids import new_id
from connectors.errors import EgressRefused, UpstreamFault
from connectors.mcp_upstream.oauth import renewal
from connectors.mcp_upstream.oauth.errors import NoRevocation

GivenBack = Literal["deleted", "kept", "pending", "failed"]
"""`deleted`: the server said so. `kept`: nobody asked for it, or there is nobody to give it back to. `pending`: asked,
not answered. `failed`: the tokens may be good there still."""

WAIT: Final = 5.0
"""Seconds that whoever revokes waits for the answers; they come all the same."""
LASTS: Final = timedelta(seconds=30)
AT_ONCE: Final = 8
"""Calls of one tenant under way in this process: offboardings of many people ask no server without bound."""
POLL_SECONDS: Final = 0.1

_log = structlog.get_logger(__name__)

_IDS = bindparam("accounts", type_=ARRAY(PG_UUID(as_uuid=True)))
_ASK: Final = text(
    """
    update broker.accounts set giving_back = 'pending'
     where tenant_id = :tenant and id = any(:accounts) and status = 'revoked' and kind = 'oauth'
       and giving_back is distinct from 'deleted'"""
).bindparams(_IDS)
_STANDING: Final = text(
    """
    select a.id, a.giving_back, i.identifier, c.id as connection_id, c.name, c.connector, c.version, c.status
      from broker.accounts a
      join broker.connections c on c.tenant_id = a.tenant_id and c.id = a.connection_id
      left join broker.identities i on i.tenant_id = a.tenant_id and i.id = a.identity_id
     where a.tenant_id = :tenant and a.id = any(:accounts)"""
).bindparams(_IDS)
_UNDER_WAY: Final = text(
    """
    select 1 from broker.upstream_tokens
     where tenant_id = :tenant and account_id = :account and refreshing_until > clock_timestamp()"""
)
_DONE: Final = text(
    """
    update broker.accounts set giving_back = :standing
     where tenant_id = :tenant and id = :account and giving_back = 'pending' returning id"""
)


class GivingBack:
    """One per process. `maintenance` renews nothing: there is nothing left to renew."""

    def __init__(
        self, *, db: Database, trail: AuditTrail, clock: Clock, views: Views, maintenance: Maintenance
    ) -> None:
        self._db = db
        self._trail = trail
        self._clock = clock
        self._views = views
        self._maintenance = maintenance
        self._rooms: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: dict[UUID, asyncio.Task[None]] = {}
        """By account: whoever asks again meanwhile waits for the same answer."""

    async def close(self, seconds: float = WAIT) -> None:
        """Waits a while for what is under way. What is not done then stays `pending` until it is asked for again."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def give_back(
        self, caller: Caller, account_ids: Sequence[UUID], *, seconds: float = WAIT
    ) -> Mapping[UUID, GivenBack]:
        """Asks for each of the tenant's accounts that was revoked and was a sign-in, and tells how all of them stand
        after at most `seconds`. Asks again for those where it failed. Raises nothing of what the servers do."""
        asked = {"tenant": caller.tenant_id, "accounts": list(account_ids)}
        async with self._db.tenant(caller.tenant_id) as conn:
            await conn.execute(_ASK, asked)
            found = (await conn.execute(_STANDING, asked)).all()
        tasks = [self._task(caller, row) for row in found if row.giving_back == "pending"]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        return await self.standing(caller.tenant_id, account_ids)

    async def standing(self, tenant_id: UUID, account_ids: Sequence[UUID]) -> Mapping[UUID, GivenBack]:
        """How they stand, nobody being asked."""
        async with self._db.tenant(tenant_id) as conn:
            found = await conn.execute(_STANDING, {"tenant": tenant_id, "accounts": list(account_ids)})
        return {row.id: row.giving_back or "kept" for row in found}

    def _task(self, caller: Caller, row: Any) -> asyncio.Task[None]:
        task = self._asking.get(row.id)
        if task is None:
            task = self._asking[row.id] = asyncio.create_task(self._one(caller, row))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return task

    def _room(self, tenant_id: UUID) -> asyncio.Semaphore:
        room = self._rooms.get(tenant_id)
        if room is None:
            room = self._rooms[tenant_id] = asyncio.Semaphore(AT_ONCE)
        return room

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("giving_back_failed", error=type(task.exception()).__name__)

    async def _one(self, caller: Caller, row: Any) -> None:
        try:
            async with self._room(caller.tenant_id):
                standing, why = await self._asked(caller, row)
        finally:
            del self._asking[row.id]  # before the end is written: whoever asks once it is has it asked anew
        values = {"tenant": caller.tenant_id, "account": row.id, "standing": standing}
        async with self._db.tenant(caller.tenant_id) as conn:
            if (await conn.execute(_DONE, values)).one_or_none() is None:
                return  # somebody asked beside us, and theirs has ended: the gate may have refused ours for that
            await self._trail.change(
                conn,
                caller,
                "account.given_back",
                identifier=row.identifier,
                connection_name=row.name,
                account_id=row.id,
                details={"upstream": standing} if why is None else {"upstream": standing, "reason": why},
            )

    async def _asked(self, caller: Caller, row: Any) -> tuple[GivenBack, str | None]:
        """How it ended, and one word for why not otherwise."""
        connection = Connection(row.connection_id, row.name, row.connector, row.version, row.status)
        try:
            async with asyncio.timeout(LASTS.total_seconds()):
                await self._renewed(caller.tenant_id, row.id)
                view = await self._views.connection(caller.tenant_id, connection)
                call = MaintenanceCall(
                    caller=caller,
                    connection=connection,
                    connector=view.connector,
                    account_id=row.id,
                    principal=None,
                    execution_id=new_id(),
                    n=1,
                    deadline=self._clock.now() + LASTS,
                )
                request = renewal.prepared(renewal.REVOKE, view.origins[0], view.connector.meters[0])
                answer = await self._maintenance.perform(call, request)
        except NoRevocation:
            return "kept", "no_revocation"
        except Problem as problem:
            return "failed", problem.code
        except (UpstreamFault, EgressRefused, TimeoutError) as error:
            return "failed", type(error).__name__
        return ("failed", str((answer.error or {}).get("code"))) if answer.is_error else ("deleted", None)

    async def _renewed(self, tenant_id: UUID, account_id: UUID) -> None:
        """Waits for a renewal under way: what it brings is what there is to give back."""
        while True:
            async with self._db.tenant(tenant_id) as conn:
                if await conn.scalar(_UNDER_WAY, {"tenant": tenant_id, "account": account_id}) is None:
                    return
            await asyncio.sleep(POLL_SECONDS)

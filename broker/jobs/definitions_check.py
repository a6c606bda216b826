"""Looks again, every few hours, at what MCP servers declare: what they have changed is held back before anybody trusts
it, and an admin hears of it.

Each check costs a server a few requests, through the gate and on the budget of an account that works. They are spread:
a run takes the connections that have waited longest, a few of them, and one that fails waits as long as one that went
well. A server that says it does not know a tool is looked at in the next run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts import rows
from broker.accounts.definitions import DefinitionPins
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Bearer, Caller, Restrictions
from broker.errors import Problem
from broker.identity.minting import mint_bearer
from broker.jobs.runner import Job
from broker.metrics import Metrics

EVERY: Final = timedelta(hours=6)
RUN_SECONDS: Final = 300.0
MOST: Final = 20
"""Connections looked at in one run."""
KEY_NAME: Final = "keyreeve: definition checks"
"""The agent key that these calls are made by, one a tenant: its token was never shown to anybody, it may act for no
identity, and an admin who revokes it stops the checks until the next one is made by hand."""

_log = structlog.get_logger(__name__)

_TENANTS: Final = text("select id, name, policy_version from broker.tenants where status = 'active' order by id")
_DUE: Final = text(
    """
    select c.name, d.checked_at from broker.definitions d
      join broker.connections c on c.tenant_id = d.tenant_id and c.id = d.connection_id
     where d.tenant_id = :tenant and c.connector = 'mcp' and c.status = 'active'
       and (d.checked_at is null or d.checked_at <= :before) and d.fetched_at <= :settled
       and exists (select from broker.accounts a
                    where a.tenant_id = c.tenant_id and a.connection_id = c.id and a.status = 'active')
     order by d.checked_at nulls first limit :most"""
)
_CHECKED: Final = text(
    """
    update broker.definitions d set checked_at = :now from broker.connections c
     where d.tenant_id = :tenant and c.tenant_id = d.tenant_id and c.id = d.connection_id and c.name = :name
       and c.status <> 'deleted'"""
)
_KEY: Final = text(
    """
    select id, root_id, revoked_at from broker.bearers
     where tenant_id = :tenant and kind = 'agent' and name = :name and identifiers = '{}'
     order by created_at desc limit 1"""
)
_ONE_AT_A_TIME: Final = text("select pg_advisory_xact_lock(hashtextextended('definition checks ' || :tenant, 11))")


@dataclass(frozen=True, slots=True)
class _Due:
    """A connection whose turn it is."""

    tenant: Any
    name: str
    checked_at: datetime | None


class DefinitionsCheck:
    """One per process; `every` is how long a connection waits between two looks."""

    def __init__(
        self, *, db: Database, clock: Clock, metrics: Metrics, pins: DefinitionPins, every: timedelta = EVERY
    ) -> None:
        self._db = db
        self._clock = clock
        self._metrics = metrics
        self._pins = pins
        self._every = every

    def job(self) -> Job:
        """As the runner wants it."""
        return Job("definitions_check", RUN_SECONDS, self.run, alone=True, at_once=False, deadline=RUN_SECONDS)

    async def run(self) -> int:
        """Looks at the connections that have waited longest; how many servers had changed something."""
        changed = 0
        for due in await self._due():
            changed += await self._look(due)
        return changed

    async def _due(self) -> Sequence[_Due]:
        now = self._clock.now()
        async with self._db.platform() as conn:
            tenants = (await conn.execute(_TENANTS)).all()
        found: list[_Due] = []
        for tenant in tenants:
            # What was taken in a minute ago need not be looked at again, whoever asks.
            when = {"before": now - self._every, "settled": now - timedelta(minutes=1)}
            async with self._db.tenant(tenant.id) as conn:
                due = await conn.execute(_DUE, {"tenant": tenant.id, "most": MOST, **when})
                found += [_Due(tenant, row.name, row.checked_at) for row in due]
        never = now - timedelta(days=36_500)
        return sorted(found, key=lambda one: one.checked_at or never)[:MOST]

    async def _look(self, due: _Due) -> int:
        """One connection; 1 where its server had changed something. What goes wrong is logged, and waits its turn."""
        tenant_id, now = due.tenant.id, self._clock.now()
        async with self._db.tenant(tenant_id) as conn:
            await conn.execute(_CHECKED, {"tenant": tenant_id, "name": due.name, "now": now})
            caller = await self._caller(conn, due.tenant, now)
        if caller is None:
            return 0
        try:
            async with self._db.tenant(tenant_id) as conn:
                row = await rows.existing(conn, tenant_id, due.name)
            found = await self._pins.check(caller, row)
        except Problem as problem:
            self._metrics.definitions_checked("failed")
            _log.warning("definitions_not_checked", connection=due.name, code=problem.code)
            return 0
        outcome = "held" if found.pending else "changed" if found.report.get("changed") else "same"
        self._metrics.definitions_checked(outcome)
        return int(outcome != "same")

    @staticmethod
    async def _caller(conn: AsyncConnection, tenant: Any, now: datetime) -> Caller | None:
        """Who asks: the tenant's key for it, None where an admin has revoked that."""
        await conn.execute(_ONE_AT_A_TIME, {"tenant": str(tenant.id)})
        row: Any = (await conn.execute(_KEY, {"tenant": tenant.id, "name": KEY_NAME})).one_or_none()
        if row is not None and row.revoked_at is not None:
            return None
        key_id: UUID
        if row is None:
            made = await mint_bearer(
                conn, tenant.id, "agent", None, now, expires_at=None, name=KEY_NAME, identifiers=[]
            )
            key_id = made.id
        else:
            key_id = row.id
        bearer = Bearer(
            id=key_id,
            tenant_id=tenant.id,
            kind="agent",
            root_id=key_id,
            name=KEY_NAME,
            role=None,
            identifiers=(),
            tenants=None,
            identity_id=None,
            restrictions=Restrictions(),
            expires_at=None,
        )
        return Caller(
            tenant_id=tenant.id,
            tenant_name=tenant.name,
            policy_version=tenant.policy_version,
            bearer=bearer,
            identity=None,
            on_behalf_of=False,
            client=None,
            agent=None,
            run_id=None,
            now=now,
        )

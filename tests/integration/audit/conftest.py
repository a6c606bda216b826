"""A tenant with keys and rows to look at."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text

from broker.audit.events import CallFacts, ExecutionDone, Intent, Outcome, RefusalFacts
from broker.audit.query import AuditFilter, AuditQuery
from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.db.paging import PageRequest
from broker.domain import Bearer, Caller, Decision, Identity, Restrictions
from broker.identity.roles import reach
from broker.ids import new_id
from broker.metrics import Metrics
from connectors.base import Operation, Prepared
from vault.store import Vault
from vault.testing import memory_sealed_storage


class SetClock:
    """A clock that moves only when it is told to."""

    def __init__(self, start: datetime) -> None:
        self.at = start

    def now(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> datetime:
        self.at += timedelta(**by)
        return self.at


OPERATION = Operation("dns-records-list", "GET", "/zones/{zone_id}/dns_records", "read")


@dataclass
class World:
    """One tenant, its audit trail, and ways to make rows."""

    db: Database
    tenant_id: UUID
    vault_: Vault
    clock: SetClock
    trail: AuditTrail
    connection_name: str = "cf"
    account_id: UUID = field(default_factory=new_id)

    def caller(self, kind: str = "session", identifier: str | None = "priya@example.com", **more: Any) -> Caller:
        bearer = Bearer(
            id=more.pop("bearer_id", None) or new_id(),
            tenant_id=self.tenant_id,
            kind=kind,  # type: ignore[arg-type]
            root_id=new_id(),
            name=more.pop("name", "ops"),
            role=more.pop("role", "admin" if kind == "operator" else None),
            identifiers=None,
            tenants=None,
            identity_id=None,
            restrictions=Restrictions(),
            expires_at=None,
        )
        identity = None if identifier is None else Identity(new_id(), identifier, (), "active")
        return Caller(
            tenant_id=self.tenant_id,
            tenant_name="t",
            policy_version=3,
            bearer=bearer,
            identity=identity,
            on_behalf_of=kind == "operator" and identity is not None,
            client=more.pop("client", "sdk/1"),
            agent=more.pop("agent", "helper"),
            run_id=more.pop("run_id", "run-1"),
            now=self.clock.now(),
        )

    def intent(self, caller: Caller, *, execution_id: UUID | None = None, n: int = 1, **more: Any) -> Intent:
        prepared = Prepared(
            operation=more.pop("operation", OPERATION),
            method="GET",
            origin="https://api.cloudflare.com",
            path=more.pop("path", "/client/v4/zones/abc/dns_records"),
            body=more.pop("body", None),
            summary=more.pop("summary", {"zone_id": "abc", "per_page": 5}),
        )
        facts = CallFacts.of(
            caller,
            at=self.clock.now(),
            call_id=new_id(),
            execution_id=execution_id or new_id(),
            n=n,
            connection_name=more.pop("connection_name", self.connection_name),
            account_id=self.account_id,
            tool_name=more.pop("tool_name", "cf_call"),
            operation=prepared.operation.id,
        )
        decision = Decision(allowed=True, reason="granted", grant_id=new_id())
        return Intent(facts, caller, prepared, decision, more.pop("sentence", None))

    async def call(self, caller: Caller, outcome: str | None = "ok", **more: Any) -> Intent:
        """A call with its intent and, unless it is None, its outcome."""
        status = more.pop("upstream_status", 200 if outcome == "ok" else None)
        intent = self.intent(caller, **more)
        await self.trail.write(intent)
        if outcome is not None:
            await self.outcome(intent, outcome, status)
        return intent

    async def outcome(self, intent: Intent, outcome: str, status: int | None = None) -> None:
        await self.trail.write(
            Outcome(
                intent.facts,
                outcome,  # type: ignore[arg-type]
                sent={"not_sent": False, "unknown": "unknown"}.get(outcome, True),  # type: ignore[arg-type]
                upstream_status=status,
                upstream_ray="8f-AMS",
                latency_us=12_345,
                upstream_us=9_000,
                request_bytes=310,
                response_bytes=1024,
            )
        )

    async def rows(self) -> list[dict[str, Any]]:
        async with self.db.tenant(self.tenant_id) as conn:
            found = await conn.execute(text("select * from audit.events order by at, recorded_at, counter"))
            return [dict(row) for row in found.mappings()]

    def auditor(self) -> Caller:
        """An operator who sees the whole tenant's audit."""
        return self.caller("operator", None, role="auditor")

    async def items(self, caller: Caller, size: int = 100, **filters: Any) -> list[dict[str, Any]]:
        """The newest items of the audit that `caller` sees."""
        found = await AuditQuery(self.db, reach).events(caller, AuditFilter(**filters), PageRequest(size))
        return list(found.items)

    def with_boot(self) -> "World":
        """The same tenant seen from another process."""
        trail = AuditTrail(
            vault_=self.vault_, db=self.db, node="other", boot=new_id(), clock=self.clock, metrics=Metrics()
        )
        return replace(self, trail=trail)


@pytest_asyncio.fixture
async def world(db: Database, make_tenant: Callable[..., Awaitable[UUID]]) -> World:
    tenant_id = await make_tenant()
    sealed_storage = await memory_sealed_storage(tenant_id)
    clock = SetClock(datetime.now(UTC).replace(microsecond=123456))
    trail = AuditTrail(vault_=sealed_storage, db=db, node="node-1", boot=new_id(), clock=clock, metrics=Metrics())
    return World(db, tenant_id, sealed_storage, clock, trail)


@pytest.fixture
def anyone(world: World) -> Caller:
    return world.caller()


@pytest_asyncio.fixture
async def varied(world: World) -> World:
    """Nine items that differ in what filters look at, a second apart, the newest last."""
    await world.call(world.caller(identifier="a"))
    world.clock.forward(seconds=1)
    await world.call(world.caller(identifier="b"), "timeout")
    world.clock.forward(seconds=1)
    await world.call(world.caller(identifier="b"), "upstream_error", upstream_status=403)
    world.clock.forward(seconds=1)
    await world.call(world.caller(identifier="a", run_id="run-9"), None)
    world.clock.forward(seconds=1)
    await world.call(
        world.caller("agent", identifier="a", name="ci"), tool_name="cf_zone_list", connection_name="other"
    )
    world.clock.forward(seconds=1)
    purge = Operation("purge", "POST", "/zones/{zone_id}/purge_cache", "write")
    await world.call(world.caller(identifier="a"), operation=purge)
    world.clock.forward(seconds=1)
    await world.trail.refusal(world.caller(identifier="b"), RefusalFacts("not_granted", tool_name="cf_call"))
    world.clock.forward(seconds=1)
    async with world.db.tenant(world.tenant_id) as conn:
        await world.trail.change(conn, world.caller("operator", None), "account.revoked", identifier="b")
    world.clock.forward(seconds=1)
    await world.trail.write(
        ExecutionDone(world.caller(identifier="a"), world.clock.now(), new_id(), "cf_search", "cf", "ok")
    )
    return world

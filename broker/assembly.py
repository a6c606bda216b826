"""Putting a process together: from orders (settings, database, root key) to `Services`, and taking it apart again."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from broker.accounts.accounts import Accounts
from broker.accounts.budgets import Budgets
from broker.accounts.connections import Connections
from broker.accounts.deposit import Deposit
from broker.accounts.learning import Learning
from broker.accounts.pending import Pendings
from broker.accounts.specs import Specs
from broker.accounts.views import Views
from broker.audit.executions import Executions
from broker.audit.export import AuditExport
from broker.audit.query import AuditQuery
from broker.audit.trail import AuditTrail
from broker.clock import Clock, SystemClock
from broker.db.database import Database
from broker.db.server_checks import ExternalDatabase
from broker.gate import revoke
from broker.gate.admission import Admissions
from broker.gate.dispatch import Dispatch
from broker.gate.egress_rate import EgressRate
from broker.gate.idempotency import Idempotency
from broker.gate.inflight import CancelListener, Drain, InFlight
from broker.gate.maintenance import Maintenance
from broker.gate.nodes import NodeInfo, Nodes
from broker.gate.perform import Gate
from broker.gate.principals import Principals
from broker.gate.sweep import Sweeper
from broker.gate.types import Measure
from broker.identity.authenticate import Authenticator
from broker.identity.identities import Identities
from broker.identity.keys import Keys
from broker.identity.offboard import Offboarding
from broker.identity.roles import reach
from broker.identity.sessions import Sessions
from broker.identity.tenants import Tenants
from broker.ids import new_id
from broker.jobs.bootstrap_key import BootstrapKeyWatch
from broker.jobs.forgetting import Forgetting
from broker.jobs.partitions import Partitions
from broker.jobs.readiness import Readiness
from broker.jobs.runner import Runner
from broker.jobs.standard import standard_jobs
from broker.metrics import Metrics
from broker.policy.grants import Grants
from broker.services import Services
from broker.settings import Settings
from broker.tools.execute import ToolRunner
from broker.tools.explaining import Explaining
from broker.tools.hints import Hints
from broker.tools.listing import Listing
from connectors.egress import EgressPolicy
from connectors.http import HttpClient
from vault.keyring import Keyring
from vault.keys import EnvRootKey
from vault.keystore import SqlKeyStore
from vault.store import Vault


class Ordered(Protocol):
    """What a process must be told: see broker.server.worker.Orders."""

    @property
    def settings(self) -> Settings: ...
    @property
    def database(self) -> ExternalDatabase: ...
    @property
    def root_key(self) -> str: ...
    @property
    def metrics_folder(self) -> str | None: ...
    @property
    def base_url(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Sealed:
    """The lowest parts: what is needed to read and write sealed things with a record of it."""

    db: Database
    vault_: Vault
    trail: AuditTrail
    metrics: Metrics
    clock: Clock
    node: NodeInfo


@asynccontextmanager
async def sealed_storage(
    database: ExternalDatabase, root_key: str, node: str, *, metrics: Metrics | None = None
) -> AsyncIterator[Sealed]:
    """Database, vault and audit trail, without a server around them. `node` empty: the host's name."""
    db = await Database.open(
        url=database.url(), connect=database.connect_kwargs(), engine_arguments=database.engine_arguments()
    )
    try:
        vault_ = Vault(Keyring(SqlKeyStore(db.tenant), EnvRootKey(root_key)))
        clock, counted = SystemClock(), metrics or Metrics()
        me = NodeInfo((node or socket.gethostname())[:100], new_id())
        trail = AuditTrail(vault_=vault_, db=db, node=me.node, boot=me.boot, clock=clock, metrics=counted)
        yield Sealed(db, vault_, trail, counted, clock, me)
    finally:
        await db.close()


@dataclass(frozen=True, slots=True)
class Calls:
    """The parts that a call goes through."""

    gate: Gate
    maintenance: Maintenance
    drain: Drain
    idempotency: Idempotency
    principals: Principals
    sweeper: Sweeper
    nodes: Nodes
    in_flight: InFlight


@asynccontextmanager
async def assemble(orders: Ordered) -> AsyncIterator[Services]:
    """Every service of a process, its background jobs running."""
    folder = None if orders.metrics_folder is None else Path(orders.metrics_folder)
    settings = orders.settings
    async with AsyncExitStack() as stack:
        metrics = Metrics(folder=folder)
        storage = sealed_storage(orders.database, orders.root_key, settings.node, metrics=metrics)
        parts = await stack.enter_async_context(storage)
        await parts.vault_.load_platform_key()
        stack.callback(metrics.close)
        stack.push_async_callback(_flushed, parts.trail)
        egress = EgressPolicy(settings.allow_upstream)
        http = await stack.enter_async_context(HttpClient(egress))
        views = Views(parts.db)
        calls = await _calls(settings, orders.database, parts, http, stack)
        services = _services(orders, parts, calls, views, Specs(parts.db, http, settings.spec_dir), egress)
        await calls.nodes.beat(parts.clock.now())
        stack.push_async_callback(calls.nodes.leave)
        await stack.enter_async_context(_jobs(settings, parts, calls).running())
        yield services


async def _calls(
    settings: Settings, database: ExternalDatabase, parts: Sealed, http: HttpClient, stack: AsyncExitStack
) -> Calls:
    limits = settings.limits
    in_flight = InFlight(per_tenant=limits.in_flight_per_tenant, per_identity=limits.in_flight_per_identity)
    admissions = Admissions(parts.db, parts.clock.now())
    dispatch = Dispatch(
        admissions=admissions,
        vault_=parts.vault_,
        trail=parts.trail,
        http=http,
        in_flight=in_flight,
        observe=_counting(parts.metrics),
    )
    stack.push_async_callback(dispatch.close)
    pace = EgressRate(parts.db, parts.node.boot, limits.egress_per_second)
    for background in (pace.run(), CancelListener(in_flight, database.connect_kwargs()).run()):
        stack.push_async_callback(_ended, asyncio.ensure_future(background))
    nodes = Nodes(parts.db, parts.node)
    principals = Principals(parts.vault_.platform_digest)
    return Calls(
        gate=Gate(
            dispatch=dispatch,
            trail=parts.trail,
            clock=parts.clock,
            limits=limits,
            in_flight=in_flight,
            pace=pace,
            on_learned=Learning(parts.db).learn,
        ),
        maintenance=Maintenance(
            dispatch=dispatch,
            admissions=admissions,
            principals=principals,
            clock=parts.clock,
            limits=limits,
            in_flight=in_flight,
            pace=pace,
        ),
        drain=Drain(parts.db),
        idempotency=Idempotency(parts.db, parts.vault_),
        principals=principals,
        sweeper=Sweeper(admissions, parts.trail, nodes),
        nodes=nodes,
        in_flight=in_flight,
    )


async def _flushed(trail: AuditTrail) -> None:
    await trail.flush(everything=True)


async def _ended(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _counting(metrics: Metrics) -> Any:
    def observe(measure: Measure) -> None:
        times = measure.timings
        total = times.wait_ms + times.admit_ms + times.upstream_ms + times.settle_ms
        metrics.call(
            measure.outcome,
            measure.effect,
            total=total / 1000,
            upstream=times.upstream_ms / 1000,
            admit=times.admit_ms / 1000,
            settle=times.settle_ms / 1000,
            wait=times.wait_ms / 1000,
        )

    return observe


def _services(
    orders: Ordered, parts: Sealed, calls: Calls, views: Views, specs: Specs, egress: EgressPolicy
) -> Services:
    db, trail, clock = parts.db, parts.trail, parts.clock
    authenticator = Authenticator(db)
    hints = Hints(authenticator)

    def mcp_url(tenant: str) -> str:
        return f"{orders.base_url}/t/{tenant}/mcp"

    return Services(
        settings=orders.settings,
        clock=clock,
        db=db,
        metrics=parts.metrics,
        authenticator=authenticator,
        tools=ToolRunner(
            authenticator=authenticator,
            views=views,
            gate=calls.gate,
            idempotency=calls.idempotency,
            trail=trail,
            hints=hints,
            clock=clock,
        ),
        listing=Listing(authenticator=authenticator, views=views, clock=clock),
        explaining=Explaining(authenticator=authenticator, views=views, clock=clock),
        gate=calls.gate,
        trail=trail,
        audit=AuditQuery(db, reach),
        export=AuditExport(db, trail, reach),
        executions=Executions(db, reach),
        readiness=Readiness(db, parts.vault_.keyring, clock),
        tenants=Tenants(db=db, keyring=parts.vault_.keyring, trail=trail),
        identities=Identities(db=db, trail=trail, revocation=revoke),
        keys=Keys(db=db, trail=trail, revocation=revoke),
        sessions=Sessions(db=db, trail=trail, revocation=revoke, mcp_url=mcp_url),
        grants=Grants(db=db, trail=trail, policy_changed=revoke.policy_changed),
        offboarding=Offboarding(db=db, trail=trail, revocation=revoke, drain=calls.drain),
        connections=_connections(parts, calls, views, specs, egress),
        accounts=_accounts(parts, calls, views),
        budgets=Budgets(db),
        views=views,
    )


def _connections(parts: Sealed, calls: Calls, views: Views, specs: Specs, egress: EgressPolicy) -> Connections:
    return Connections(
        db=parts.db,
        trail=parts.trail,
        specs=specs,
        views=views,
        principals=calls.principals,
        egress=egress,
        clock=parts.clock,
    )


def _accounts(parts: Sealed, calls: Calls, views: Views) -> Accounts:
    deposit = Deposit(
        db=parts.db,
        vault_=parts.vault_,
        trail=parts.trail,
        maintenance=calls.maintenance,
        principals=calls.principals,
        views=views,
        clock=parts.clock,
    )
    return Accounts(db=parts.db, trail=parts.trail, deposit=deposit, drain=calls.drain, clock=parts.clock)


def _jobs(settings: Settings, parts: Sealed, calls: Calls) -> Runner:
    async def sweep(_: datetime) -> int:
        return await calls.sweeper.sweep()

    pendings = Pendings(db=parts.db, vault_=parts.vault_, trail=parts.trail, clock=parts.clock)
    return Runner(
        parts.db,
        parts.metrics,
        standard_jobs(
            db=parts.db,
            clock=parts.clock,
            trail=parts.trail,
            metrics=parts.metrics,
            partitions=Partitions(parts.db, parts.clock, settings.limits.audit_retention_days),
            forgetting=Forgetting(parts.db, parts.clock),
            nodes=calls.nodes,
            key_watch=BootstrapKeyWatch(settings.admin_key_path, parts.clock),
            sweep=sweep,
            stale_deposits=pendings.remove_stale,
            in_flight=calls.in_flight.__len__,
        ),
    )

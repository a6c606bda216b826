"""Putting a process together: from orders (settings, database, root key) to `Services`, and taking it apart again."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from broker.accounts.accounts import Accounts
from broker.accounts.budgets import Budgets
from broker.accounts.connections import Connections
from broker.accounts.definitions import DefinitionPins
from broker.accounts.deposit import Deposit
from broker.accounts.links import Links
from broker.accounts.offers import Offers
from broker.accounts.own import OwnAccounts
from broker.accounts.pending import Pendings
from broker.accounts.specs import Specs
from broker.accounts.upstream_oauth.sign_ins import make_upstream_sign_ins
from broker.accounts.views import Views
from broker.audit.executions import Executions
from broker.audit.export import AuditExport
from broker.audit.query import AuditQuery
from broker.audit.trail import AuditTrail
from broker.calling import Calls, assemble_calls, ended
from broker.db.notices import Notices
from broker.db.server_checks import ExternalDatabase
from broker.gate import revoke
from broker.identity.authenticate import Authenticator
from broker.identity.identities import Identities
from broker.identity.keys import Keys
from broker.identity.logins import Logins
from broker.identity.oauth.server import make_server
from broker.identity.offboard import Offboarding
from broker.identity.oidc.fetching import Documents
from broker.identity.oidc.server import make_oidc
from broker.identity.roles import reach
from broker.identity.sandbox import Ceilings
from broker.identity.sessions import Sessions
from broker.identity.signin import SignIn
from broker.identity.tenants import Tenants
from broker.jobs.bootstrap_key import BootstrapKeyWatch
from broker.jobs.definitions_check import DefinitionsCheck
from broker.jobs.forgetting import Forgetting
from broker.jobs.loop_lag import watch_loop
from broker.jobs.partitions import Partitions
from broker.jobs.readiness import Readiness
from broker.jobs.runner import Runner
from broker.jobs.standard import standard_jobs
from broker.metrics import Metrics
from broker.policy.grants import Grants
from broker.sealed import Sealed, sealed_storage
from broker.services import Services
from broker.settings import Settings
from broker.tools.carried import PURPOSE, Carried
from broker.tools.codemode.keeping import Keeping
from broker.tools.codemode.ready import ReadySandbox
from broker.tools.explaining import Explaining
from broker.tools.listing import Listing
from broker.tools.parts import make_portal, make_runner
from broker.tools.questions import Questions
from broker.tools.underway import Underway
from broker.tools.watching import Watching
from connectors.egress import EgressPolicy
from connectors.http import HttpClient


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
        calls = await assemble_calls(settings, parts, http, views, stack)
        specs = Specs(parts.db, http, settings.spec_dir)
        ready = await stack.enter_async_context(ReadySandbox(settings, specs, views))
        notices = Notices(parts.db, orders.database.connect_kwargs())
        notices.hear(revoke.CANCEL_CHANNEL, calls.in_flight.heard)
        services = _services(orders, parts, calls, views, specs, egress, ready, http, notices)
        await calls.nodes.beat(parts.clock.now())
        stack.push_async_callback(calls.nodes.leave)
        running = (notices.run(), services.watching.run(), services.underway.run(), watch_loop(parts.metrics))
        for background in running:
            stack.push_async_callback(ended, asyncio.ensure_future(background))
        await stack.enter_async_context(_jobs(settings, parts, calls, services.definitions).running())
        yield services


async def _flushed(trail: AuditTrail) -> None:
    await trail.flush(everything=True)


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Addresses that people and editors are given."""

    base_url: str

    def mcp(self, tenant: str) -> str:
        return f"{self.base_url}/t/{tenant}/mcp"

    def connect(self, tenant: str, connection: str) -> str:
        return f"{self.base_url}/connect/{tenant}/{connection}"


def _services(
    orders: Ordered,
    parts: Sealed,
    calls: Calls,
    views: Views,
    specs: Specs,
    egress: EgressPolicy,
    ready: ReadySandbox,
    http: HttpClient,
    notices: Notices,
) -> Services:
    db, trail, clock = parts.db, parts.trail, parts.clock
    authenticator = Authenticator(db)
    addresses = _Addresses(orders.base_url)
    sessions = Sessions(db=db, trail=trail, revocation=revoke, mcp_url=addresses.mcp)
    definitions = _definitions(parts, calls, views)
    accounts = _accounts(parts, calls, views, definitions)
    keeping = Keeping(db, parts.vault_, trail, reach)
    return Services(
        settings=orders.settings,
        clock=clock,
        db=db,
        metrics=parts.metrics,
        authenticator=authenticator,
        tools=make_runner(
            parts, calls, authenticator, views, ready, keeping, addresses.connect, orders.settings.limits
        ),
        portal=make_portal(parts, calls, authenticator, views, ready, keeping, orders.settings.limits),
        listing=Listing(authenticator=authenticator, views=views, clock=clock, connect_url=addresses.connect),
        explaining=Explaining(authenticator=authenticator, views=views, clock=clock),
        gate=calls.gate,
        programs=keeping,
        readiness=Readiness(db, parts.vault_.keyring, clock),
        tenants=_tenants(orders.settings, parts),
        identities=Identities(db=db, trail=trail, revocation=revoke),
        keys=Keys(db=db, trail=trail, revocation=revoke),
        sessions=sessions,
        grants=Grants(db=db, trail=trail, policy_changed=revoke.policy_changed),
        offboarding=_offboarding(parts, calls),
        connections=_connections(parts, calls, views, specs, egress, definitions),
        accounts=accounts,
        budgets=Budgets(db),
        views=views,
        base_url=orders.base_url,
        definitions=definitions,
        renewals=calls.renewals,
        **_audit(parts),
        **_waiting(parts, notices),
        **_people(orders, parts, accounts, authenticator, sessions, views, http, egress),
    )


def _audit(parts: Sealed) -> dict[str, Any]:
    """The audit and what reads it, by the names of `Services`."""
    db, trail = parts.db, parts.trail
    return {
        "trail": trail,
        "audit": AuditQuery(db, reach),
        "export": AuditExport(db, trail, reach),
        "executions": Executions(db, reach),
    }


def _waiting(parts: Sealed, notices: Notices) -> dict[str, Any]:
    """What is for clients who wait, by the names of `Services`."""
    carried = Carried(parts.vault_.platform_digest(PURPOSE, b""))
    return {
        "carried": carried,
        "watching": Watching(parts.db, notices),
        "underway": Underway(notices, parts.metrics),
        "questions": Questions(notices, carried, parts.clock),
    }


def _tenants(settings: Settings, parts: Sealed) -> Tenants:
    return Tenants(
        db=parts.db,
        keyring=parts.vault_.keyring,
        trail=parts.trail,
        policy_changed=revoke.policy_changed,
        ceilings=Ceilings.of(settings.limits, isolate=settings.sandbox_isolate),
    )


def _offboarding(parts: Sealed, calls: Calls) -> Offboarding:
    return Offboarding(
        db=parts.db, trail=parts.trail, revocation=revoke, drain=calls.drain, giving_back=calls.giving_back
    )


def _definitions(parts: Sealed, calls: Calls, views: Views) -> DefinitionPins:
    return DefinitionPins(db=parts.db, trail=parts.trail, maintenance=calls.maintenance, views=views, clock=parts.clock)


def _connections(
    parts: Sealed, calls: Calls, views: Views, specs: Specs, egress: EgressPolicy, definitions: DefinitionPins
) -> Connections:
    return Connections(
        db=parts.db,
        trail=parts.trail,
        specs=specs,
        views=views,
        principals=calls.principals,
        egress=egress,
        clock=parts.clock,
        definitions=definitions,
    )


def _accounts(parts: Sealed, calls: Calls, views: Views, definitions: DefinitionPins) -> Accounts:
    deposit = Deposit(
        db=parts.db,
        vault_=parts.vault_,
        trail=parts.trail,
        maintenance=calls.maintenance,
        principals=calls.principals,
        views=views,
        clock=parts.clock,
        definitions=definitions,
    )
    return Accounts(
        db=parts.db,
        trail=parts.trail,
        deposit=deposit,
        drain=calls.drain,
        clock=parts.clock,
        giving_back=calls.giving_back,
    )


def _people(
    orders: Ordered,
    parts: Sealed,
    accounts: Accounts,
    authenticator: Authenticator,
    sessions: Sessions,
    views: Views,
    http: HttpClient,
    egress: EgressPolicy,
) -> dict[str, Any]:
    """What the pages and sign-ins stand on, by the names of `Services`."""
    base_url = orders.base_url
    stored: dict[str, Any] = {"db": parts.db, "trail": parts.trail}
    logins = Logins(revocation=revoke, **stored)
    offers = Offers(authenticator=authenticator, views=views)
    return {
        "logins": logins,
        "sign_in": SignIn(logins=logins, url=lambda ticket: f"{base_url}/s/{ticket}", **stored),
        "offers": offers,
        "links": Links(
            clock=parts.clock, accounts=accounts, offers=offers, url=lambda ticket: f"{base_url}/c/{ticket}", **stored
        ),
        "own_accounts": OwnAccounts(**stored),
        "upstream_sign_ins": make_upstream_sign_ins(
            base_url=base_url, vault_=parts.vault_, clock=parts.clock, views=views, http=http, egress=egress, **stored
        ),
        "oidc": make_oidc(
            revocation=revoke,
            logins=logins,
            http=http,
            documents=Documents(http, egress),
            vault_=parts.vault_,
            base_url=base_url,
            random=secrets.token_bytes,
            **stored,
        ),
        "oauth": make_server(
            revocation=revoke,
            http=http,
            authenticator=authenticator,
            sessions=sessions,
            digest=parts.vault_.platform_digest,
            seeds=orders.settings.clients_dir,
            **stored,
        ),
    }


def _jobs(settings: Settings, parts: Sealed, calls: Calls, definitions: DefinitionPins) -> Runner:
    async def sweep(_: datetime) -> int:
        return await calls.sweeper.sweep()

    check = DefinitionsCheck(db=parts.db, clock=parts.clock, metrics=parts.metrics, pins=definitions)
    pendings = Pendings(db=parts.db, vault_=parts.vault_, trail=parts.trail, clock=parts.clock)
    return Runner(
        parts.db,
        parts.metrics,
        [
            *standard_jobs(
                db=parts.db,
                clock=parts.clock,
                trail=parts.trail,
                metrics=parts.metrics,
                partitions=Partitions(parts.db, parts.clock, settings.limits.audit_retention_days),
                forgetting=Forgetting(parts.db, parts.clock, settings.limits.audit_retention_days),
                nodes=calls.nodes,
                key_watch=BootstrapKeyWatch(settings.admin_key_path, parts.clock),
                sweep=sweep,
                stale_deposits=pendings.remove_stale,
                in_flight=calls.in_flight.__len__,
            ),
            check.job(),
        ],
    )

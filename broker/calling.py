"""What a call goes through, put together: the gate, what it stands on, and what runs beside it."""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from broker.accounts.learning import Learning
from broker.accounts.rechecking import Rechecks
from broker.accounts.upstream_oauth.gate import RenewingGate, RenewingMaintenance
from broker.accounts.upstream_oauth.giving_back import GivingBack
from broker.accounts.upstream_oauth.renewals import Renewals
from broker.accounts.views import Views
from broker.gate.admission import Admissions
from broker.gate.dispatch import Dispatch
from broker.gate.egress_rate import EgressRate
from broker.gate.executions import OpenExecutions
from broker.gate.idempotency import Idempotency
from broker.gate.inflight import Drain, InFlight
from broker.gate.maintenance import Maintenance
from broker.gate.nodes import Nodes
from broker.gate.perform import Gate
from broker.gate.principals import Principals
from broker.gate.sweep import Sweeper
from broker.gate.types import Measure
from broker.metrics import Metrics
from broker.sealed import Sealed
from broker.settings import Settings
from connectors.http import HttpClient


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
    renewals: Renewals
    giving_back: GivingBack


async def assemble_calls(
    settings: Settings,
    parts: Sealed,
    http: HttpClient,
    views: Views,
    stack: AsyncExitStack,
) -> Calls:
    """Their parts, running; `stack` ends what runs. `http` is the one way out."""
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
    calling: dict[str, Any] = {"dispatch": dispatch, "clock": parts.clock, "limits": limits, "in_flight": in_flight}
    calling["pace"] = pace
    stack.push_async_callback(ended, asyncio.ensure_future(pace.run()))
    nodes = Nodes(parts.db, parts.node)
    principals = Principals(parts.vault_.platform_digest)
    maintaining = {**calling, "admissions": admissions, "principals": principals}
    renewals, giving_back = _sign_ins(parts, views, Maintenance(**maintaining))
    stack.push_async_callback(renewals.close)
    stack.push_async_callback(giving_back.close)
    return Calls(
        gate=RenewingGate(
            renewals=renewals,
            rechecks=Rechecks(parts.db),
            trail=parts.trail,
            on_learned=Learning(parts.db).learn,
            **calling,
        ),
        maintenance=RenewingMaintenance(renewals=renewals, **maintaining),
        drain=Drain(parts.db),
        idempotency=Idempotency(parts.db, parts.vault_),
        principals=principals,
        sweeper=Sweeper(admissions, parts.trail, nodes, OpenExecutions(parts.db)),
        nodes=nodes,
        in_flight=in_flight,
        renewals=renewals,
        giving_back=giving_back,
    )


def _sign_ins(parts: Sealed, views: Views, maintenance: Maintenance) -> tuple[Renewals, GivingBack]:
    """What renews the tokens of sign-ins, and what gives them back: by a maintenance that renews nothing itself."""
    asking: dict[str, Any] = {"db": parts.db, "trail": parts.trail, "clock": parts.clock, "views": views}
    asking["maintenance"] = maintenance
    return Renewals(vault_=parts.vault_, **asking), GivingBack(**asking)


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


async def ended(task: "asyncio.Future[Any]") -> None:
    """Cancels a task and waits for its end."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

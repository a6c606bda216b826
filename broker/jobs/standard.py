"""The jobs of a serving process."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.gate.nodes import BEAT_SECONDS, Nodes
from broker.jobs.bootstrap_key import BootstrapKeyWatch
from broker.jobs.forgetting import Forgetting
from broker.jobs.partitions import Partitions
from broker.jobs.runner import Job
from broker.metrics import Metrics

HOUR = 3600.0


def standard_jobs(
    *,
    db: Database,
    clock: Clock,
    trail: AuditTrail,
    metrics: Metrics,
    partitions: Partitions,
    forgetting: Forgetting,
    nodes: Nodes,
    key_watch: BootstrapKeyWatch,
    sweep: Callable[[datetime], Awaitable[int]],
    stale_deposits: Callable[[], Awaitable[int]],
    in_flight: Callable[[], int] | None = None,
) -> list[Job]:
    """Every periodic job. `sweep` closes the calls that nobody will settle and returns how many; `stale_deposits`
    removes what deposits left behind in a crash; `in_flight` tells how many calls this process has under way.
    """

    async def swept() -> None:
        count = await sweep(clock.now())
        if count:
            metrics.swept(count)

    async def gauges() -> None:
        metrics.pool(db.pool.get_size(), db.pool.get_idle_size())
        if in_flight is not None:
            metrics.in_flight(in_flight())

    async def beat() -> None:
        await nodes.beat(clock.now())

    return [
        Job("partitions", HOUR, partitions.run, alone=True),
        Job("sweep", 5.0, swept, alone=True),
        Job("refusal_counts", 5.0, trail.flush, at_once=False),
        Job("heartbeat", BEAT_SECONDS, beat, deadline=5.0),
        Job("kept_results", 900.0, forgetting.results, alone=True, at_once=False, deadline=300.0),
        Job("code_results", 300.0, forgetting.code_results, alone=True, at_once=False, deadline=300.0),
        Job("programs", HOUR, forgetting.programs, alone=True, at_once=False, deadline=300.0),
        Job("ended_sessions", HOUR, forgetting.sessions, alone=True, at_once=False, deadline=300.0),
        Job("upstream_sign_ins", 600.0, forgetting.sign_ins, alone=True, at_once=False, deadline=300.0),
        Job("upstream_clients", HOUR, forgetting.upstream_clients, alone=True, at_once=False, deadline=300.0),
        Job("stale_deposits", 600.0, stale_deposits, alone=True, at_once=False),
        Job("bootstrap_key", 24 * HOUR, key_watch.run),
        Job("gauges", 10.0, gauges),
    ]

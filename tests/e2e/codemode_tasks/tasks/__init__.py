"""The tasks, by the group of products that they are about."""

from collections.abc import Mapping

from tests.e2e.codemode_tasks.tasks import analytics, dns, kv, r2, tokens, waf, workers, zero_trust
from tests.e2e.codemode_tasks.world import Task

GROUPS: Mapping[str, tuple[Task, ...]] = {
    "analytics": analytics.TASKS,
    "dns": dns.TASKS,
    "kv": kv.TASKS,
    "r2": r2.TASKS,
    "tokens": tokens.TASKS,
    "waf": waf.TASKS,
    "workers": workers.TASKS,
    "zero_trust": zero_trust.TASKS,
}

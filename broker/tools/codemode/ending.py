"""What the audit is told of an execution: the same facts when it begins and when it ends. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from broker.audit.events import ExecutionDone
from broker.audit.rows import facts_of
from broker.domain import Account
from broker.gate.types import CallRecord
from broker.tools.codemode.asked import Job, Wanted
from broker.tools.codemode.keeping import Begun, digest_of

SLACK_SECONDS: Final = 10.0
"""So long after its deadline an execution may still be writing its end."""


def ended(
    job: Job, wanted: Wanted, account: Account | None, calls: Sequence[CallRecord], outcome: str, cpu_ms: float
) -> ExecutionDone:
    """An execution that ended. `outcome` is `ok` or the error's code; `cpu_ms` what its program computed."""
    writes = sum(c.effect != "read" and c.sent is not False for c in calls)
    summary: dict[str, Any] = {"cpu_ms": int(cpu_ms), "writes": writes, **wanted.words}
    if outcome != "ok":
        summary["error"] = outcome
    if job.request.dry_run:
        summary["dry_run"] = True
    return ExecutionDone(
        caller=job.resolved.caller,
        at=job.resolved.caller.now,
        execution_id=job.execution_id,
        tool_name=job.tool.name,
        connection_name=job.connection.name,
        outcome="ok" if outcome == "ok" else "error",
        calls=len(calls),
        summary=summary,
        account_id=None if account is None else account.id,
        intent=wanted.intent,
        code_digest=None if wanted.text is None else digest_of(wanted.text),
    )


def begun(job: Job, wanted: Wanted, account: Account | None, now: datetime) -> Begun:
    """An execution that began and whose end is to be written even where its process does not live to do it."""
    left = max(0.0, (job.deadline - now).total_seconds())
    return Begun(facts_of(ended(job, wanted, account, (), "ok", 0.0)), left + SLACK_SECONDS)

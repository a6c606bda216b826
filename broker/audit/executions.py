"""`GET /v1/executions/{id}`: "my client timed out; did it happen?"."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from broker.audit.items import Row, latest, milliseconds, stamp
from broker.audit.query import Reach
from broker.audit.rows import COLUMNS
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem

MAX_ROWS = 5000
"""An execution makes far fewer calls; the bound keeps a damaged table from answering without end."""

_ROWS = text(
    # By their execution the rows that people see; their outcomes lie at the same `at`.
    f"""
    with seen as materialized (
        select {", ".join(COLUMNS)} from audit.events
         where tenant_id = :tenant and execution_id = :execution and kind <> 'outcome' order by at, n limit :most
    )
    select * from seen
    union all
    select {", ".join(f"x.{name}" for name in COLUMNS)} from seen s
      join audit.events x on x.tenant_id = :tenant and x.at = s.at and x.call_id = s.call_id and x.kind = 'outcome'
     where s.kind = 'intent'
     order by at, n, recorded_at limit :most"""  # noqa: S608 - column names of our own
)
_DESCENDS = text(
    """
    with recursive up(id) as (
        select cast(:bearer as uuid)
        union
        select b.parent_id from broker.bearers b join up on b.id = up.id
         where b.tenant_id = :tenant and b.parent_id is not null
    )
    select exists (select from up where id = :ancestor)"""
)


class Executions:
    """Reads what became of an execution."""

    def __init__(self, db: Database, reach: Reach) -> None:
        self._db = db
        self._reach = reach

    async def read(self, caller: Caller, execution_id: UUID) -> dict[str, Any]:
        """The execution's calls and how each ended. Raises Problem `forbidden`, and `not_found` alike for an
        execution that is not the caller's and one that never was: neither sent anything the caller may know
        of.
        """
        reach = self._reach(caller, "executions.read")
        params = {"tenant": caller.tenant_id, "execution": execution_id, "most": MAX_ROWS}
        async with self._db.tenant(caller.tenant_id) as conn:
            rows = [dict(row) for row in (await conn.execute(_ROWS, params)).mappings()]
            if not rows:
                raise _absent()
            first = rows[0]
            if reach == "own" and caller.bearer.kind == "session":
                if caller.identity is None or first["identifier"] != caller.identity.identifier:
                    raise _absent()
            elif reach == "own" and first["bearer_id"] != caller.bearer.id:
                who = {"bearer": first["bearer_id"], "ancestor": caller.bearer.id, "tenant": caller.tenant_id}
                if not await conn.scalar(_DESCENDS, who):
                    raise _absent()
        return summary(execution_id, rows)


def _absent() -> Problem:
    return Problem(
        "not_found",
        "there is no such execution of yours",
        hint="an execution is written down before anything is sent: one that is not here has sent nothing",
    )


def summary(execution_id: UUID, rows: Sequence[Row]) -> dict[str, Any]:
    """An execution from its rows. Pure."""
    calls = [_call(row, rows) for row in rows if row["kind"] == "intent"]
    refusals = [row for row in rows if row["kind"] == "refusal"]
    done = [row for row in rows if row["kind"] == "execution"]
    first = rows[0]
    open_ = any(c["outcome"] == "open" for c in calls)
    state = "open" if open_ else "refused" if refusals and not calls and not done else "done"
    answer: dict[str, Any] = {
        "execution_id": str(execution_id),
        "at": stamp(first["at"]),
        "state": state,
        "sent": _sent(calls),
        "identifier": first["identifier"],
        "connection_name": first["connection_name"],
        "connected_account_id": None if first["account_id"] is None else str(first["account_id"]),
        "tool_name": first["tool_name"],
        "run_id": first["run_id"],
        "calls": calls,
    }
    if refusals:
        body = refusals[-1]["body"]
        answer["refusal"] = {
            "code": body.get("code") or body.get("reason"),
            "reason": body.get("reason"),
            "detail": body.get("detail"),
        }
    return answer


def _call(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    outcome = latest([o for o in rows if o["kind"] == "outcome" and o["call_id"] == row["call_id"]])
    came = {} if outcome is None else outcome["body"]
    body = row["body"]
    return {
        "n": row["n"],
        "at": stamp(row["at"]),
        "operation": row["operation"],
        "method": body.get("method"),
        "path": body.get("path"),
        "effect": body.get("effect"),
        "outcome": "open" if outcome is None else outcome["outcome"],
        "sent": came.get("sent", "unknown"),
        "status": came.get("upstream_status"),
        "latency_ms": milliseconds(came.get("latency_us")),
    }


def _sent(calls: Sequence[dict[str, Any]]) -> bool | str:
    """`true` when a request surely left, `"unknown"` when one may have, else `false`."""
    if any(c["sent"] is True for c in calls):
        return True
    return "unknown" if any(c["sent"] == "unknown" for c in calls) else False

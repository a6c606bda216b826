"""`GET /v1/audit/events`: items, newest first."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from broker.audit.items import Row, item
from broker.audit.scan import Where, own, step
from broker.db.database import Database
from broker.db.paging import Page, PageRequest, page_token
from broker.domain import Caller
from broker.errors import invalid

Reach = Callable[[Caller, str], Literal["any", "own"]]
"""`identity.roles.reach`, handed in by the composition root: this package lies below it."""

WALK: Final = 20_000
"""Rows of the table one statement walks over."""
PATIENCE_SECONDS: Final = 1.5
"""How long one request goes on walking before it answers a short page with a token."""

OUTCOMES: Final = frozenset(
    {
        "ok",
        "upstream_error",
        "timeout",
        "cancelled",
        "not_sent",
        "unknown",
        "open",
        "refused",
        "done",
        "error",
    }
)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What to show; None: everything. `since` is inclusive, `until` exclusive.

    `operation` is an operation id, a "METHOD /template" or a change's action; `status` an upstream status as
    digits or an outcome's word.
    """

    since: datetime | None = None
    until: datetime | None = None
    identifier: str | None = None
    connection_name: str | None = None
    tool_name: str | None = None
    operation: str | None = None
    status: str | None = None
    outcome: str | None = None
    kind: Literal["call", "refusal", "change", "execution"] | None = None
    execution_id: UUID | None = None
    run_id: str | None = None
    actor: str | None = None


class AuditQuery:
    """Reads a tenant's audit for whoever may. Nothing in here writes."""

    def __init__(self, db: Database, reach: Reach) -> None:
        self._db = db
        self._reach = reach

    async def events(self, caller: Caller, wanted: AuditFilter, page: PageRequest) -> Page[dict[str, Any]]:
        """One page of items. Raises Problem `forbidden`, `invalid_input`.

        Bounded in time: where few items fit in many rows, a page may be short, or empty, and still carry a
        token.
        """
        where = conditions(wanted)
        if self._reach(caller, "audit.read") == "own":
            own(where, caller)
        rows: list[Row] = []
        after = page.past("audit")
        began = time.monotonic()
        while True:
            async with self._db.snapshot(caller.tenant_id) as conn:
                found = await step(
                    conn,
                    caller.tenant_id,
                    where,
                    after=after,
                    size=page.size - len(rows),
                    walk=WALK,
                    newest_first=True,
                )
            rows += found.rows
            after = found.next
            if after is None or len(rows) >= page.size or time.monotonic() - began > PATIENCE_SECONDS:
                break
        return Page([shown(row) for row in rows], None if after is None else page_token(*after, "audit"))


def shown(row: Row) -> dict[str, Any]:
    """The item of a row that came with its latest outcome beside it."""
    if row["last_outcome"] is None:
        return item(row, None)
    return item(row, {"outcome": row["last_outcome"], "body": row["last_body"]})


_INDEXED: Final = ("identifier", "execution_id", "run_id")
_COLUMNS: Final = ("connection_name", "tool_name", "actor")
_APART: Final = "kind in ('refusal', 'change', 'execution')"
"""What is no call. Spelt as the index's own condition: the planner takes no parameter for it."""


def conditions(wanted: AuditFilter) -> Where:
    """The filter as conditions. Pure. Raises Problem `invalid_input`."""
    where = Where()
    if wanted.since is not None:
        where.walk("at >= :since", since=wanted.since)
    if wanted.until is not None:
        where.walk("at < :until", until=wanted.until)
    for name in _INDEXED:
        value = getattr(wanted, name)
        if value is not None:
            where.walk(f"{name} = :{name}", **{name: value})
    for name in _COLUMNS:
        value = getattr(wanted, name)
        if value is not None:
            where.want(f"s.{name} = :{name}", **{name: value})
    if wanted.kind == "call":
        where.want("s.kind = 'intent'")
    elif wanted.kind is not None:
        where.walk(f"{_APART} and kind = :kind", kind=wanted.kind)
    if wanted.operation is not None:
        column = "s.body->>'operation_ref'" if " " in wanted.operation else "s.operation"
        where.want(f"{column} = :operation", operation=wanted.operation)
    if wanted.outcome is not None:
        _outcome(where, wanted.outcome, "outcome")
    if wanted.status is not None:
        _status(where, wanted.status)
    return where


def _status(where: Where, status: str) -> None:
    if status.isascii() and status.isdigit() and len(status) == 3:
        where.want("s.kind = 'intent'")
        where.want_outcome("o.last_body->'upstream_status' = to_jsonb(cast(:status as int))", status=int(status))
    else:
        _outcome(where, status, "status")


def _outcome(where: Where, outcome: str, field: str) -> None:
    if outcome not in OUTCOMES:
        raise invalid(field, f"must be one of {', '.join(sorted(OUTCOMES))}")
    if outcome in {"refused", "done", "error"}:
        where.walk(_APART)
        where.want(f"s.outcome = :{field}", **{field: outcome})
    elif outcome == "open":
        where.want("s.kind = 'intent'")
        where.want_outcome("o.last_outcome is null")
    else:
        where.want_outcome(f"coalesce(o.last_outcome, e.outcome) = :{field}", **{field: outcome})

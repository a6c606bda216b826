"""Reading the audit in bounded steps.

Few filters have an index: an entry for each call costs more than the questions about it. So a step walks at
most so many rows of an index's order, keeps those that fit, and says where it stopped. However large the
table, a statement is short, and whoever reads on misses nothing. What an index serves (identifier, run,
execution, kinds that are no calls) chooses the rows walked over; the rest is looked for among them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.rows import COLUMNS
from broker.domain import Caller

STATEMENT_MS: Final = 10_000

Key = tuple[datetime, UUID]


@dataclass(slots=True)
class Where:
    """Conditions and their parameters. `walked` choose the rows a step walks over, `wanted` those it keeps.

    `outcome` conditions speak of `o`, a call's latest outcome. Every text in here is ours; values are
    parameters.
    """

    walked: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    outcome: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    family: bool = False

    def walk(self, condition: str, **params: Any) -> None:
        """Adds a condition that an index or partition pruning serves."""
        self.walked.append(condition)
        self.params |= params

    def want(self, condition: str, **params: Any) -> None:
        """Adds a condition on the rows walked over."""
        self.wanted.append(condition)
        self.params |= params

    def want_outcome(self, condition: str, **params: Any) -> None:
        """Adds a condition on the latest outcome."""
        self.outcome.append(condition)
        self.params |= params


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found. `next` is the last key walked over, or None when there is nothing beyond it."""

    rows: Sequence[Mapping[str, Any]]
    next: Key | None


# Until a new partition has statistics, the planner would rather collect a tenant's whole day and sort it.
_BOUNDS: Final = text(
    "select set_config('statement_timeout', :ms, true), set_config('enable_bitmapscan', 'off', true),"
    " set_config('enable_seqscan', 'off', true)"
)

# What is known beats `unknown`; then the one recorded last. `items.latest` says the same of rows in hand.
_LATEST: Final = """
left join lateral (
    select x.outcome as last_outcome, x.body as last_body
      from audit.events x
     where x.tenant_id = e.tenant_id and x.at = e.at and x.call_id = e.call_id and x.kind = 'outcome'
     order by (x.outcome = 'unknown'), x.recorded_at desc, x.counter desc
     limit 1
) o on e.kind = 'intent'"""

# The bearer and everything minted from it, as far as it lives in this tenant.
_FAMILY: Final = """with recursive family(id) as (
    select cast(:bearer as uuid)
    union
    select c.id from broker.bearers c join family f on c.parent_id = f.id
     where c.tenant_id = :tenant and c.root_id = :root
) """


def own(where: Where, caller: Caller) -> None:
    """Narrows to the caller's own: a session to its identity, an agent key to itself and what it minted."""
    if caller.bearer.kind == "session":
        if caller.identity is None:
            raise AssertionError("a session has an identity")
        where.walk("identifier = :own", own=caller.identity.identifier)
    else:
        where.family = True
        where.want("s.bearer_id in (select id from family)", bearer=caller.bearer.id, root=caller.bearer.root_id)


def _all(conditions: Sequence[str]) -> str:
    return " and ".join(conditions) if conditions else "true"


# ruff: noqa: S608 - every piece of these statements is written in this package; values are parameters
def _statement(where: Where, *, newest_first: bool, resumed: bool) -> tuple[str, str]:
    """(the step, where it stopped)"""
    order, back, beyond = ("desc", "asc", "<") if newest_first else ("asc", "desc", ">")
    walked = ["tenant_id = :tenant", "kind <> 'outcome'", *where.walked]
    if resumed:
        # The plain bound lets the planner leave out partitions; the row comparison is exact.
        walked += [f"at {beyond}= :at", f"(at, id) {beyond} (:at, :id)"]
    walk = f"from audit.events where {_all(walked)} order by at {order}, id {order} limit :walk"
    kept = f"select * from (select {', '.join(COLUMNS)}, xid {walk}) s where {_all(where.wanted)}"
    ordered = f"order by e.at {order}, e.id {order}"
    if where.outcome:
        step = f"select e.*, o.* from ({kept}) e {_LATEST} where {_all(where.outcome)} {ordered} limit :size"
    else:
        kept += f" order by s.at {order}, s.id {order} limit :size"
        step = f"select e.*, o.* from ({kept}) e {_LATEST} {ordered}"
    stopped = f"""select count(*) over () as walked, at, id from (select at, id {walk}) s
        order by at {back}, id {back} limit 1"""
    return (_FAMILY if where.family else "") + step, stopped


async def step(
    conn: AsyncConnection,
    tenant_id: UUID,
    where: Where,
    *,
    after: Key | None,
    size: int,
    walk: int,
    newest_first: bool,
) -> Step:
    """At most `size` rows among the next `walk` rows beyond `after`. Runs in a snapshot of a tenant's: where it stopped
    is asked after what it found, and what was written between would move the one against the other."""
    params = where.params | {"tenant": tenant_id, "walk": walk, "size": size}
    if after is not None:
        params |= {"at": after[0], "id": after[1]}
    statement, stopped = _statement(where, newest_first=newest_first, resumed=after is not None)
    await conn.execute(_BOUNDS, {"ms": str(STATEMENT_MS)})
    rows = [dict(row) for row in (await conn.execute(text(statement), params)).mappings()]
    if len(rows) == size:
        return Step(rows, (rows[-1]["at"], rows[-1]["id"]))
    end = (await conn.execute(text(stopped), params)).one_or_none()
    if end is None or end.walked < walk:
        return Step(rows, None)
    return Step(rows, (end.at, end.id))

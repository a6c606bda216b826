"""`GET /v1/audit/export`: the whole audit of a span as NDJSON, oldest first.

What makes it complete: `at` and ids do not say in which order rows were committed, so "everything after the
last row I saw" misses rows of slower transactions. Each export instead fixes a horizon, `pg_snapshot_xmin`,
when it begins: every transaction below it has ended, so the rows below it (`xid < horizon`) will never become
more. The last line carries that horizon as `cursor`; an export that is given it shows exactly the items to
which something was added since. A stream without its last line was cut off. (Transaction ids mean nothing in
another database cluster: after a restore, begin without a cursor.)
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import text

from broker.audit.items import Row, item, latest, record, stamp
from broker.audit.query import Reach
from broker.audit.rows import COLUMNS
from broker.audit.scan import Key, Where, step
from broker.audit.trail import AuditTrail
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem, invalid

BATCH: Final = 500
WALK: Final = 10_000
AT_ONCE: Final = 2
"""Exports of one tenant running in one process, so that one that is not read on keeps nobody else from exporting; and
batches being read at a time in all: each holds a database connection, and none is held between them."""

_HORIZON: Final = text("select cast(pg_snapshot_xmin(pg_current_snapshot()) as text)")
_OUTCOMES: Final = text(
    f"select {', '.join(COLUMNS)} from audit.events"  # noqa: S608 - column names of our own
    " where tenant_id = :tenant and at between :first and :last and kind = 'outcome'"
    " and call_id = any(cast(:calls as uuid[])) and xid < cast(cast(:horizon as text) as xid8)"
)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The span (`since` inclusive, `until` exclusive) and, to go on from an earlier export, its cursor."""

    since: datetime | None = None
    until: datetime | None = None
    format: str = "native"
    cursor: str | None = None


class AuditExport:
    """Streams exports. `begin` refuses what cannot be done before the first byte; then `lines` is pulled."""

    def __init__(self, db: Database, trail: AuditTrail, reach: Reach) -> None:
        self._db = db
        self._trail = trail
        self._reach = reach
        self._running: Counter[UUID] = Counter()
        self._reading = asyncio.Semaphore(AT_ONCE)

    async def begin(self, caller: Caller, request: ExportRequest) -> AsyncIterator[bytes]:
        """The lines of the export, in blocks. Itself an audited change. Raises Problem `forbidden`,
        `invalid_input`, `rate_limited`.
        """
        self._reach(caller, "audit.export")
        if request.format != "native":
            raise invalid("format", "only `native` in this release; `ocsf`, `ecs` and `cef` follow")
        if request.cursor is not None and not _is_cursor(request.cursor):
            raise invalid("cursor", "is not one that an export gave")
        if self._running[caller.tenant_id] >= AT_ONCE:
            raise Problem("rate_limited", f"{AT_ONCE} exports are already running here", retry_after=10)
        async with self._db.tenant(caller.tenant_id) as conn:
            horizon = str(await conn.scalar(_HORIZON))
            details = {
                "format": request.format,
                "since": None if request.since is None else stamp(request.since),
                "until": None if request.until is None else stamp(request.until),
                "cursor": request.cursor,
            }
            await self._trail.change(conn, caller, "audit.exported", details=details)
        return self._lines(caller.tenant_id, request, horizon)

    async def _lines(self, tenant_id: UUID, request: ExportRequest, horizon: str) -> AsyncIterator[bytes]:
        """Blocks of lines, each read when the one before has been taken: a slow reader costs no memory."""
        where = _span(request, horizon)
        after: Key | None = None
        count = 0
        with self._counted(tenant_id):
            while True:
                async with self._reading, self._db.snapshot(tenant_id) as conn:
                    found = await step(conn, tenant_id, where, after=after, size=BATCH, walk=WALK, newest_first=False)
                    outcomes = await self._outcomes(conn, tenant_id, found.rows, horizon)
                if found.rows:
                    count += len(found.rows)
                    yield b"".join(_line(row, outcomes[row["call_id"]]) for row in found.rows)
                after = found.next
                if after is None:
                    break
        yield orjson.dumps({"kind": "end", "items": count, "cursor": horizon}) + b"\n"

    @contextmanager
    def _counted(self, tenant_id: UUID) -> Iterator[None]:
        self._running[tenant_id] += 1
        try:
            yield
        finally:
            self._running[tenant_id] -= 1
            if not self._running[tenant_id]:
                del self._running[tenant_id]

    @staticmethod
    async def _outcomes(
        conn: Any, tenant_id: UUID, rows: Sequence[Row], horizon: str
    ) -> defaultdict[UUID | None, list[Row]]:
        by_call: defaultdict[UUID | None, list[Row]] = defaultdict(list)
        calls = [row["call_id"] for row in rows if row["kind"] == "intent"]
        if calls:
            params = {
                "tenant": tenant_id,
                "first": rows[0]["at"],
                "last": rows[-1]["at"],
                "calls": calls,
                "horizon": horizon,
            }
            for row in (await conn.execute(_OUTCOMES, params)).mappings():
                by_call[row["call_id"]].append(dict(row))
        return by_call


def _is_cursor(text_: str) -> bool:
    return len(text_) <= 20 and text_.isascii() and text_.isdigit() and int(text_) < 1 << 64


def _span(request: ExportRequest, horizon: str) -> Where:
    where = Where()
    if request.since is not None:
        where.walk("at >= :since", since=request.since)
    if request.until is not None:
        where.walk("at < :until", until=request.until)
    where.want("s.xid < cast(cast(:horizon as text) as xid8)", horizon=horizon)
    if request.cursor is not None:
        where.want(
            """(s.xid >= cast(cast(:cursor as text) as xid8) or exists (
                select from audit.events y
                 where y.tenant_id = s.tenant_id and y.at = s.at and y.call_id = s.call_id and y.kind =
                 'outcome' and y.xid >= cast(cast(:cursor as text) as xid8) and y.xid < cast(cast(:horizon as
                 text) as xid8)))""",
            cursor=request.cursor,
        )
    return where


def _line(row: Row, outcomes: list[Row]) -> bytes:
    """An item and, beside it, what authenticates each row it was merged from."""
    shown = item(row, latest(outcomes))
    shown["records"] = [record(r) for r in (row, *sorted(outcomes, key=lambda o: o["recorded_at"]))]
    return orjson.dumps(shown) + b"\n"

"""The gate's two round trips: admit and settle. Values in, values out; what they mean is decided elsewhere."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
import structlog

from broker.audit.events import CallFacts
from broker.audit.rows import EventRow
from broker.db import functions
from broker.db.database import Database
from broker.gate.dbclock import DatabaseClock
from connectors.base import Meter, RateHint
from connectors.errors import Sent

_log = structlog.get_logger(__name__)

GRACE_SECONDS: Final = 5
"""How much longer than the upstream's timeout a slot is booked ahead: a call is over before its booking is."""
HOLD_SECONDS_MAX: Final = 120
"""The furthest a slot can be booked ahead: the length of the ring beyond the window."""
SETTLE_SECONDS: Final = 5.0
"""How long a settle is tried before it is left to the sweeper."""

_ADMIT: Final = (
    "select * from broker.admit{v}($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22)"
)
_SETTLE: Final = "select * from broker.settle{v}($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"

CONNECTION_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # asyncpg's own state machine trips over a connection that dies under it: a lost connection all the same.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
)
_BUSY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.QueryCanceledError)


class AdmitLost(Exception):  # noqa: N818 - a fact, not a fault of ours
    """The database is away. That nothing was sent is certain; with `asked`, whether the intent was written is not."""

    def __init__(self, what: str, *, asked: bool) -> None:
        self.asked = asked
        super().__init__(what)

    return meters if len(meters) < 2 and isinstance(meters, tuple) else tuple(sorted(meters, key=lambda m: m.name))


def _seconds(milliseconds: int | None) -> int:
    return 0 if not milliseconds else -(-milliseconds // 1000)


def _read(row: Any) -> Admitted | Refused:
    if row["reason"] is not None:
        return Refused(row["reason"], row["principal"], row["meter"], (row["retry_ms"] or 0) / 1000)
    return Admitted(
        principal=row["principal"],
        credential_id=row["credential_id"],
        credential_version=row["credential_version"],
        kind=row["kind"],
        origins=tuple(row["origins"]),
        remaining=row["remaining"],
        reset_seconds=_seconds(row["reset_ms"]),
        sealed=row["sealed"],
    )

"""The audit's daily partitions: made ahead, dropped after the retention."""

from datetime import UTC, date, timedelta
from typing import Final

import structlog
from sqlalchemy import text

from broker.clock import Clock
from broker.db.database import Database

_log = structlog.get_logger(__name__)

AHEAD_DAYS: Final = 7
"""Without a partition for today no call is made, so a week of failing runs is survived."""

_ENSURE: Final = text("select audit.ensure_partitions(:first, :last)")
_DROP: Final = text("select audit.drop_partitions(:before)")


class Partitions:
    """Keeps the partitions of the coming week, and no older ones than `retention_days` (at least 1)."""

    def __init__(self, db: Database, clock: Clock, retention_days: int) -> None:
        if retention_days < 1:
            raise ValueError("the audit is kept for at least a day")
        self._db = db
        self._clock = clock
        self._retention = timedelta(days=retention_days)

    async def run(self) -> None:
        """Makes what is missing, then drops what is past. Dropping may fail while a long export reads: next
        time.
        """
        await self.ensure()
        await self.drop()

    async def ensure(self) -> int:
        """How many partitions were made. Starting calls it before anything is served."""
        today = self._today()
        async with self._db.platform() as conn:
            days = {"first": today - timedelta(days=1), "last": today + timedelta(days=AHEAD_DAYS)}
            made = int(await conn.scalar(_ENSURE, days) or 0)
        if made:
            _log.info("audit_partitions_made", count=made)
        return made

    async def drop(self) -> list[str]:
        """The partitions that were dropped: those whose every row is older than the retention."""
        async with self._db.platform() as conn:
            gone = list(await conn.scalar(_DROP, {"before": self._today() - self._retention}) or [])
        if gone:
            _log.info("audit_partitions_dropped", partitions=gone)
        return gone

    def _today(self) -> date:
        return self._clock.now().astimezone(UTC).date()

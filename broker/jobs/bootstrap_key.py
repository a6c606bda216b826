"""The bootstrap operator key is for the first day, not for ever."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from broker.clock import Clock

_log = structlog.get_logger(__name__)

TOLERATED: Final = timedelta(hours=24)


class BootstrapKeyWatch:
    """Warns while the file with the bootstrap key is older than a day."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    async def run(self) -> None:
        """One look at the file."""
        try:
            stat = await asyncio.to_thread(self._path.stat)
        except FileNotFoundError:
            return
        age = self._clock.now() - datetime.fromtimestamp(stat.st_mtime, UTC)
        if age > TOLERATED:
            _log.warning(
                "bootstrap_key_still_there",
                path=str(self._path),
                age_hours=int(age.total_seconds() // 3600),
                fix="make an operator key of your own (POST /v1/keys), delete the bootstrap key, then remove the file",
            )

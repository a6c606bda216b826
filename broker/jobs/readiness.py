"""`/readyz`: whether this process could serve a call right now."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import Clock
from broker.db import functions
from broker.db.database import Database
from broker.db.schema import CURRENT, HEAD
from vault.binding import PLATFORM
from vault.errors import VaultError
from vault.keyring import Keyring
from vault.keystore import read_key

_log = structlog.get_logger(__name__)

PATIENCE_SECONDS: Final = 3.0
FRESH_SECONDS: Final = 1.0
"""An answer serves so long: the path asks for no bearer, and must not become a way to load the database."""

OK: Final = "ok"
PARTS: Final = ("database", "migrations", "functions", "key_provider", "audit_partitions")

_FUNCTION: Final = "select exists (select from pg_proc where proname = :name and pronamespace = 'broker'::regnamespace)"
_PARTITION: Final = text("select to_regclass(:name) is not null")


@dataclass(frozen=True, slots=True)
class Report:
    """How each part is: `ok`, or what is wrong in a few words that name no host, user or key."""

    checks: Mapping[str, str]

    @property
    def failing(self) -> list[str]:
        """The parts that are not `ok`."""
        return [name for name, state in self.checks.items() if state != OK]

    @property
    def ready(self) -> bool:
        """Whether every part is `ok`."""
        return not self.failing


class Readiness:
    """Looks at each part in one transaction of the app's role. At most one look at a time."""

    def __init__(self, db: Database, keyring: Keyring, clock: Clock) -> None:
        self._db = db
        self._keyring = keyring
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last: tuple[float, Report] | None = None

    async def check(self) -> Report:
        """The state, at most a second old."""
        async with self._lock:
            if self._last is not None and time.monotonic() - self._last[0] < FRESH_SECONDS:
                return self._last[1]
            report = await self._look()
            self._last = (time.monotonic(), report)
            return report

    async def _look(self) -> Report:
        checks = dict.fromkeys(PARTS, "not checked")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._db.platform() as conn:
                checks["database"] = OK
                checks["migrations"] = await self._migrations(conn)
                checks["functions"] = await self._functions(conn)
                checks["audit_partitions"] = await self._partitions(conn)
                checks["key_provider"] = await self._key_provider(conn)
        except TimeoutError:
            checks["database"] = f"no answer within {PATIENCE_SECONDS:g} s"
        except Exception:  # noqa: BLE001 - reported and logged
            # A probe reports whatever is wrong; the log has the details, which may name hosts and users.
            _log.exception("readiness")
            failed = next((name for name, state in checks.items() if state != OK), "database")
            checks[failed] = "failed; see the log"
        return Report(checks)

    @staticmethod
    async def _migrations(conn: AsyncConnection) -> str:
        current = str(await conn.scalar(text(CURRENT)))
        # Revisions are numbered: a later one was brought by a newer release, beside which this one may serve.
        return OK if current >= HEAD else f"at {current}, need {HEAD}"

    @staticmethod
    async def _functions(conn: AsyncConnection) -> str:
        found = await conn.scalar(text(_FUNCTION), {"name": f"record{functions.suffix()}"})
        return OK if found else "those of this version are not installed"

    async def _partitions(self, conn: AsyncConnection) -> str:
        today = self._clock.now().astimezone(UTC).date()
        for day in (today, today + timedelta(days=1)):
            if not await conn.scalar(_PARTITION, {"name": f"audit.events_{day:%Y%m%d}"}):
                return f"none for {day.isoformat()}"
        return OK

    async def _key_provider(self, conn: AsyncConnection) -> str:
        try:
            await self._keyring.open_stored(await read_key(conn, PLATFORM, "evidence", None))
        except VaultError as error:
            return f"cannot open the platform key ({type(error).__name__})"
        return OK

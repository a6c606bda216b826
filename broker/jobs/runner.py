"""Periodic jobs under supervision."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import text

from broker.db.database import Database
from broker.metrics import Metrics

_log = structlog.get_logger(__name__)

JITTER: Final = 0.1
FIRST_RETRY_SECONDS: Final = 1.0

# Held by the transaction: a process that dies lets go of it.
_LEAD: Final = text("select pg_try_advisory_xact_lock(hashtextextended('keyreeve.job.' || :name, 0))")


@dataclass(frozen=True, slots=True)
class Job:
    """`run` every `seconds` (± 10 %, so that processes do not march in step), first at once or after one
    interval.

    `alone`: never in two processes at a time; one that finds it running skips its turn. `deadline` in
    seconds.
    """

    name: str
    seconds: float
    run: Callable[[], Awaitable[object]]
    alone: bool = False
    at_once: bool = True
    deadline: float = 60.0


class Runner:
    """Runs jobs until it is told to stop."""

    def __init__(self, db: Database, metrics: Metrics, jobs: Sequence[Job]) -> None:
        self._db = db
        self._metrics = metrics
        self._jobs = tuple(jobs)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The jobs run for as long as the block lasts; on leaving they are cancelled and awaited."""
        supervisor = asyncio.create_task(self._supervise(), name="jobs")
        try:
            yield
        finally:
            supervisor.cancel()
            await asyncio.wait([supervisor])

    async def once(self, name: str) -> bool:
        """Runs one job now; whether it went well. For tests and commands."""
        return await self._attempt(next(job for job in self._jobs if job.name == name))

    async def _supervise(self) -> None:
        async with asyncio.TaskGroup() as group:
            for job in self._jobs:
                group.create_task(self._forever(job), name=f"job {job.name}")

    async def _forever(self, job: Job) -> None:
        if not job.at_once:
            await asyncio.sleep(_spread(job.seconds))
        failures = 0
        while True:
            failures = 0 if await self._attempt(job) else failures + 1
            pause = job.seconds
            if failures:
                pause = min(job.seconds, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
            await asyncio.sleep(_spread(pause))

    async def _attempt(self, job: Job) -> bool:
        try:
            async with asyncio.timeout(job.deadline):
                await (self._alone(job) if job.alone else job.run())
        except Exception:  # noqa: BLE001 - logged and counted
            # Whatever it was, the next run may do better, and the other jobs go on.
            _log.exception("job_failed", job=job.name)
            self._metrics.job(job.name, ok=False)
            return False
        self._metrics.job(job.name, ok=True)
        return True

    async def _alone(self, job: Job) -> None:
        async with self._db.platform() as conn:
            if await conn.scalar(_LEAD, {"name": job.name}):
                await job.run()


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreading load, not guarding anything

"""That a program is on record before its first write: its text, and that its execution has begun."""

import asyncio
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from broker.tools.codemode.keeping import Begun, Keeping

_log = structlog.get_logger(__name__)

_WRITING: Final = re.compile(r"\b(?:POST|PUT|PATCH|DELETE)\b", re.IGNORECASE)


def may_write(code: str) -> bool:
    """Whether the text names a method that writes. A guess, which costs time where it is wrong and nothing else."""
    return _WRITING.search(code) is not None


class OnRecord:
    """The text of one program, made durable once. Awaited before each write; begun earlier, it costs the first write
    no time."""

    def __init__(
        self,
        keeping: Keeping,
        tenant_id: UUID,
        execution_id: UUID,
        at: datetime,
        code: str,
        begun: Callable[[], Begun] | None = None,
    ) -> None:
        self._keeping = keeping
        self._what = tenant_id, execution_id, at, code
        self._begun = begun
        self._work: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begins to write it down."""
        if self._work is None:
            begun = None if self._begun is None else self._begun()
            self._work = asyncio.create_task(self._keeping.keep_code(*self._what, begun))
            self._work.add_done_callback(_looked_at)

    async def __call__(self) -> None:
        """Waits until it is durable; begins again where that failed before. Raises Problem `unavailable`."""
        if self._work is not None and self._work.done() and _failed(self._work):
            self._work = None
        self.begin()
        assert self._work is not None  # noqa: S101 - begun
        await asyncio.shield(self._work)

    async def settled(self) -> None:
        """Waits until nothing of it is under way: what is written after the end would say that it is open still."""
        if self._work is not None:
            await asyncio.wait([self._work])

    async def withdraw(self) -> None:
        """The program was refused before it made a request: it is open no more."""
        await self.settled()
        if self.durable:
            tenant_id, execution_id, *_ = self._what
            await self._keeping.withdraw(tenant_id, execution_id)

    @property
    def durable(self) -> bool:
        """Whether it is written down."""
        return self._work is not None and self._work.done() and not _failed(self._work)


def _failed(work: asyncio.Task[None]) -> bool:
    return work.cancelled() or work.exception() is not None


def _looked_at(work: asyncio.Task[None]) -> None:
    """A failure is told to whoever waits; where nobody does, the program is written down with its end."""
    if _failed(work):
        _log.warning("program_not_recorded", error="cancelled" if work.cancelled() else type(work.exception()).__name__)

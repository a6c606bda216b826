"""Queueing for budget: one line for each identity on each upstream principal, first come first served.

Only the head of a line tries again, at the second the ring said; nobody holds a database connection meanwhile.
Between identities it is the budget's own fair shares that decide (budget.sql), so a long line delays itself only.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from uuid import UUID

Key = tuple[bytes, UUID]


class Lines:
    """One per process. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._lines: dict[Key, deque[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    @asynccontextmanager
    async def turn(self, principal: bytes, sharer: UUID, until: float) -> AsyncIterator[None]:
        """Waits to become the head of the line. Raises TimeoutError when `until` comes first."""
        key = (principal, sharer)
        line = self._lines.setdefault(key, deque())
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(mine)
        if line[0] is mine:
            mine.set_result(None)
        try:
            async with asyncio.timeout(max(0.0, until - monotonic())):
                await mine
            yield
        finally:
            was_head = line[0] is mine
            line.remove(mine)
            if not line:
                del self._lines[key]
            elif was_head and not line[0].done():
                line[0].set_result(None)

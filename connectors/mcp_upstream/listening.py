"""The stream on which an older server asks outside of any request (2025-11-25, basic/transports, "Listening for
Messages from the Server").

Which call a server's question there belongs to, it does not say. The stream is open only while calls of one client are
under way in a session that no other client shares, and the latest of them is asked.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from connectors.base import Json
from connectors.errors import ConnectorError
from connectors.mcp_upstream.line import Headers, Line
from connectors.mcp_upstream.streams import AnswerWatch, Asked

OPEN_SECONDS: Final = 3.0
"""How long a call waits for the stream to be open: what a server asks before that, it may ask nobody."""
AGAIN_SECONDS: Final = 1.0
LEAST_AGAIN: Final = 0.1


class Listening:
    """One session's."""

    def __init__(self) -> None:
        self._calls: list[tuple[Line, Asked]] = []
        self._stream: _Stream | None = None

    @contextlib.asynccontextmanager
    async def during(self, line: Line, headers: Headers, asked: Asked) -> AsyncIterator[None]:
        """Has the server heard while a call over `line` is under way. A server may offer no such stream; whether it
        does changes nothing else."""
        mine = (line, asked)
        self._calls.append(mine)
        try:
            if self._stream is None:
                self._stream = _Stream(self._calls, headers)
            await self._stream.opened()
            yield
        finally:
            self._calls.remove(mine)
            if not self._calls and self._stream is not None:
                stream, self._stream = self._stream, None
                await stream.close()


class _Stream:
    """Asked for again whenever it ends, until it is closed, or the server turns out to have none. The bounds of a
    stream (`streams`) are over all that comes until then."""

    def __init__(self, calls: Sequence[tuple[Line, Asked]], headers: Headers) -> None:
        self._calls = calls
        self._headers = headers
        self._settled = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def opened(self) -> None:
        """Returns once it is open, or is not going to be."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                await self._settled.wait()

    async def close(self) -> None:
        """Hangs up."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        watch = _Watch(self._take, self._settled)
        try:
            while self._calls:
                line, _ = self._calls[-1]
                watch.streamed = False
                with contextlib.suppress(ConnectorError):
                    await line.get(self._headers, watch)
                if not watch.streamed or watch.broken:
                    return
                await asyncio.sleep(AGAIN_SECONDS if watch.retry is None else max(watch.retry / 1_000, LEAST_AGAIN))
        finally:
            self._settled.set()

    def _take(self, message: Mapping[str, Json]) -> None:
        if self._calls:
            _, asked = self._calls[-1]
            asked(message)


class _Watch(AnswerWatch):
    """Says when the stream is open."""

    def __init__(self, asked: Asked, settled: asyncio.Event) -> None:
        super().__init__(None, asked=asked)
        self._settled = settled
        self.streamed = False

    def begins(self, status: int, headers: Mapping[str, str]) -> bool:
        self.streamed = super().begins(status, headers)
        if self.streamed:
            self._settled.set()
        return self.streamed

"""An answer that is watched: what comes behind it."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from connectors.http import _watch


class Body:
    """One piece, and then what `breaks` says."""

    def __init__(self, breaks: Exception) -> None:
        self._breaks = breaks

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield b"answer"

    async def readany(self) -> bytes:
        raise self._breaks

    def at_eof(self) -> bool:
        return False


class Enough:
    """Wants one piece, or more than there is."""

    def __init__(self, *, enough: bool) -> None:
        self._enough = enough
        self.fed = b""

    def begins(self, *_: Any) -> bool:
        return True

    def feed(self, piece: bytes) -> bool:
        self.fed += piece
        return self._enough


@pytest.mark.parametrize("breaks", [aiohttp.ClientPayloadError("cut"), ConnectionResetError(), TimeoutError()])
async def test_a_connection_that_breaks_after_the_answer_takes_nothing_back(breaks: Exception) -> None:
    """A caller who is told that what was done was not does it twice."""
    closed: list[bool] = []
    response: Any = SimpleNamespace(content=Body(breaks), close=lambda: closed.append(True))
    watch = Enough(enough=True)
    await _watch(response, 100, watch)
    assert watch.fed == b"answer"
    assert closed == [True], "and nothing more is asked on it"

"""A worker ends with its parent, however the channel between them ends."""

import asyncio
from typing import Any

import pytest

from broker.server import worker


class Ended(BaseException):
    """Instead of the process's end."""


@pytest.mark.parametrize("how", [b"", ConnectionResetError()], ids=["closed", "reset"])
async def test_the_end_of_the_channel_is_the_end(monkeypatch: pytest.MonkeyPatch, how: Any) -> None:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr("os._exit", end)
    reader = asyncio.StreamReader()
    if isinstance(how, Exception):
        reader.set_exception(how)
    else:
        reader.feed_eof()
    with pytest.raises(Ended) as ended:
        await worker._end_with_parent(reader)
    assert ended.value.args == (worker.ORPHANED,)

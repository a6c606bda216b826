"""An answer as a stream of events (WHATWG HTML § 9.2), for a client that waits; every write is bounded in time."""

import asyncio
from typing import Final

from broker.endpoints.rest.bounds import Message, Receive, Send

SEND_SECONDS: Final = 10.0
"""How long one event may take to leave: who reads no more than that holds a stream for nothing."""

_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Stuck(TimeoutError):
    """A stream that has begun cannot be brought to its end: only closing the connection tells the client."""


class Stream:
    """One stream. Every method raises Stuck where the client does not read."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def message(self, message: bytes) -> None:
        """One JSON-RPC message as an event."""
        await self._write(b"event: message\ndata: " + message + b"\n\n")

    async def comment(self) -> None:
        """A sign of life, which no client shows."""
        await self._write(b":\n\n")

    async def end(self) -> None:
        """The end."""
        await self._put({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, content: bytes) -> None:
        if not self.started:
            self.started = True
            await self._put({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await self._put({"type": "http.response.body", "body": content, "more_body": True})

    async def _put(self, message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send(message)
        except TimeoutError:
            raise Stuck("the client does not read") from None


async def until_gone(receive: Receive) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass

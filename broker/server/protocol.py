"""HTTP/1.1 as uvicorn speaks it, with bounds on what is no body: how long a head may be, and how long it may take.

uvicorn leaves both to a proxy in front. Without them anybody who can connect, with no key at all, makes the parser keep
an endless header in memory, or holds every connection that the server has room for by never finishing one.
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.server.gathering import Gathering

SILENT_BYTES: Final = 64 * 1024
"""Of a head or of a trailer, beside the piece in which it began: nothing of them reaches the application meanwhile."""
HEAD_SECONDS: Final = 20.0
"""From connecting, from a request's first byte, or from what comes before one (an empty line, the rest of a body that
was answered already), to the end of its headers."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. It ends without an answer when a head is too long or too slow: nobody honest is at its end.

    Trailers are read and dropped: what stands behind a body was not there when the request was judged.
    """

    _in_head = False
    _in_message = False
    _heard = False
    _silent = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Waits for the first request."""
        super().connection_made(cast(asyncio.Transport, Gathering(transport, self.loop)))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts what comes without being anything yet."""
        self._heard = False
        super().data_received(data)
        self._silent = self._silent + len(data) if self._in_message and not self._heard else 0
        if self._silent > SILENT_BYTES:
            self._give_up()
        elif self._timer is None and self._idle:
            # What ends uvicorn's own wait for the next request and begins none: an empty line, or a body's rest that
            # comes after the answer.
            self._await_head()

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = self._in_message = self._heard = True
        self._await_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; a trailer is dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._heard = True
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._heard = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_message = False
        super().on_message_complete()

    def _await_head(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._stop_waiting()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

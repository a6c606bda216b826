"""Event streams read as they come: until the one message that answers the request, and not a byte longer.

A server may leave its stream open after the answer, or send notifications for minutes before it. What it tells before
the answer is handed to whoever listens in the call's own context (`LISTENER`); what comes after it is not read.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final

import orjson

from connectors.base import Json
from connectors.errors import UpstreamUnreachable

MAX_EVENTS: Final = 10_000

Heard = Callable[[Mapping[str, Json]], None]
"""Told each notification of a server (a whole JSON-RPC message, cleaned like an answer), in order, before the answer.
It must not wait and must not raise."""

LISTENER: Final[ContextVar[Heard | None]] = ContextVar("keyreeve_mcp_listener", default=None)
"""Set by whoever makes a call and wants what the server tells meanwhile. The connector reads it when it sends, in the
same task."""

_LINES = re.compile(rb"\r\n|\r|\n")
_BOM: Final = b"\xef\xbb\xbf"


class Events:
    """The `data` of each event of a stream (WHATWG HTML § 9.2.6), given in pieces cut anywhere. An event that no empty
    line ends is none. Its caller bounds the bytes; the events are bounded here."""

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._data: list[bytes] = []
        self._returned = False
        self._begun = False
        self._seen = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The events that `piece` completes. Raises UpstreamUnreachable past `MAX_EVENTS`."""
        if self._returned and piece.startswith(b"\n"):
            piece = piece[1:]  # the second half of a \r\n
            self._returned = False
        if not piece:
            return
        self._returned = piece.endswith(b"\r")
        lines = _LINES.split(piece)
        self._partial.append(lines[0])
        if len(lines) == 1:
            return
        lines[0] = b"".join(self._partial)
        self._partial = [lines.pop()]
        for line in lines:
            if not self._begun:
                self._begun, line = True, line.removeprefix(_BOM)
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                joined, self._data = b"\n".join(self._data), []
                self._seen += 1
                if self._seen > MAX_EVENTS:
                    raise UpstreamUnreachable("the server's event stream has too many events", sent=True)
                if joined:
                    yield joined


class AnswerWatch:
    """Implements `connectors.base.Watch` for the answer to one request. `answer` is its message, once it has come."""

    def __init__(self, id_: int | None, heard: Heard | None = None) -> None:
        self._id = id_
        self._heard = heard
        self._events = Events()
        self.answer: bytes | None = None

    def begins(self, status: int, headers: Mapping[str, str]) -> bool:
        """Only an event stream is watched; anything else is read whole."""
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        return self._id is not None and status < 300 and media == "text/event-stream"

    def feed(self, piece: bytes) -> bool:
        """Whether the answer has come. Raises UpstreamUnreachable for what is no JSON."""
        for event in self._events.feed(piece):
            message = _decoded(event)
            if not isinstance(message, dict):
                continue
            if "method" not in message and answers(message, self._id):
                self.answer = event
                return True
            # A request of the server's (it has an id) is neither answered nor passed on.
            if self._heard is not None and "id" not in message and isinstance(message.get("method"), str):
                self._heard(message)
        return False


def answers(message: Mapping[str, Any], id_: int | None) -> bool:
    """Whether a response is to the request of this very id: an integer, no text or float that looks like it."""
    given = message.get("id")
    return type(given) is int and given == id_


def _decoded(event: bytes) -> Json:
    try:
        return orjson.loads(event)
    except orjson.JSONDecodeError:
        raise UpstreamUnreachable("the server answered with malformed JSON", sent=True) from None

"""Event streams read as they come: until the one message that answers the request, and not a byte longer.

A server may leave its stream open after the answer, or send notifications for minutes before it. What it tells before
the answer is handed to whoever listens in the call's own context (`LISTENER`); what comes after it is not read. A
stream may also end before the answer: an older server then says where it can be taken up again (`dialogue`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final

import orjson

from connectors.base import Json
from connectors.errors import ResponseTooLarge, UpstreamFault, UpstreamUnreachable

MAX_ANSWER: Final = 8 * 1024 * 1024  # bytes, after decompression
MAX_EVENTS: Final = 10_000
"""Both of one request, over all the streams that its answer comes in."""

Heard = Callable[[Mapping[str, Json]], None]
"""Told each notification of a server (a whole JSON-RPC message, cleaned like an answer), in order, before the answer.
It must not wait and must not raise."""

LISTENER: Final[ContextVar[Heard | None]] = ContextVar("keyreeve_mcp_listener", default=None)
"""Set by whoever makes a call and wants what the server tells meanwhile. The connector reads it when it sends, in the
same task."""

Asked = Callable[[Mapping[str, Json]], None]
"""Told each request of a server's own (a whole JSON-RPC message), in order, before the answer. It must not wait and
must not raise."""

_LINES = re.compile(rb"\r\n|\r|\n")
_BOM: Final = b"\xef\xbb\xbf"
_EVENT_ID = re.compile(rb"[\x21-\x7e]{1,1024}")
_RETRY = re.compile(rb"[0-9]{1,7}")


class Events:
    """The `data` of each event of a stream (WHATWG HTML § 9.2.6), given in pieces cut anywhere. An event that no empty
    line ends is none. Its caller bounds the bytes; the events are bounded here.

    `last_id` is what a `Last-Event-ID` may say, None where no event had an id that a header can carry; `retry` is how
    many milliseconds to wait before a stream that ended is asked for again, None where the server did not say.
    """

    def __init__(self) -> None:
        self.last_id: str | None = None
        self.retry: int | None = None
        self._seen = 0
        self.restart()

    def restart(self) -> None:
        """What comes next is the beginning of another stream of the same events."""
        self._partial: list[bytes] = []
        self._data: list[bytes] = []
        self._id: str | None = self.last_id
        self._returned = False
        self._begun = False

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
            elif line:
                self._field(line)
            else:
                self.last_id = self._id
                if self._data:
                    joined, self._data = b"\n".join(self._data), []
                    self._seen += 1
                    if self._seen > MAX_EVENTS:
                        raise UpstreamUnreachable("the server's event stream has too many events", sent=True)
                    if joined:
                        yield joined

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"id":
            self._id = value.decode() if _EVENT_ID.fullmatch(value) is not None else None
        elif name == b"retry" and _RETRY.fullmatch(value) is not None:
            self.retry = int(value)


class AnswerWatch:
    """Implements `connectors.base.Watch` for the answer to one request. `answer` is its message, once it has come;
    without an id there is none, and the stream is read to its end. `broken`: what came was no JSON, or too much."""

    def __init__(self, id_: int | None, heard: Heard | None = None, asked: Asked | None = None) -> None:
        self._id = id_
        self._heard = heard
        self._asked = asked
        self._events = Events()
        self._size = 0
        self.broken = False
        self.answer: bytes | None = None

    @property
    def resumes_at(self) -> str | None:
        """The event after which a stream that ended without the answer goes on; None where it does not."""
        return self._events.last_id if self.answer is None and not self.broken else None

    @property
    def retry(self) -> int | None:
        """Milliseconds that the server wants waited before that."""
        return self._events.retry

    def begins(self, status: int, headers: Mapping[str, str]) -> bool:
        """Only an event stream is watched; anything else is read whole."""
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        streamed = status < 300 and media == "text/event-stream"
        if streamed:
            self._events.restart()
        return streamed

    def feed(self, piece: bytes) -> bool:
        """Whether the answer has come. Raises UpstreamFault for what is no JSON, and for too much of it: such a stream
        never goes on."""
        self._size += len(piece)
        try:
            if self._size > MAX_ANSWER:
                raise ResponseTooLarge(MAX_ANSWER)
            return any(self._ends(event) for event in self._events.feed(piece))
        except UpstreamFault:
            self.broken = True
            raise

    def _ends(self, event: bytes) -> bool:
        message = _decoded(event)
        if not isinstance(message, dict):
            return False
        if not isinstance(message.get("method"), str):
            if "method" in message or not answers(message, self._id):
                return False
            self.answer = event
            return True
        told = self._asked if "id" in message else self._heard
        if told is not None:
            told(message)
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

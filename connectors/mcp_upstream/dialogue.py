"""One request to a server before 2026-07-28, and all that passes until its answer has come.

Such a server may ask its client for something while the request runs (2025-11-25, client/*): what it asks goes to the
caller's own client where that said it can be asked (`rounds`), and is refused otherwise. And it may end its stream
before the answer, to be asked for the rest later (2025-11-25, basic/transports, "Resumability and Redelivery"): that is
done here, so that a call whose connection was lost does not end as `unknown` where the server can still tell.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final

import orjson

from connectors.base import Json, RawAnswer
from connectors.errors import ConnectorError, EgressRefused, UpstreamTimeout, UpstreamUnreachable
from connectors.mcp_upstream.line import Headers, Line
from connectors.mcp_upstream.listening import Listening
from connectors.mcp_upstream.rounds import MAX_ASKED, MAX_REQUESTS, TOO_MUCH, Round, request_of
from connectors.mcp_upstream.streams import AnswerWatch, Heard

MAX_RESUMES: Final = 100
LEAST_RETRY: Final = 0.1
USUAL_RETRY: Final = 1.0
"""Seconds before a stream that ended is asked for again: at least, and where the server does not say."""

MAX_ID: Final = 200
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INTERNAL_ERROR: Final = -32603

Clean = Callable[[Mapping[str, Json]], Mapping[str, Json]]
"""Takes the credential out of what a server says."""


async def ask(
    headers: Headers,
    body: bytes,
    id_: int,
    listening: Listening,
    *,
    line: Line,
    heard: Heard | None,
    clean: Clean,
    round_: Round | None,
) -> RawAnswer:
    """Sends the request, and reads on until its answer. Raises UpstreamFault, EgressRefused."""
    async with AsyncExitStack() as held:
        questions = await held.enter_async_context(_Questions(line, headers, clean, round_))
        if round_ is not None and round_.passed:
            stream = (*_bare(headers), ("Accept", "text/event-stream"))
            await held.enter_async_context(listening.during(line, stream, questions.take))
        watch = AnswerWatch(id_, heard, questions.take)
        try:
            raw = await line.post(headers, body, watch)
        except UpstreamUnreachable:
            if watch.resumes_at is None:
                raise
            return await _resumed(line, headers, watch)
        return raw if watch.resumes_at is None else await _resumed(line, headers, watch)


async def _resumed(line: Line, headers: Headers, watch: AnswerWatch) -> RawAnswer:
    """The answer, of a stream that ended before it. Raises UpstreamFault where the server does not go on: the call was
    sent, whatever became of the request for its stream."""
    for _ in range(MAX_RESUMES):
        last = watch.resumes_at
        if last is None:
            break
        wait = USUAL_RETRY if watch.retry is None else max(watch.retry / 1_000, LEAST_RETRY)
        if wait >= line.left():
            raise UpstreamTimeout("the server ended its stream and wants to be asked again too late", sent="unknown")
        await asyncio.sleep(wait)
        again = (*_bare(headers), ("Accept", "text/event-stream"), ("Last-Event-ID", last))
        try:
            raw = await line.get(again, watch)
        except UpstreamUnreachable:
            if watch.resumes_at is None:
                raise
            continue
        except (UpstreamTimeout, EgressRefused) as fault:
            kind = UpstreamTimeout if isinstance(fault, UpstreamTimeout) else UpstreamUnreachable
            raise kind(f"the server ended its stream before the answer: {fault}", sent="unknown") from None
        if watch.answer is not None:
            return raw
        if not watch.begins(raw.status, raw.headers):
            break
    raise UpstreamUnreachable("the server ended its stream before the answer, and did not go on", sent="unknown")


def _bare(headers: Headers) -> Headers:
    """What a GET of the session has of a message's headers."""
    return tuple((name, value) for name, value in headers if name not in ("Content-Type", "Accept"))


class _Questions:
    """The server's own requests during one call. Each is answered in a task of its own; they end with the call."""

    def __init__(self, line: Line, headers: Headers, clean: Clean, round_: Round | None) -> None:
        self._line = line
        self._headers = headers
        self._clean = clean
        self._round = round_
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "_Questions":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self, message: Mapping[str, Json]) -> None:
        """A request of the server's. One too many is not answered, nor is one whose id nobody could repeat."""
        id_ = message["id"]
        usable = isinstance(id_, str | int) and not isinstance(id_, bool) and len(str(id_)) <= MAX_ID
        if usable and len(self._tasks) < MAX_REQUESTS:
            self._tasks.append(asyncio.create_task(self._answer(id_, message)))

    async def _answer(self, id_: Json, message: Mapping[str, Json]) -> None:
        answer = {"jsonrpc": "2.0", "id": id_, **await self._reply(message)}
        # Whether the server took it shows with the answer to the call.
        with contextlib.suppress(ConnectorError):
            await self._line.tell(self._headers, orjson.dumps(answer))

    async def _reply(self, message: Mapping[str, Json]) -> Mapping[str, Any]:
        if message["method"] == "ping":
            return {"result": {}}
        round_ = self._round
        if round_ is None or round_.put is None or not round_.passed:
            return _error(METHOD_NOT_FOUND, "this client answers no such request")
        if len(orjson.dumps(message)) > MAX_ASKED:
            return _error(INVALID_REQUEST, TOO_MUCH)
        asked = request_of(round_, self._clean(message))
        if isinstance(asked, str):
            return _error(INVALID_REQUEST, asked)
        found = await round_.put(asked)
        return _error(INTERNAL_ERROR, "the client gave no answer") if found is None else {"result": found}


def _error(code: int, message: str) -> Mapping[str, Any]:
    return {"error": {"code": code, "message": message}}

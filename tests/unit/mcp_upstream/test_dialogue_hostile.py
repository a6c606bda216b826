"""An older server that means harm while a call is under way."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import pytest

from connectors.base import RawAnswer
from connectors.errors import ConnectorError, EgressRefused, UpstreamFault, UpstreamTimeout
from connectors.mcp_upstream import dialogue, listening
from connectors.mcp_upstream.line import MAX_TOLD
from connectors.mcp_upstream.listening import Listening
from connectors.mcp_upstream.rounds import MAX_ASKED, Round, asked
from connectors.mcp_upstream.streams import MAX_EVENTS, AnswerWatch
from tests.unit.mcp_upstream.test_wire import line_to

STREAM = {"content-type": "text/event-stream"}
DONE = b'data: {"jsonrpc":"2.0","id":2,"result":{}}\n\n'
FORMS: dict[str, Any] = {"elicitation": {"form": {}}}


class Server:
    """Plays an `on_call` for the request itself and an `on_get` for each stream asked for; takes every answer."""

    def __init__(
        self,
        on_call: Callable[[AnswerWatch], Awaitable[None]],
        on_get: Callable[[AnswerWatch], Awaitable[None]] | None = None,
    ) -> None:
        self.on_call = on_call
        self.on_get = on_get
        self.gets = 0
        self.answers: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.bounds: list[int] = []

    async def send(
        self, *, method: str, body: bytes | None, watch: AnswerWatch | None, max_response_bytes: int, **_: Any
    ) -> RawAnswer:
        if watch is None:
            self.bounds.append(max_response_bytes)
            self.answers.put_nowait(orjson.loads(body or b""))
            return RawAnswer(202, {}, b"")
        if method == "GET":
            self.gets += 1
        plays = self.on_call if method == "POST" else self.on_get
        if plays is None:
            return RawAnswer(405, {}, b"")
        watch.begins(200, STREAM)
        await plays(watch)
        return RawAnswer(200, STREAM, b"")


async def call(server: Server, round_: Round | None = None) -> RawAnswer:
    return await dialogue.ask(
        (), b"{}", 2, Listening(), line=line_to(server), heard=None, clean=lambda message: message, round_=round_
    )


def client(seen: list[Any]) -> Round:
    async def put(request: Mapping[str, Any]) -> Mapping[str, Any]:
        seen.append(request)
        return {"action": "decline"}

    return Round("up_t", FORMS, put=put, client="priya:1", passed=FORMS)


def question(**params: Any) -> bytes:
    told = {"id": "q", "method": "elicitation/create", "params": params}
    return b"data: " + orjson.dumps({"jsonrpc": "2.0", **told}) + b"\n\n"


@pytest.mark.parametrize(
    "fault",
    [
        UpstreamTimeout("no connection could be made in time", sent=False),
        UpstreamTimeout("no time was left for the request", sent=False),
        EgressRefused("address", "The name leads inside now."),
    ],
)
async def test_a_call_that_was_sent_is_never_told_as_unsent(fault: ConnectorError) -> None:
    """Whoever reads `sent` False may send a write again."""

    async def on_call(watch: AnswerWatch) -> None:
        watch.feed(b"id: e1\nretry: 1\ndata:\n\n")

    async def on_get(_: AnswerWatch) -> None:
        raise fault

    with pytest.raises(UpstreamFault) as caught:
        await call(Server(on_call, on_get))
    assert caught.value.sent == "unknown"


@pytest.mark.parametrize("flood", [b"data: {}\n\n" * (MAX_EVENTS + 1), b"data: {}\n\n" * (MAX_EVENTS // 2)])
async def test_the_stream_beside_the_call_is_bounded_over_all_its_parts(
    flood: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "AGAIN_SECONDS", 0)

    async def on_get(watch: AnswerWatch) -> None:
        watch.feed(flood)

    async def on_call(watch: AnswerWatch) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        watch.feed(DONE)

    server = Server(on_call, on_get)
    assert (await call(server, client([]))).body == DONE[6:-2]
    assert server.gets <= 3


async def test_a_question_too_large_for_a_client_is_refused_unread() -> None:
    async def on_call(watch: AnswerWatch) -> None:
        watch.feed(question(message="Who?", requestedSchema={"type": "object", "description": "x" * MAX_ASKED}))
        assert (await server.answers.get())["error"]["code"] == dialogue.INVALID_REQUEST
        watch.feed(DONE)

    server, seen = Server(on_call), list[Any]()
    await call(server, client(seen))
    assert seen == []


def test_so_is_one_of_a_server_of_today() -> None:
    round_ = client([])
    large = {"method": "elicitation/create", "params": {"requestedSchema": {"x": "password" * MAX_ASKED}}}
    assert asked(round_, {"inputRequests": {"q": large}}) == "the server asks for more than can be passed on"


async def test_little_is_read_of_what_comes_back_for_an_answer() -> None:
    async def on_call(watch: AnswerWatch) -> None:
        watch.feed(question(message="Who?", requestedSchema={"type": "object"}))
        assert (await server.answers.get())["result"] == {"action": "decline"}
        watch.feed(DONE)

    server = Server(on_call)
    await call(server, client([]))
    assert server.bounds == [MAX_TOLD]

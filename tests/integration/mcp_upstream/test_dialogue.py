"""Older servers that ask while a call runs, and that end a stream before its answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from connectors.base import Answer
from connectors.errors import UpstreamFault
from connectors.mcp_upstream.config import check_config
from connectors.mcp_upstream.connector import McpConnector
from connectors.mcp_upstream.definitions import Pinned, read
from connectors.mcp_upstream.dialogue import MAX_RESUMES
from connectors.mcp_upstream.rounds import MAX_REQUESTS, ROUND, Round
from tests.integration.connectors.upstream import client, upstream
from vault.secret import Secret

Json = dict[str, Any]

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDED = b"0\r\n\r\n"
FORM = {"type": "object", "properties": {"name": {"type": "string", "default": "Ada"}}}
DONE: Json = {"content": [{"type": "text", "text": "done"}]}
ELICITS: Json = {"elicitation": {"form": {}}}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(message: Json | None, *, id_: str | None = None, retry: int | None = None) -> bytes:
    lines = [] if id_ is None else [f"id: {id_}"]
    lines += [] if retry is None else [f"retry: {retry}"]
    data = b"" if message is None else orjson.dumps({"jsonrpc": "2.0", **message})
    return chunk("".join(f"{line}\n" for line in lines).encode() + b"data: " + data + b"\n\n")


@dataclass
class Exchange:
    """One request that reached the server."""

    method: str
    headers: dict[str, str]
    message: Json
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def result(self, result: Json = DONE) -> None:
        await self.write(STREAM + event({"id": self.message["id"], "result": result}) + ENDED)


Behaviour = Callable[[Exchange], Awaitable[None]]


@dataclass
class Server:
    """A server of 2025-11-25 whose `tools/call` and GET behave as told."""

    on_call: Behaviour
    on_get: Behaviour | None = None
    origin: str = ""
    handshakes: list[Json] = field(default_factory=list)
    calls: list[Exchange] = field(default_factory=list)
    gets: list[Exchange] = field(default_factory=list)
    answers: "asyncio.Queue[Json]" = field(default_factory=asyncio.Queue)

    async def handle(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        exchange = Exchange(lines[0].split()[0], headers, orjson.loads(body) if body else {}, reader, writer)
        if exchange.method == "GET":
            self.gets.append(exchange)
            if self.on_get is None:
                await exchange.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            else:
                await self.on_get(exchange)
        elif exchange.message.get("method") == "initialize":
            self.handshakes.append(exchange.message["params"]["capabilities"])
            found = {"id": exchange.message["id"], "result": {"protocolVersion": "2025-11-25"}}
            session = f"Mcp-Session-Id: s{len(self.handshakes)}\r\n".encode()
            head = STREAM.replace(b"\r\n\r\n", b"\r\n" + session + b"\r\n")
            await exchange.write(head + event(found) + ENDED)
        elif exchange.message.get("method") == "tools/call":
            self.calls.append(exchange)
            await self.on_call(exchange)
        else:
            if "method" not in exchange.message:
                self.answers.put_nowait(exchange.message)
            await exchange.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Callable[..., Awaitable[Answer]]]:
    """A way to call the server's one tool."""

    async with upstream(server.handle) as running, client(running.origin.removeprefix("http://")) as http:
        server.origin = running.origin
        connector = McpConnector()

        async def call(round_: Round | None = None, *, seconds: float = 30.0, config: Json | None = None) -> Answer:
            view: Any = View(
                check_config({"url": f"{running.origin}/mcp", "asks_while_waiting": True, **(config or {})})
            )
            if round_ is not None:
                ROUND.set(round_)
            prepared = connector.prepare(view, "up_t", {})
            return await connector.send(
                http,
                prepared,
                "bearer",
                Secret(b"secret-token"),
                allowed_origins=(running.origin,),
                timeout_seconds=seconds,
            )

        yield call


class View:
    """A connection to a server with one tool."""

    name = "up"

    def __init__(self, config: Any) -> None:
        self.config = config
        self.spec = Pinned(read("2025-11-25", [{"name": "t", "inputSchema": {"type": "object"}}]))


def accepting(asked: list[Any]) -> Round:
    """A client that accepts every form, and keeps what it was asked."""

    async def put(request: Any) -> Json:
        asked.append(request)
        return {"action": "accept", "content": {"name": "Ada"}}

    return Round("up_t", ELICITS, put=put, client="priya:1")


def elicits(id_: int | str, **params: Any) -> Json:
    return {"id": id_, "method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": FORM, **params}}


async def test_a_stream_that_ended_is_asked_for_again_after_the_time_the_server_named() -> None:
    ended: list[float] = []
    loop = asyncio.get_running_loop()

    async def on_call(exchange: Exchange) -> None:
        await exchange.write(STREAM + event(None, id_="e1", retry=300) + ENDED)
        ended.append(loop.time())

    async def on_get(exchange: Exchange) -> None:
        ended.append(loop.time())
        if len(server.gets) == 1:
            await exchange.write(STREAM + event(None, id_="e2", retry=0) + ENDED)
            return
        await exchange.write(STREAM + event({"id": server.calls[0].message["id"], "result": DONE}) + ENDED)

    server = Server(on_call, on_get)
    async with serving(server) as call:
        answer = await call()
    assert answer.data == DONE
    assert ended[1] - ended[0] >= 0.3
    assert [get.headers["last-event-id"] for get in server.gets] == ["e1", "e2"]
    for get in server.gets:
        assert get.headers["mcp-session-id"] == "s1"
        assert get.headers["authorization"] == "Bearer secret-token"
        assert get.headers["accept"] == "text/event-stream"
    assert len(server.calls) == 1, "the call itself is sent once"


async def test_a_connection_that_broke_is_taken_up_again() -> None:
    async def on_call(exchange: Exchange) -> None:
        await exchange.write(STREAM + event(None, id_="e1", retry=0) + b"5\r\nda")
        raise ConnectionError

    async def on_get(exchange: Exchange) -> None:
        await exchange.write(STREAM + event({"id": server.calls[0].message["id"], "result": DONE}) + ENDED)

    server = Server(on_call, on_get)
    async with serving(server) as call:
        assert (await call()).data == DONE


@pytest.mark.parametrize("first", [event(None, retry=0), event(None, id_="e\t1", retry=0), b""])
async def test_without_an_event_id_nothing_is_taken_up(first: bytes) -> None:
    async def on_call(exchange: Exchange) -> None:
        await exchange.write(STREAM + first + ENDED)

    server = Server(on_call)
    async with serving(server) as call:
        with pytest.raises(UpstreamFault):
            await call()
    assert not server.gets


async def test_a_server_that_does_not_go_on_is_not_asked_for_ever() -> None:
    async def on_call(exchange: Exchange) -> None:
        await exchange.write(STREAM + event(None, id_="e1", retry=wait) + ENDED)

    wait = 0
    server = Server(on_call)
    async with serving(server) as call:
        with pytest.raises(UpstreamFault) as caught:
            await call()
        assert caught.value.sent == "unknown"
        assert len(server.gets) == 1, "405: it has no such stream"

        async def ends(exchange: Exchange) -> None:
            await exchange.write(STREAM + event(None, id_="e2", retry=0) + ENDED)

        server.on_get = ends
        with pytest.raises(UpstreamFault) as caught:
            await call(seconds=2)
        assert caught.value.sent == "unknown"
        assert 2 < len(server.gets) <= MAX_RESUMES + 1
        wait = 600_000
        before = len(server.gets)
        with pytest.raises(UpstreamFault) as caught:
            await call()
        assert caught.value.sent == "unknown"
        assert len(server.gets) == before, "it is not asked earlier than it wants"


async def test_what_it_asks_in_the_calls_own_stream_goes_to_the_client() -> None:
    async def on_call(exchange: Exchange) -> None:
        await exchange.write(STREAM + event(elicits("q1", requestedSchema=FORM, hidden="x")) + event(elicits(2)))
        answers = [await server.answers.get() for _ in range(2)]
        assert {str(a["id"]): a["result"]["content"] for a in answers} == {"q1": {"name": "Ada"}, "2": {"name": "Ada"}}
        await exchange.write(event({"id": exchange.message["id"], "result": DONE}) + ENDED)

    server, asked = Server(on_call), list[Any]()
    async with serving(server) as call:
        assert (await call(accepting(asked))).data == DONE
    wanted = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": FORM}}
    assert asked == [wanted, wanted]
    assert server.handshakes == [ELICITS]


async def test_what_it_asks_outside_of_any_request_goes_to_the_client_too() -> None:
    open_: list[Exchange] = []

    async def on_get(exchange: Exchange) -> None:
        await exchange.write(STREAM)
        open_.append(exchange)
        await exchange.reader.read()  # until it hangs up
        open_.remove(exchange)

    async def on_call(exchange: Exchange) -> None:
        await open_[-1].write(event(elicits("q")))  # it is heard before the call is sent
        assert (await server.answers.get())["result"]["action"] == "accept"
        await exchange.result()

    server, asked = Server(on_call, on_get), list[Any]()
    async with serving(server) as call:
        assert (await call(accepting(asked))).data == DONE
        answers = await asyncio.gather(*(asyncio.ensure_future(call(accepting(asked))) for _ in range(3)))
        assert [answer.data for answer in answers] == [DONE] * 3
    assert len(asked) == 4
    assert len(server.gets) == 2, "hung up after the first call; then one stream for the three"


async def test_nobody_to_ask_means_no_stream_and_no_capability() -> None:
    async def on_call(exchange: Exchange) -> None:
        await exchange.write(STREAM + event({"id": "p", "method": "ping"}) + event(elicits("q")))
        answers = {a["id"]: a for a in [await server.answers.get() for _ in range(2)]}
        assert answers["p"]["result"] == {}
        assert answers["q"]["error"]["code"] == -32601
        await exchange.write(event({"id": exchange.message["id"], "result": DONE}) + ENDED)

    server = Server(on_call)
    async with serving(server) as call:
        assert (await call()).data == DONE
        for config in ({"asks": []}, {"asks_while_waiting": False}):
            assert (await call(accepting([]), config=config)).data == DONE
    assert server.handshakes == [{}], "all have the session of all who cannot be asked"
    assert not server.gets


@pytest.mark.parametrize(
    "question",
    [
        elicits("q", message="Your API token, please"),
        elicits("q", requestedSchema={"type": "object", "properties": {"password": {"type": "string"}}}),
        elicits("q", mode="url", url="http://example.com/plain"),
        {"id": "q", "method": "sampling/createMessage", "params": {"messages": []}},
        {"id": "q", "method": "tools/list"},
    ],
)
async def test_what_may_not_be_asked_is_refused(question: Json) -> None:
    async def on_call(exchange: Exchange) -> None:
        await exchange.write(STREAM + event(question))
        assert (await server.answers.get())["error"]["code"] == -32600
        await exchange.write(event({"id": exchange.message["id"], "result": DONE}) + ENDED)

    server, asked = Server(on_call), list[Any]()
    async with serving(server) as call:
        assert (await call(accepting(asked))).data == DONE
    assert asked == []


async def test_the_credential_comes_back_in_no_question() -> None:
    async def on_call(exchange: Exchange) -> None:
        await exchange.write(STREAM + event(elicits("q", message="You sent secret-token?")))
        await server.answers.get()
        await exchange.write(event({"id": exchange.message["id"], "result": DONE}) + ENDED)

    server, asked = Server(on_call), list[Any]()
    async with serving(server) as call:
        await call(accepting(asked))
    assert "secret-token" not in str(asked)


async def test_questions_are_bounded_and_end_with_the_call() -> None:
    ended: list[bool] = []

    async def put(_: Any) -> Json | None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(True)
            raise
        return None

    async def on_call(exchange: Exchange) -> None:
        await exchange.write(STREAM + b"".join(event(elicits(n)) for n in range(MAX_REQUESTS + 30)))
        await exchange.write(event({"id": exchange.message["id"], "result": DONE}) + ENDED)

    server = Server(on_call)
    async with serving(server) as call:
        assert (await call(Round("up_t", ELICITS, put=put, client="priya:1"))).data == DONE
    assert len(ended) <= MAX_REQUESTS
    assert server.answers.empty()

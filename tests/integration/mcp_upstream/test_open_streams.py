"""A server that leaves its stream open after the answer holds nobody up."""

import asyncio

import pytest

from connectors.errors import ResponseTooLarge, UpstreamTimeout
from connectors.http import HttpClient
from connectors.mcp_upstream.streams import AnswerWatch
from tests.integration.connectors.upstream import Upstream, client, upstream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = b'data: {"jsonrpc":"2.0","id":1,"result":{"a":1}}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def ask(http: HttpClient, to: Upstream, *, seconds: float = 30.0, most: int = 10_000) -> AnswerWatch:
    watch = AnswerWatch(1)
    raw = await http.send(
        method="POST",
        origin=to.origin,
        path="/mcp",
        query="",
        headers=(),
        body=None,
        timeout_seconds=seconds,
        max_response_bytes=most,
        allowed_origins=(to.origin,),
        watch=watch,
    )
    assert raw.body == b""
    return watch


async def test_the_call_ends_with_the_answer() -> None:
    async def handler(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + chunk(b": hello\n\n" + ANSWER[:9]))
        await writer.drain()
        writer.write(chunk(ANSWER[9:]))
        await reader.read()  # until the other side has hung up

    async with upstream(handler) as running, client(running.origin.removeprefix("http://")) as http:
        watch = await ask(http, running)
        assert watch.answer == ANSWER[6:-2]
        async with asyncio.timeout(30):
            await running.closed.wait()


async def test_a_stream_that_ends_with_the_answer_keeps_its_connection() -> None:
    async def handler(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + chunk(ANSWER) + b"0\r\n\r\n")

    async with upstream(handler) as running, client(running.origin.removeprefix("http://")) as http:
        for _ in range(3):
            assert (await ask(http, running)).answer is not None
        assert running.connections == 1


async def test_bounds_hold_while_it_is_watched() -> None:
    async def handler(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + chunk(b": " + b"x" * 20_000 + b"\n\n"))
        await writer.drain()
        await reader.read()

    async with upstream(handler) as running, client(running.origin.removeprefix("http://")) as http:
        with pytest.raises(ResponseTooLarge):
            await ask(http, running)
        with pytest.raises(UpstreamTimeout) as caught:
            await ask(http, running, most=100_000, seconds=0.3)
        assert caught.value.sent == "unknown"

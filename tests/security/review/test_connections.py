"""Connections that never become a request: endless heads, endless trailers, heads that never end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import uvicorn

from bench.harness import Stand
from broker.server import protocol

Seen = list[list[tuple[bytes, bytes]]]


async def _listen(seen: Seen) -> AsyncIterator[int]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while scope["path"] != "/early" and (await receive()).get("more_body"):
            pass
        if scope["path"] == "/slow":
            await asyncio.sleep(0.5)
        seen.append(list(scope["headers"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", log_config=None, http=protocol.BoundedProtocol, ws="none")
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server._serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield listening.getsockname()[1]
    server.should_exit = True
    await task
    listening.close()


@pytest.fixture
def seen() -> Seen:
    return []


@pytest_asyncio.fixture
async def port(seen: Seen) -> AsyncIterator[int]:
    async for number in _listen(seen):
        yield number


async def _pour(port: int, head: bytes, piece: bytes, pieces: int) -> tuple[int, bytes]:
    """Sends `head` and then `piece` over and over; how many were taken, and what came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    taken = 0
    try:
        for _ in range(pieces):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
            taken += 1
        answer = await asyncio.wait_for(reader.read(1000), 2)
    except (ConnectionError, TimeoutError):
        answer = b""
    finally:
        writer.close()
    return taken, answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ",
        b"GET /",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: ",
    ],
    ids=["header", "path", "trailer"],
)
async def test_what_never_ends_is_cut_off(port: int, head: bytes) -> None:
    taken, answer = await _pour(port, head, b"a" * 16_384, 400)
    assert taken < 400
    assert answer == b""


async def test_many_small_headers_are_cut_off(port: int) -> None:
    taken, answer = await _pour(port, b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n" * 3_000, 400)
    assert taken < 400
    assert answer == b""


async def test_large_bodies_and_long_honest_heads_pass(port: int, seen: Seen) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3276800\r\nX: " + b"a" * 20_000 + b"\r\n\r\n"
    _, answer = await _pour(port, head, b"b" * 16_384, 200)
    assert answer.startswith(b"HTTP/1.1 204")
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    _, answer = await _pour(port, chunked, b"1\r\nb\r\n" * 1_000, 100)
    assert answer == b""  # not ended: nothing to answer yet
    assert len(seen) == 1


async def test_a_trailer_is_no_header(port: int, seen: Seen) -> None:
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
    _, answer = await _pour(port, sent, b"X-Keyreeve-Tenant: other\r\n\r\n", 1)
    assert answer.startswith(b"HTTP/1.1 204")
    assert b"x-keyreeve-tenant" not in {name for name, _ in seen[0]}


async def test_a_head_that_does_not_end_in_time_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    for begun in (b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHo"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(10_000), 5)
        writer.close()


async def test_an_answered_connection_is_not_held_by_empty_lines(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\r\n")  # it ends the wait for the next request, and begins none
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 30)
    writer.close()


async def test_an_empty_line_ends_no_request_that_is_being_answered(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n\r\n")
    assert b" 204 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    writer.close()


async def test_an_answered_connection_is_not_held_by_the_rest_of_a_body(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has no key is answered before their body is read, and may not drip it for ever."""
    early = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(early)
        assert b" 204 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        writer.write(b"rest")  # whoever sends it is heard again
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    writer.write(early.replace(b"4", b"100000"))
    assert b" 204 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)

    async def drip() -> None:
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.05)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(drip(), 30)
    writer.close()


def test_the_server_speaks_it(running_server: Stand) -> None:
    host, _, port_ = running_server.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port_)), timeout=10) as sock, pytest.raises(ConnectionError):
        sock.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 128 * 1024 * 1024)

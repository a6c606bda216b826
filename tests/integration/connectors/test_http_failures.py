"""The HTTP client against upstreams that fail: what is known of whether the request was sent."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.errors import UpstreamUnreachable
from tests.integration.connectors.upstream import OK, answering, client, get, self_signed, upstream


async def test_unresolvable_and_refused_connections_say_nothing_was_sent() -> None:
    async def nothing(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    async with client(resolve=nothing) as http:
        with pytest.raises(UpstreamUnreachable) as fault:
            await get(http, "https://nowhere.example")
        assert fault.value.sent is False
    async with upstream(answering(OK)) as up:
        port = up.port
    async with client(f"127.0.0.1:{port}") as http:
        with pytest.raises(UpstreamUnreachable) as fault:
            await get(http, f"http://127.0.0.1:{port}")
        assert fault.value.sent is False


async def test_a_failed_tls_handshake_says_nothing_was_sent() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with client(f"127.0.0.1:{port}") as http:
        with pytest.raises(UpstreamUnreachable) as fault:
            await get(http, f"https://127.0.0.1:{port}")
    server.close()
    assert fault.value.sent is False


async def test_a_certificate_that_does_not_verify_is_refused(tmp_path: Path) -> None:
    context = self_signed(tmp_path)
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with client(f"127.0.0.1:{port}") as http:
        with pytest.raises(UpstreamUnreachable) as fault:
            await get(http, f"https://127.0.0.1:{port}")
    server.close()
    assert fault.value.sent is False
    assert b"".join(seen) == b""


async def test_a_reset_after_the_request_is_unknown_and_not_repeated() -> None:
    async def reset(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with upstream(reset) as up, client(f"127.0.0.1:{up.port}") as http:
        for method in ("GET", "PUT", "DELETE", "POST"):
            with pytest.raises(UpstreamUnreachable) as fault:
                await get(http, up.origin, method=method)
            assert fault.value.sent == "unknown"
        assert len(up.heads) == 4


async def test_a_stale_kept_connection_is_not_used_twice_for_one_send() -> None:
    """The server closes after each answer without saying so; no send makes two requests."""

    async def once(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.transport.abort()

    async with upstream(once) as up, client(f"127.0.0.1:{up.port}") as http:
        answered = 0
        faults: list[UpstreamUnreachable] = []
        for _ in range(20):
            try:
                await get(http, up.origin)
                answered += 1
            except UpstreamUnreachable as fault:
                faults.append(fault)
            await asyncio.sleep(0.005)
        assert answered <= len(up.heads) <= 20
        assert all(fault.sent == "unknown" for fault in faults)
        assert answered >= 18


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
        b"SSH-2.0-OpenSSH_9.7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_broken_answer_is_a_fault_that_quotes_nothing(data: bytes) -> None:
    async def handler(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    async with upstream(handler) as up, client(f"127.0.0.1:{up.port}") as http:
        with pytest.raises(UpstreamUnreachable) as fault:
            await get(http, up.origin)
    assert fault.value.sent in (True, "unknown")
    assert "secret" not in str(fault.value)
    assert "OpenSSH" not in str(fault.value)
    assert "aaaa" not in str(fault.value)

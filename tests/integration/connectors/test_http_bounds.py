"""The HTTP client's bounds: sizes, deadlines, connections and cancelling."""

import asyncio
import gzip

import pytest

from connectors.errors import ResponseTooLarge, UpstreamTimeout
from tests.integration.connectors.upstream import answering, client, get, hang, upstream


async def test_sizes_are_bounded_declared_streamed_and_decompressed() -> None:
    bomb = gzip.compress(b"\x00" * (64 << 20))
    cases = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 2_000_000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb,
    ]
    for data in cases:
        async with upstream(answering(data)) as up, client(f"127.0.0.1:{up.port}") as http:
            with pytest.raises(ResponseTooLarge) as fault:
                await get(http, up.origin)
            assert fault.value.sent is True


async def test_gzip_is_decoded() -> None:
    body = gzip.compress(b'{"success":true}')
    data = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with upstream(answering(data)) as up, client(f"127.0.0.1:{up.port}") as http:
        assert (await get(http, up.origin)).body == b'{"success":true}'


async def test_a_hang_ends_at_the_deadline_with_an_unknown_outcome() -> None:
    async with upstream(hang) as up, client(f"127.0.0.1:{up.port}") as http:
        started = asyncio.get_running_loop().time()
        with pytest.raises(UpstreamTimeout) as fault:
            await get(http, up.origin, timeout_seconds=0.2)
        assert fault.value.sent == "unknown"
        assert asyncio.get_running_loop().time() - started < 2
        await asyncio.wait_for(up.closed.wait(), 2)


async def test_a_drip_does_not_outlive_the_deadline() -> None:
    async def drip(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with upstream(drip) as up, client(f"127.0.0.1:{up.port}") as http:
        with pytest.raises(UpstreamTimeout) as fault:
            await get(http, up.origin, timeout_seconds=0.3)
        assert fault.value.sent == "unknown"


async def test_waiting_for_a_connection_is_bounded_and_not_sent() -> None:
    async with (
        upstream(hang) as up,
        client(f"127.0.0.1:{up.port}", per_origin_connections=1, connect_seconds=0.2) as http,
    ):
        first = asyncio.create_task(get(http, up.origin, timeout_seconds=2))
        await up.arrived.wait()
        with pytest.raises(UpstreamTimeout) as fault:
            await get(http, up.origin, timeout_seconds=2)
        assert fault.value.sent is False
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_cancelling_closes_the_connection() -> None:
    async with upstream(hang) as up, client(f"127.0.0.1:{up.port}") as http:
        call = asyncio.create_task(get(http, up.origin))
        await up.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(up.closed.wait(), 2)

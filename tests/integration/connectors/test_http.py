"""The HTTP client against real sockets that misbehave."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any

import pytest

from connectors.base import RawAnswer
from connectors.egress import EgressPolicy
from connectors.errors import EgressRefused, ResponseTooLarge, UpstreamTimeout, UpstreamUnreachable
from connectors.http import HttpClient

Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Upstream:
    """A loopback server: every request head that reached it, and a handler per request."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.heads: list[bytes] = []
        self.connections = 0
        self.arrived = asyncio.Event()
        self.closed = asyncio.Event()
        self.port = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                self.arrived.set()
                await self.handler(head, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()


@asynccontextmanager
async def upstream(handler: Handler) -> AsyncIterator[Upstream]:
    running = Upstream(handler)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        await asyncio.sleep(0)


def answering(data: bytes) -> Handler:
    async def handler(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return handler


@asynccontextmanager
async def client(*entries: str, **options: Any) -> AsyncIterator[HttpClient]:
    async with HttpClient(EgressPolicy.parse(entries), version="test", **options) as http:
        yield http


async def get(http: HttpClient, origin: str, **given: Any) -> RawAnswer:
    arguments: dict[str, Any] = {
        "method": "GET",
        "origin": origin,
        "path": "/client/v4/x",
        "query": "",
        "headers": (("Authorization", "Bearer secret-token"),),
        "body": None,
        "timeout_seconds": 5.0,
        "max_response_bytes": 1 << 20,
        "allowed_origins": (origin,),
    }
    return await http.send(**{**arguments, **given})


async def test_the_exact_bytes_of_path_query_and_body_arrive_and_nothing_is_added() -> None:
    bodies: list[bytes] = []

    async def handler(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await reader.readexactly(5))
        writer.write(OK)

    async with upstream(handler) as up, client(f"127.0.0.1:{up.port}") as http:
        path, query = "/a%2Fb/%E2%82%AC/c%252Ed/~x;y", "q=a%20b+c&z=%2f&k=a/b?c"
        await get(http, up.origin, method="POST", path=path, query=query, body=b"\x00\xff{}\n")
        assert up.heads[0].startswith(f"POST {path}?{query} HTTP/1.1\r\n".encode())
        assert bodies == [b"\x00\xff{}\n"]
        head = up.heads[0].lower()
        assert b"user-agent: keyreeve/test" in head
        assert b"accept-encoding: gzip\r\n" in head
        assert b"cookie" not in head
        assert b"content-type" not in head


async def test_a_connection_is_reused_and_cookies_are_not_kept() -> None:
    data = b"HTTP/1.1 200 OK\r\nSet-Cookie: __cf_bm=abc; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with upstream(answering(data)) as up, client(f"127.0.0.1:{up.port}") as http:
        for _ in range(3):
            answer = await get(http, up.origin)
        assert up.connections == 1
        assert all(b"__cf_bm" not in head for head in up.heads)
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_carries_the_credential_nowhere(status: int) -> None:
    async with upstream(answering(OK)) as thief:
        location = f"HTTP/1.1 {status} X\r\nLocation: {thief.origin}/x\r\nContent-Length: 0\r\n\r\n".encode()
        async with (
            upstream(answering(location)) as up,
            client(f"127.0.0.1:{up.port}", f"127.0.0.1:{thief.port}") as http,
        ):
            answer = await get(http, up.origin)
        assert answer.status == status
        assert thief.heads == []


async def test_only_origins_sealed_with_the_credential_are_reached() -> None:
    async with upstream(answering(OK)) as up, client(f"127.0.0.1:{up.port}") as http:
        for allowed in ((), ("https://api.cloudflare.com",), (up.origin + "/",), (up.origin.upper(),)):
            with pytest.raises(EgressRefused):
                await get(http, up.origin, allowed_origins=allowed)
        assert up.connections == 0


async def test_an_unlisted_loopback_origin_is_refused_even_when_sealed() -> None:
    async with upstream(answering(OK)) as up, client() as http:
        with pytest.raises(EgressRefused):
            await get(http, up.origin)
        assert up.connections == 0


async def test_rebinding_reaches_nothing_and_a_pinned_answer_is_used_as_checked() -> None:
    answers: list[Sequence[str]] = [
        ["104.16.132.229", "127.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["64:ff9b::7f00:1"],
    ]
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    async with upstream(answering(OK)) as up, client(resolve=resolve) as http:
        for _ in answers:
            with pytest.raises(EgressRefused) as refused:
                await get(http, "https://rebind.example")
            assert refused.value.rule in ("private_address", "address")
        assert asked == ["rebind.example"] * len(answers)
        assert up.connections == 0


async def test_a_listed_name_is_connected_to_the_address_that_was_checked() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with upstream(answering(OK)) as up, client(f"sim.internal:{up.port}", resolve=resolve) as http:
        origin = f"http://sim.internal:{up.port}"
        assert (await get(http, origin)).status == 200
        assert f"Host: sim.internal:{up.port}".encode() in up.heads[0]


async def test_plain_http_never_goes_to_a_public_address() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8"]

    async with client("sim.internal:8000", resolve=resolve) as http:
        with pytest.raises(EgressRefused) as refused:
            await get(http, "http://sim.internal:8000")
        assert refused.value.rule == "plain_http"


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


async def test_a_certificate_that_does_not_verify_is_refused(tmp_path: Any) -> None:
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


async def hang(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


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


@pytest.mark.parametrize(
    "header",
    [
        ("X", "a\r\nY: b"),
        ("X", "a\nb"),
        ("X\r\nY", "a"),
        ("X:", "a"),
        ("", "a"),
        ("Host", "evil"),
        ("X", "a\x00"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Cookie", "a=b"),
        ("connection", "close"),
        ("X", "é€"),
    ],
)
async def test_headers_that_could_split_or_steer_the_request_are_refused(header: tuple[str, str]) -> None:
    async with upstream(answering(OK)) as up, client(f"127.0.0.1:{up.port}") as http:
        with pytest.raises(EgressRefused):
            await get(http, up.origin, headers=(header,))
        assert up.connections == 0


@pytest.mark.parametrize("target", [("/a/../b", ""), ("//x", ""), ("/a b", ""), ("/a", "b c"), ("x", ""), ("/a#b", "")])
async def test_targets_that_are_not_canonical_are_refused(target: tuple[str, str]) -> None:
    async with upstream(answering(OK)) as up, client(f"127.0.0.1:{up.port}") as http:
        with pytest.raises(EgressRefused):
            await get(http, up.origin, path=target[0], query=target[1])
        assert up.connections == 0


async def test_proxies_in_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(answering(OK)) as proxy, upstream(answering(OK)) as up:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.origin)
        async with client(f"127.0.0.1:{up.port}") as http:
            await get(http, up.origin)
        assert proxy.connections == 0


def self_signed(folder: Any) -> ssl.SSLContext:
    from datetime import datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context

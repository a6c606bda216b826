"""The HTTP client over real sockets: what is sent, as which bytes, and where it may go."""

import asyncio
from collections.abc import Sequence

import pytest

from connectors.errors import EgressRefused
from tests.integration.connectors.upstream import OK, answering, client, get, upstream


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

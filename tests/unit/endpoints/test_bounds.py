"""What every request meets first: Host, sizes, time, and faults that nothing else caught."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker.endpoints.rest.bounds import Bounds, accepted_hosts
from broker.errors import Problem

HOSTS = frozenset({"127.0.0.1:8700"})
Handler = Callable[[Any, Any, Any], Awaitable[None]]


async def reply(_: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def ask(
    app: Handler,
    *,
    host: str | None = "127.0.0.1:8700",
    path: str = "/v1/grants",
    headers: list[tuple[bytes, bytes]] | None = None,
    chunks: tuple[bytes, ...] = (b"",),
    seconds: float = 5.0,
) -> tuple[int, Any]:
    sent: list[Any] = []
    left = list(chunks)

    async def receive() -> Any:
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    all_headers = list(headers or [])
    if host is not None:
        all_headers.append((b"host", host.encode()))
    scope = {"type": "http", "path": path, "method": "POST", "headers": all_headers}
    bounds = Bounds(app, hosts=HOSTS, body=10, large_body=100, seconds=seconds)
    await bounds(scope, receive, send)
    body = b"".join(m.get("body", b"") for m in sent)
    return sent[0]["status"], body if body == b"ok" else json.loads(body)


async def test_a_known_host_passes() -> None:
    assert await ask(reply) == (200, b"ok")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:8701", "127.0.0.1:8700.evil.ex", "", None])
async def test_any_other_host_is_refused(host: str | None) -> None:
    status, problem = await ask(reply, host=host)
    assert (status, problem["fields"][0]["path"]) == (422, "Host")


@pytest.mark.parametrize("length", [b"11", b"-1", b"1e3", b"99999999999999999999", b"0x5"])
async def test_a_length_beyond_the_bound_or_malformed_is_refused(length: bytes) -> None:
    status, problem = await ask(reply, headers=[(b"content-length", length)])
    assert (status, problem["code"]) == (413, "payload_too_large")


async def test_a_body_without_length_is_counted_as_it_comes() -> None:
    status, problem = await ask(reply, chunks=(b"12345", b"12345", b"1"))
    assert (status, problem["code"]) == (413, "payload_too_large")
    assert await ask(reply, path="/v1/tools/execute", chunks=(b"x" * 60, b"y" * 40)) == (200, b"ok")


async def test_compressed_bodies_are_not_taken() -> None:
    status, problem = await ask(reply, headers=[(b"content-encoding", b"gzip")])
    assert (status, problem["code"]) == (415, "unsupported_media_type")


async def test_too_slow_a_handler_answers_unavailable() -> None:
    async def slow(*_: Any) -> None:
        await asyncio.sleep(5)

    status, problem = await ask(slow, seconds=0.01)
    assert (status, problem["code"], problem["retry_after"]) == (503, "unavailable", 5)


async def test_a_fault_answers_without_a_trace() -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("cfut_secret in a message")

    status, problem = await ask(broken)
    assert (status, problem["code"]) == (500, "internal")
    assert "cfut" not in json.dumps(problem)


async def test_a_problem_raised_anywhere_is_mapped() -> None:
    async def refusing(*_: Any) -> None:
        raise Problem("not_granted", "no")

    status, problem = await ask(refusing)
    assert (status, problem["code"], problem["fix"]) == (403, "not_granted", "admin")


async def test_a_fault_after_the_answer_began_breaks_the_connection() -> None:
    async def half(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("late")

    with pytest.raises(ConnectionAbortedError):
        await ask(half)


def test_the_public_url_names_the_hosts() -> None:
    hosts = accepted_hosts("https://keys.acme.example", "0.0.0.0", 8700)
    assert {"keys.acme.example", "keys.acme.example:443"} <= hosts
    assert "evil.example" not in hosts
    assert "keys.acme.example:9999" not in hosts
    assert {"127.0.0.1:8700", "[::1]:8700"} <= hosts
    assert "10.1.2.3:8700" in accepted_hosts("https://keys.acme.example", "10.1.2.3", 8700)
    assert "[fd00::1]:8700" in accepted_hosts(None, "fd00::1", 8700)
    assert "[fd00::2]:9000" in accepted_hosts("http://[fd00::2]:9000", "127.0.0.1", 8700)

"""Requests that cost too much, break a handler, or reach further than their bearer may."""

import contextlib
import socket
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from bench.harness import Stand
from bench.kit import TenantKit
from broker.endpoints.rest.bounds import Bounds
from broker.endpoints.rest.large import LARGE, Room, announced
from broker.endpoints.rest.tools import parse_execute
from broker.errors import Problem
from broker.identity.tokens import mint

EXECUTE = "/v1/tools/execute"


def _raw(url: str, head: bytes, body: bytes = b"") -> bytes:
    """The first bytes of the answer to what is written, or to as much of it as is taken."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(head)
        with contextlib.suppress(ConnectionError):
            sock.sendall(body)
        return sock.recv(2_000)


@pytest.mark.parametrize("length", [b"Content-Length: 26000000", b"Transfer-Encoding: chunked"])
def test_a_large_body_of_nobody_is_not_read(tenant: TenantKit, length: bytes) -> None:
    """A token is well formed without being known: its check digits are no secret."""
    unknown = mint("session", uuid4()).text
    host = tenant.stand.url.removeprefix("http://").encode()
    head = b"POST " + EXECUTE.encode() + b" HTTP/1.1\r\nHost: " + host + b"\r\n"
    head += b"Authorization: Bearer " + unknown.encode() + b"\r\n" + length + b"\r\n\r\n"
    # Nothing of the body is sent: whoever waited for it would not answer.
    assert b" 401 " in _raw(tenant.stand.url, head)


def test_large_bodies_are_few_for_one_tenant_and_for_all() -> None:
    one, other = UUID(int=1), UUID(int=2)
    room = Room(tenant_bytes=100, all_bytes=150)
    with room.hold(one, 60):
        with pytest.raises(Problem, match="too many large"), room.hold(one, 50):
            pass
        with room.hold(other, 90), pytest.raises(Problem, match="too many large"), room.hold(UUID(int=3), 10):
            pass
    with room.hold(one, 100):
        pass


def test_what_announces_no_length_counts_whole() -> None:
    assert announced({"transfer-encoding": "chunked"}, 1_000) == 1_000
    assert announced({}, 1_000) == 0
    assert announced({"content-length": str(LARGE)}, 1_000) == 0
    assert announced({"content-length": str(LARGE + 1)}, 1_000) == LARGE + 1


def test_a_million_findings_are_not_spelled_out() -> None:
    body = b'{"tool_name":"a_call",' + b",".join(b'"k%d":1' % n for n in range(300_000)) + b"}"
    began = time.perf_counter()
    with pytest.raises(Problem) as refused:
        parse_execute(body, 30.0)
    assert len(refused.value.fields) == 1
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(
    "path",
    [
        "/v1/connected_accounts?identifier=%00",
        "/v1/connected_accounts?connection_name=%00",
        "/v1/tools/scoped?identifier=a%00",
        "/v1/identities/%00",
        "/v1/connections/a%00",
    ],
)
def test_a_nul_is_nobodys_fault_but_the_callers(tenant: TenantKit, path: str) -> None:
    assert tenant.admin.send("GET", path).status_code == 422


def test_a_reason_that_cannot_be_kept_does_not_break_a_revocation(tenant: TenantKit) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    where = f"/v1/connected_accounts/{engineer.account_id}:revoke"
    assert tenant.admin.send("POST", where, json={"reason": "left\x00"}).status_code == 422
    assert tenant.admin.send("DELETE", "/v1/connections/cloudflare?reason=a%0ab").status_code == 422
    assert tenant.admin.send("POST", where, json={"reason": "left"}).status_code == 200
    assert engineer.api.call("GET /zones").status_code == 409
    engineer.close()


def test_a_session_that_may_only_read_deposits_nothing(tenant: TenantKit) -> None:
    """What it deposits, later writes of its identity would go through: another's account, chosen by a model."""
    tenant.connection()
    who = tenant.identity()
    token = tenant.stand.upstream.token()["value"]
    body = {
        "connection_name": "cloudflare",
        "identifier": who,
        "credential": {"kind": "api_token", "token": token},
    }
    for narrowed, status in (({"access": "read"}, 403), ({"connections": []}, 403), ({}, 200)):
        reader = tenant.stand.server.api(tenant.session(who, **narrowed)["token"])
        assert reader.send("PUT", "/v1/connected_accounts", json=body).status_code == status
        reader.close()


def test_workers_import_nothing_from_where_they_were_started(running_server: Stand) -> None:
    """`python -m` looks into the working directory first: a file there named like a module would get the root key."""
    for pid in running_server.server.workers():
        assert b"-P" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


async def test_a_fault_that_was_answered_is_not_raised_again() -> None:
    """The framework answers a fault and raises it once more; to the server that was half an answer, and it hung up."""
    sent: list[Any] = []

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
        raise RuntimeError

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> Any:
        return {"type": "http.request"}

    bounds = Bounds(app, hosts=frozenset({"a"}), body=10, large_body=10, seconds=5)
    scope = {"type": "http", "path": "/", "method": "GET", "query_string": b"", "headers": [(b"host", b"a")]}
    await bounds(scope, receive, send)
    assert sent == ["http.response.start", "http.response.body"]

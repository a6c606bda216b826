"""What whoever may speak at all can use up."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from bench.harness import Stand
from bench.kit import TenantKit
from tests.e2e.mcp.conftest import BOTH_TYPES, VERSION, message

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def chunked(content: Any) -> Iterator[bytes]:
    """A body whose length nobody announces."""
    yield json.dumps(content).encode()


def headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "content-type": "application/json", "accept": BOTH_TYPES}


def test_open_streams_leave_their_tenant_room_for_large_bodies(tenant: TenantKit) -> None:
    """A body of unknown length holds room for the largest, and a stream may stay for an hour."""
    url = f"{tenant.stand.server.url}/t/{tenant.name}/mcp"
    tokens = [tenant.session(tenant.identity())["token"] for _ in range(2)]
    listen = message("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    modern = headers(tokens[0]) | {"mcp-protocol-version": VERSION, "mcp-method": "subscriptions/listen"}
    with ExitStack() as streams, httpx.Client(trust_env=False, timeout=30) as client:
        for _ in range(5):
            stream = streams.enter_context(client.stream("POST", url, headers=modern, content=chunked(listen)))
            assert stream.status_code == 200
        reply = client.post(url, headers=headers(tokens[1]), content=chunked(PING))
        assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//[x]:y", "https://]", "null", ""])
def test_an_origin_that_cannot_be_read_is_a_foreign_one(running_server: Stand, origin: str) -> None:
    """Not a fault of ours, which anybody could fill the log with."""
    reply = httpx.post(
        f"{running_server.server.url}/mcp", headers=headers("x") | {"origin": origin}, json=PING, trust_env=False
    )
    assert reply.status_code == 403, reply.text

"""Streams: what is heard on them, and when they end."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from tests.e2e.mcp.conftest import VERSION, Endpoint, MakeEndpoint, message

AT_ONCE = 1.8
"""Seconds: a machine that is busy with other tests needs some."""


class Events:
    """The messages of a stream."""

    def __init__(self, reply: httpx.Response) -> None:
        self.reply = reply
        self._lines = reply.iter_lines()

    def next(self) -> dict[str, Any] | None:
        """The next message; None at the end."""
        for line in self._lines:
            if line.startswith("data: "):
                found: dict[str, Any] = json.loads(line.removeprefix("data: "))
                return found
        return None


@contextmanager
def stream(here: Endpoint, method: str, params: dict[str, Any], **meta: Any) -> Iterator[Events]:
    body = message(method, params, **meta)
    headers = {**here.headers, "mcp-protocol-version": VERSION, "mcp-method": method}
    if "name" in params:
        headers["mcp-name"] = params["name"]
    with here.api.http.stream("POST", here.path, json=body, headers=headers) as reply:
        yield Events(reply)


@contextmanager
def listening(here: Endpoint, **wanted: bool) -> Iterator[Events]:
    with stream(here, "subscriptions/listen", {"notifications": wanted or {"toolsListChanged": True}}) as events:
        assert events.reply.headers["content-type"] == "text/event-stream"
        first = events.next()
        assert first is not None
        assert first["method"] == "notifications/subscriptions/acknowledged"
        yield events


def test_only_what_was_asked_for_is_promised(endpoint: MakeEndpoint) -> None:
    params = {"notifications": {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["x:y"]}}
    with stream(endpoint(), "subscriptions/listen", params) as events:
        first = events.next()
    assert first is not None
    assert first["params"]["notifications"] == {"toolsListChanged": True, "promptsListChanged": True}
    assert first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 1


def test_every_kind_of_change_is_heard(endpoint: MakeEndpoint, tenant_mcp: TenantKit, engineer: Engineer) -> None:
    with listening(endpoint()) as events:
        grant = tenant_mcp.grant({"identifier": engineer.identifier}, "read")
        heard = events.next()
        assert heard is not None
        assert heard["method"] == "notifications/tools/list_changed"
        tenant_mcp.admin.ok("DELETE", f"/v1/grants/{grant['id']}")
        assert (events.next() or {})["method"] == "notifications/tools/list_changed"
        path = f"/v1/connected_accounts/{engineer.account_id}:revoke"
        tenant_mcp.admin.ok("POST", path, {"reason": "test"})
        assert (events.next() or {})["method"] == "notifications/tools/list_changed"


@pytest.mark.parametrize("how", ["session", "identity"])
def test_a_stream_ends_at_once_with_its_bearer(
    endpoint: MakeEndpoint, tenant_mcp: TenantKit, engineer: Engineer, how: str
) -> None:
    with listening(endpoint()) as events:
        began = time.monotonic()
        if how == "session":
            tenant_mcp.admin.ok("DELETE", f"/v1/sessions/{engineer.session_id}")
        else:
            path = f"/v1/identities/{engineer.identifier}:offboard"
            tenant_mcp.admin.ok("POST", path, {"reason": "left", "drain_seconds": 0})
        last = events.next()
        while last is not None and "method" in last:
            last = events.next()
        assert last is not None
        assert last["result"]["resultType"] == "complete"
        assert events.next() is None
        assert time.monotonic() - began < AT_ONCE


def test_streams_are_bounded(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    opened = [listening(here) for _ in range(8)]
    for one in opened:
        one.__enter__()
    try:
        refused = here.ask("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        assert refused.status_code == 429
    finally:
        for one in opened:
            one.__exit__(None, None, None)
    with listening(here):
        pass


def test_a_stream_needs_something_to_listen_to(endpoint: MakeEndpoint) -> None:
    assert endpoint().ask("subscriptions/listen").status_code == 400


def test_a_long_call_shows_signs_of_life(endpoint: MakeEndpoint, running_server: Stand, engineer: Engineer) -> None:
    match = {"principal": engineer.principal, "path": "/zones$"}
    running_server.simulator.fault("latency", match=match, seconds=6.0)
    call = {"name": "cloudflare_call", "arguments": {"operation": "GET /zones"}}
    with stream(endpoint(), "tools/call", call, progressToken="p") as events:
        first, last = events.next(), events.next()
    assert first is not None
    assert last is not None
    assert first["method"] == "notifications/progress"
    assert first["params"]["progressToken"] == "p"
    assert last["result"]["isError"] is False


def test_a_client_that_hangs_up_cancels_its_call(
    endpoint: MakeEndpoint, running_server: Stand, tenant_mcp: TenantKit, engineer: Engineer
) -> None:
    running_server.simulator.fault("hang", match={"principal": engineer.principal, "path": "/zones$"})
    here = endpoint()
    body = message("tools/call", {"name": "cloudflare_zones-get"})
    headers = {"mcp-protocol-version": VERSION, "mcp-method": "tools/call", "mcp-name": "cloudflare_zones-get"}
    with pytest.raises(httpx.ReadTimeout):
        here.api.http.post(here.path, json=body, headers={**here.headers, **headers}, timeout=0.7)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        items = tenant_mcp.admin.ok("GET", f"/v1/audit/events?identifier={engineer.identifier}")["items"]
        if items[0]["outcome"] == "cancelled":
            return
        time.sleep(0.1)
    raise AssertionError(items[0])


def test_an_open_stream_does_not_hold_up_a_stop() -> None:
    with Stand() as stand:
        kit = stand.tenant()
        kit.connection()
        engineer = kit.engineer()
        here = Endpoint(engineer.api, f"/t/{kit.name}/mcp")
        with listening(here) as events:
            began = time.monotonic()
            assert stand.server.stop() == 0
            assert time.monotonic() - began < 8
            last = events.next()
            assert last is not None
            assert last["result"]["resultType"] == "complete"
        engineer.close()
        kit.close()

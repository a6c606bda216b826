"""A narrower bearer, or a narrower URL, of the same identity: what a wider one did is not shown to it."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from bench.kit import Api, Engineer, TenantKit


def session(kit: TenantKit, engineer: Engineer, **narrowed: Any) -> Api:
    return kit.stand.server.api(kit.session(engineer.identifier, **narrowed)["token"])


@pytest.fixture
def engineer(tenant: TenantKit) -> Iterator[Engineer]:
    tenant.connection()
    made = tenant.engineer()
    yield made
    made.close()


def test_a_programs_result_is_not_replayed_to_a_narrower_session(tenant: TenantKit, engineer: Engineer) -> None:
    """Sessions of one identity share their keys by the client's name, which is whatever the client says."""
    zone = tenant.stand.upstream.zones["example.com"]
    code = (
        "async () => { await cloudflare.request({method: 'POST', path: '/zones/"
        f"{zone}/purge_cache', body: {{purge_everything: true}}}}); return 'what the write answered' }}"
    )
    body = {"tool_name": "cloudflare_execute", "tool_input": {"code": code}, "idempotency_key": secrets.token_hex(8)}
    wide, again, narrow = (session(tenant, engineer, **more) for more in ({}, {}, {"access": "read"}))
    first = wide.ok("POST", "/v1/tools/execute", body)
    assert first["data"] == "what the write answered"
    assert again.ok("POST", "/v1/tools/execute", body)["replayed"] is True
    reply = narrow.send("POST", "/v1/tools/execute", json=body)
    assert reply.status_code == 409
    assert "what the write answered" not in reply.text
    for api in (wide, again, narrow):
        api.close()


def test_a_programs_result_is_not_replayed_once_the_grant_is_gone(tenant: TenantKit) -> None:
    tenant.connection()
    engineer = tenant.engineer(access=None)
    tenant.grant({"identifier": engineer.identifier}, "read")
    writing = tenant.grant({"identifier": engineer.identifier}, "write")
    zone = tenant.stand.upstream.zones["example.com"]
    code = (
        "async () => { await cloudflare.request({method: 'POST', path: '/zones/"
        f"{zone}/purge_cache', body: {{purge_everything: true}}}}); return 'what the write answered' }}"
    )
    body = {"tool_name": "cloudflare_execute", "tool_input": {"code": code}, "idempotency_key": secrets.token_hex(8)}
    for replayed in (False, True):
        assert engineer.api.ok("POST", "/v1/tools/execute", body)["replayed"] is replayed
    tenant.admin.ok("DELETE", f"/v1/grants/{writing['id']}")
    reply = engineer.api.send("POST", "/v1/tools/execute", json=body)
    assert (reply.status_code, reply.json()["code"]) == (403, "not_granted")
    assert "what the write answered" not in reply.text
    engineer.close()


def test_a_calls_result_is_not_replayed_to_a_narrower_url(tenant: TenantKit, engineer: Engineer) -> None:
    zone = tenant.stand.upstream.zones["example.com"]
    arguments = {
        "operation": "POST /zones/{zone_id}/purge_cache",
        "path_params": {"zone_id": zone},
        "body": {"purge_everything": True},
    }
    meta = {"keyreeve/idempotency_key": secrets.token_hex(8)}
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "cloudflare_call", "arguments": arguments, "_meta": meta},
    }
    replies = [
        engineer.api.ok("POST", f"/t/{tenant.name}/mcp{query}", message)
        for query in ("", "?access=read", "?tools=cloudflare_search", "?discover=1&tools=cloudflare_search")
    ]
    assert replies[0]["result"]["isError"] is False
    assert replies[1]["result"]["structuredContent"]["code"] == "forbidden"
    assert all("error" in reply for reply in replies[2:])
    inner = {"name": "call_tool", "arguments": {"name": "cloudflare_call", "arguments": arguments}, "_meta": meta}
    message["params"] = inner
    reply = engineer.api.ok("POST", f"/t/{tenant.name}/mcp?discover=1&tools=cloudflare_search", message)
    assert reply["result"]["structuredContent"]["code"] == "unknown_tool"

"""The protocol at the wire: status codes, headers, bounds; everything a client of either era stumbles over."""

import json
from typing import Any

import httpx

from bench.kit import TenantKit
from tests.e2e.mcp.conftest import MakeEndpoint, message


def error(reply: httpx.Response) -> tuple[int, int]:
    return reply.status_code, reply.json()["error"]["code"]


def test_both_eras_begin(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    found = here.result("server/discover")
    assert found["capabilities"]["tools"] == {"listChanged": True}
    begun = here.legacy("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}})
    assert begun.json()["result"]["protocolVersion"] == "2025-06-18"
    assert "mcp-session-id" not in begun.headers
    assert here.post({"jsonrpc": "2.0", "method": "notifications/initialized"}).status_code == 202
    assert here.legacy("ping").json()["result"] == {}


def test_every_path_serves_without_a_redirect(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> None:
    for place in (f"/t/{tenant_mcp.name}/mcp", "/mcp"):
        for path in (place, f"{place}/", f"{place}/cloudflare", f"{place}/cloudflare/"):
            assert "cloudflare_call" in endpoint(path=path).tools()


def test_other_methods(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    for method in ("GET", "DELETE", "PUT", "OPTIONS"):
        reply = here.api.send(method, here.path)
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")


def test_unknown_methods_and_eras(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    assert error(here.ask("tools/destroy")) == (404, -32601)
    assert error(here.ask("initialize")) == (404, -32601)
    assert error(here.ask("ping")) == (404, -32601)
    assert error(here.legacy("tools/destroy")) == (200, -32601)
    assert error(here.legacy("server/discover")) == (200, -32601)


def test_empty_lists_are_empty(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    for method, name in (
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ):
        found = here.result(method)
        assert found[name] == []
        assert found["cacheScope"] == "private"
    assert error(here.ask("prompts/get", {"name": "x"})) == (400, -32602)


def test_header_and_body_are_compared(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    body = message("tools/call", {"name": "cloudflare_call"})
    good = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call", "mcp_name": "cloudflare_call"}
    for wrong in ({"mcp_name": "cloudflare_zones-get"}, {"mcp_method": "tools/list"}):
        reply = here.post(body, **(good | wrong))
        assert error(reply) == (400, -32020)
        assert reply.json()["id"] == 1
    reply = here.post(message("tools/list"), mcp_protocol_version="1999-01-01", mcp_method="tools/list")
    assert error(reply) == (400, -32020)


def test_a_version_that_nobody_serves(endpoint: MakeEndpoint) -> None:
    body = message("tools/list")
    body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2031-01-01"
    reply = endpoint().post(body, mcp_protocol_version="2031-01-01", mcp_method="tools/list")
    assert error(reply) == (400, -32022)
    assert reply.json()["error"]["data"]["supported"] == ["2026-07-28"]


def test_malformed_bodies(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    headers = {**here.headers, "content-type": "application/json"}
    for content in (b"", b"{", b"[]", b"[1]", b"null", b"[" * 100_000, b'{"jsonrpc":"2.0","id":1}'):
        reply = here.api.send("POST", here.path, content=content, headers=headers)
        assert reply.status_code == 400
        assert reply.json()["error"]["code"] in (-32700, -32600)


def test_media_types(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    raw = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    for media_type in ("text/plain", "application/x-www-form-urlencoded"):
        reply = here.api.send("POST", here.path, content=raw, headers={**here.headers, "content-type": media_type})
        assert reply.status_code == 415
    assert endpoint(accept="text/html").legacy("ping").status_code == 406
    assert endpoint(accept="application/json").legacy("ping").status_code == 200
    assert endpoint(accept="*/*").legacy("ping").status_code == 200
    listen = endpoint(accept="application/json").ask("subscriptions/listen", {"notifications": {}})
    assert listen.status_code == 406


def test_a_large_call_goes_through_and_a_larger_one_does_not(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    filler = {"operation": "GET /zones", "query": {"name": "x" * 400_000}}
    assert here.legacy("tools/call", {"name": "cloudflare_call", "arguments": filler}).status_code == 200
    larger = b" " * (27 * 1024 * 1024)
    reply = here.api.send("POST", here.path, content=larger, headers=here.headers)
    assert reply.status_code == 413


def test_options_that_are_none(endpoint: MakeEndpoint) -> None:
    for query in ("?codemode=other", "?tool=x", "?access=everything", "?tools=a&tools=b"):
        assert error(endpoint(query=query).ask("tools/list")) == (400, -32600)


def test_metadata_is_served_for_every_endpoint(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> None:
    here = endpoint()
    base = tenant_mcp.stand.url
    for path in (f"/t/{tenant_mcp.name}/mcp", f"/t/{tenant_mcp.name}/mcp/cloudflare", "/mcp"):
        found: dict[str, Any] = here.api.ok("GET", f"/.well-known/oauth-protected-resource{path}")
        assert found["resource"] == f"{base}{path}"
    assert here.api.send("GET", "/.well-known/oauth-protected-resource/other").status_code == 404

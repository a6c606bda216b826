"""A server's tools through Keyreeve: both eras, every kind of content, and what a grant covers."""

import httpx
import pytest

from bench.kit import TenantKit
from tests.e2e.mcp_upstream.conftest import Connect, McpServers

ERAS = ("sdk", "older")


@pytest.mark.parametrize("era", ERAS)
def test_calls_of_both_eras(servers: McpServers, connect: Connect, era: str) -> None:
    up = connect(f"{servers.url}/{era}/mcp")
    assert up.names() == ["up_add", "up_drop_all", "up_echo", "up_fails", "up_picture"]
    for n in range(3):
        assert up.call("echo", text=f"é {n}")["data"]["content"] == [{"type": "text", "text": f"é {n}"}]
    assert up.call("add", a=1, b=2)["data"]["structuredContent"] == {"sum": 3}
    told = up.call("fails")
    assert told["is_error"]
    assert "the tool failed: Error executing tool fails" in told["error"]["detail"]
    blocks = up.call("picture", more={"as": "content"})["content"]
    assert [block["type"] for block in blocks] == ["image", "text"]


def test_nothing_is_a_read_unless_an_admin_says_so(servers: McpServers, connect: Connect) -> None:
    up = connect(f"{servers.url}/sdk/mcp", access="read")
    assert up.names() == []
    assert up.call("echo", status=403, text="x")["code"] == "not_granted"
    named = connect(f"{servers.url}/sdk/mcp", "named", access="read", read_tools=["add"])
    assert named.names() == ["named_add"]
    believed = connect(f"{servers.url}/sdk/mcp", "believed", access="write", read_tools="annotated")
    effects = {tool["name"]: tool["effect"] for tool in believed.listed()["tools"] if "believed" in tool["name"]}
    assert effects["believed_echo"] == "read"
    assert effects["believed_add"] == "write"
    assert "believed_drop_all" not in effects


def test_a_credential_that_the_server_refuses_is_not_kept(servers: McpServers, tenant: TenantKit) -> None:
    config = {"url": f"{servers.url}/sdk/mcp"}
    tenant.platform.ok("POST", "/v1/connections", {"name": "up", "connector": "mcp", "config": config})
    for era_credential in ({"kind": "bearer", "token": "bad-token-123"}, {"kind": "none"}):
        body = {"connection_name": "up", "identifier": tenant.identity(), "credential": era_credential}
        reply = tenant.admin.send("PUT", "/v1/connected_accounts", json=body)
        assert reply.status_code == 422, reply.text
        assert "bad-token-123" not in reply.text
    config = {"url": f"{servers.url}/older/mcp"}
    tenant.platform.ok("POST", "/v1/connections", {"name": "older", "connector": "mcp", "config": config})
    body = {"connection_name": "older", "identifier": tenant.identity(), "credential": {"kind": "none"}}
    assert tenant.admin.send("PUT", "/v1/connected_accounts", json=body).status_code == 422


def test_a_header_of_its_own(servers: McpServers, tenant: TenantKit) -> None:
    url = servers.tell("headers", tools=[{"name": "t", "inputSchema": {"type": "object"}}])
    tenant.platform.ok("POST", "/v1/connections", {"name": "h", "connector": "mcp", "config": {"url": url}})
    credential = {"kind": "header", "name": "X-Api-Key", "value": "sesame-12345"}
    who = tenant.identity()
    body = {"connection_name": "h", "identifier": who, "credential": credential}
    tenant.admin.ok("PUT", "/v1/connected_accounts", body)
    heard = servers.journal("headers", "tools/list")
    assert {entry["headers"]["x-api-key"] for entry in heard} == {"sesame-12345"}
    assert all("cookie" not in entry["headers"] for entry in heard)


def test_ready_made_servers(tenant: TenantKit) -> None:
    listed = tenant.admin.ok("GET", "/v1/connectors")["items"]
    ready = {line["name"] for line in next(c for c in listed if c["name"] == "mcp")["ready_made"]}
    assert {"cloudflare-docs", "cloudflare-graphql", "github"} <= ready
    # An admin of the tenant's own may: the address is a reviewed one.
    made = tenant.admin.ok(
        "POST", "/v1/connections", {"name": "docs", "connector": "mcp", "config": {"ready": "cloudflare-docs"}}
    )
    assert made["origins"] == ["https://docs.mcp.cloudflare.com"]
    elsewhere = {"name": "x", "connector": "mcp", "config": {"url": "https://mcp.example.com/mcp"}}
    assert tenant.admin.send("POST", "/v1/connections", json=elsewhere).status_code == 403


def test_a_replay_is_the_same_content(servers: McpServers, connect: Connect) -> None:
    up = connect(f"{servers.url}/sdk/mcp")
    more = {"idempotency_key": "k1", "as": "content"}
    first = up.call("picture", more=more)
    again = up.call("picture", more=more)
    assert again["replayed"]
    assert again["content"] == first["content"]


def test_an_engineer_connects_by_a_link(servers: McpServers, tenant: TenantKit) -> None:
    config = {"url": f"{servers.url}/sdk/mcp"}
    tenant.platform.ok("POST", "/v1/connections", {"name": "up", "connector": "mcp", "config": config})
    who = tenant.identity()
    link = tenant.admin.ok("POST", "/v1/connect_links", {"connection_name": "up", "identifier": who})
    page = httpx.get(link["url"], follow_redirects=True, trust_env=False)
    assert page.status_code == 200
    assert "bearer" in page.text


def test_another_address_forgets_what_was_pinned(servers: McpServers, connect: Connect) -> None:
    schema = {"type": "object"}
    up = connect(servers.tell("before", tools=[{"name": "a", "inputSchema": schema}]))
    url = servers.tell("after", tools=[{"name": "b", "inputSchema": schema}])
    up.kit.platform.ok("PATCH", "/v1/connections/up", {"config": {"url": url}})
    assert up.names() == [], "the tools of one server are not those of another"
    assert up.refresh()["applied"]
    assert up.names() == ["up_b"]

"""A server's tools at Keyreeve's own MCP endpoint, as a client of MCP sees them."""

from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bench.harness import Installed
from tests.e2e.mcp_upstream.conftest import Connect, Connected, McpServers
from tests.e2e.mcp_upstream.upstream import PIXEL


def raw(up: Connected, path: str, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """One message of the handshake era; its result or error."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params)}
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    found: dict[str, Any] = up.api.send("POST", path, json=body, headers=headers).json()
    result: dict[str, Any] = found.get("result", found)
    return result


@pytest.mark.parametrize("era", ["sdk", "older"])
async def test_the_sdks_client_sees_the_blocks(
    running_server: Installed[Any], servers: McpServers, connect: Connect, era: str
) -> None:
    up = connect(f"{servers.url}/{era}/mcp")
    headers = {"authorization": f"Bearer {up.api.key}"}
    url = f"{running_server.url}/t/{up.kit.name}/mcp"
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, verify=False) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(listed) == {"up_add", "up_drop_all", "up_echo", "up_fails", "up_picture"}
        hints = listed["up_drop_all"].annotations
        assert hints is not None
        assert (hints.read_only_hint, hints.destructive_hint) == (False, True)
        picture = await client.call_tool("up_picture", {})
        assert [block.type for block in picture.content] == ["image", "text"]
        assert getattr(picture.content[0], "data", None) == PIXEL
        added = await client.call_tool("up_add", {"a": 20, "b": 22})
        assert added.structured_content == {"sum": 42}
        failed = await client.call_tool("up_fails", {})
        assert failed.is_error
        assert "Error executing tool" in getattr(failed.content[0], "text", "")


def test_alone_a_connection_keeps_its_servers_names(servers: McpServers, connect: Connect) -> None:
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("do_it", "up_do", "connect", "db_connect")]
    up = connect(servers.tell("alone", tools=tools), prefix=False)
    here, all_ = f"/t/{up.kit.name}/mcp/up", f"/t/{up.kit.name}/mcp"
    named = [t["name"] for t in raw(up, here, "tools/list", {})["tools"]]
    assert "do_it" in named
    assert "up_up_do" in named, "a name that could be read as another tool's keeps its prefix"
    assert "connect" not in named
    assert all(t["name"].startswith("up_") for t in raw(up, all_, "tools/list", {})["tools"])
    for name in named:
        called = raw(up, here, "tools/call", {"name": name, "arguments": {}})
        assert called["content"] == [{"type": "text", "text": "done"}], called
    assert [e["message"]["params"]["name"] for e in servers.journal("alone")] == [
        {"do_it": "do_it", "up_up_do": "up_do", "db_connect": "db_connect"}.get(name, "connect") for name in named
    ]
    assert raw(up, all_, "tools/call", {"name": "do_it", "arguments": {}})["error"]["code"] == -32602

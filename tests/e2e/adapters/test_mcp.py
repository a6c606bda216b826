"""`keyreeve.adapters.mcp` with the real SDK client, against Keyreeve's own endpoint where this server has one."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from keyreeve import AsyncIdentityHandle, IdentityHandle
from keyreeve.adapters import mcp
from mcp import types

from bench.harness import Stand


@pytest.fixture
def endpoint(running_server: Stand) -> None:
    """Skips where this server does not speak MCP."""
    if httpx.post(f"{running_server.url}/mcp", json={}, trust_env=False).status_code == 404:
        pytest.skip("this server has no MCP endpoint yet")


async def test_the_sdks_client_lists_and_calls(
    endpoint: None, async_handle: AsyncIdentityHandle, sent: Callable[[], list[str]]
) -> None:
    async with mcp.client(async_handle) as client:
        listed = await client.list_tools()
        assert "cloudflare_call" in {tool.name for tool in listed.tools}
        result = await client.call_tool("cloudflare_call", {"operation": "GET /zones"})
        wrong = await client.call_tool("cloudflare_call", {"operation": "GET /zonez"})
    assert not result.is_error
    assert isinstance(result.content[0], types.TextContent)
    assert "example.com" in result.content[0].text
    assert wrong.is_error
    assert len(sent()) == 1


async def test_the_token_is_asked_for_at_each_request(
    endpoint: None, async_handle: AsyncIdentityHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    session = AsyncIdentityHandle.session

    async def counted(self: AsyncIdentityHandle) -> Any:
        asked.append(await session(self))
        return asked[-1]

    monkeypatch.setattr(AsyncIdentityHandle, "session", counted)
    async with mcp.client(async_handle, connection_name="cloudflare") as client:
        await client.list_tools()
        before = len(asked)
        await client.call_tool("cloudflare_call", {"operation": "GET /zones"})
    assert len(asked) > before


def test_a_connection_for_any_client(handle: IdentityHandle, running_server: Stand) -> None:
    where = mcp.connection(handle)
    assert where.url.startswith(f"{running_server.url}/t/")
    assert where.url.endswith("/mcp")
    assert where.headers["Authorization"].startswith("Bearer krv_st_")
    assert "krv_st_" not in repr(where), "a token does not stand in a log by accident"
    assert mcp.connection(handle, connection_name="cloudflare").url == f"{where.url}/cloudflare"

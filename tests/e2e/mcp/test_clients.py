"""The SDK's own client, in both eras, against a running installation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as t
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bench.kit import Engineer, TenantKit

ZONES = {"operation": "GET /zones"}


@asynccontextmanager
async def client(tenant: TenantKit, token: str, mode: Any, query: str = "", **options: Any) -> AsyncIterator[Client]:
    url = f"{tenant.stand.url}/t/{tenant.name}/mcp{query}"
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(10, read=60), trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **options) as found,
    ):
        yield found


@pytest.mark.parametrize(
    ("mode", "version"), [("auto", "2026-07-28"), ("2026-07-28", "2026-07-28"), ("legacy", "2025-11-25")]
)
async def test_list_and_call(tenant_mcp: TenantKit, engineer: Engineer, mode: str, version: str) -> None:
    async with client(tenant_mcp, engineer.session, mode) as found:
        assert found.protocol_version == version
        listed = await found.list_tools()
        assert "cloudflare_call" in [tool.name for tool in listed.tools]
        answer = await found.call_tool("cloudflare_call", ZONES)
        assert answer.is_error is False
        refused = await found.call_tool("cloudflare_call", {"operation": "GET /nowhere"})
        assert refused.is_error is True
        assert refused.structured_content is not None
        assert refused.structured_content["code"] == "unknown_operation"


async def test_a_person_connects_in_the_middle_of_a_call(tenant_mcp: TenantKit) -> None:
    identifier = tenant_mcp.identity()
    tenant_mcp.grant({"identifier": identifier}, "read")
    visited: list[str] = []

    async def in_browser(_: Any, params: t.ElicitRequestParams) -> t.ElicitResult:
        assert isinstance(params, t.ElicitRequestURLParams)
        visited.append(params.url)
        tenant_mcp.account(identifier, tenant_mcp.stand.upstream.token()["value"])
        return t.ElicitResult(action="accept")

    session = tenant_mcp.session(identifier)["token"]
    async with client(tenant_mcp, session, "2026-07-28", elicitation_callback=in_browser) as found:
        answer = await found.call_tool("cloudflare_call", ZONES)
    assert visited == [f"{tenant_mcp.stand.url}/connect/{tenant_mcp.name}/cloudflare"]
    assert answer.is_error is False


async def test_changes_are_heard(tenant_mcp: TenantKit, engineer: Engineer) -> None:
    async with client(tenant_mcp, engineer.session, "2026-07-28") as found:
        before = len((await found.list_tools()).tools)
        async with found.listen(tools_list_changed=True) as subscription:
            tenant_mcp.connection("second")
            tenant_mcp.grant({"identifier": engineer.identifier}, "read", "second")
            await anext(aiter(subscription))
            listed = await found.list_tools(cache_mode="refresh")
            assert len(listed.tools) > before

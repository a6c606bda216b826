"""An MCP endpoint and its raw messages: what no SDK would send must be tried too."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

from bench.kit import Api, Engineer, TenantKit

VERSION = "2026-07-28"
BOTH_TYPES = "application/json, text/event-stream"


def message(
    method: str, params: Mapping[str, Any] | None = None, *, capabilities: Mapping[str, Any] | None = None, **meta: Any
) -> dict[str, Any]:
    """A request of 2026-07-28."""
    envelope = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": dict(capabilities or {}),
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), "_meta": {**envelope, **meta}}}


class Endpoint:
    """One caller at one endpoint."""

    def __init__(self, api: Api, path: str, headers: Mapping[str, str] | None = None) -> None:
        self.api = api
        self.path = path
        self.headers = {"accept": BOTH_TYPES, **(headers or {})}

    def post(self, body: Any, **headers: str) -> httpx.Response:
        """One message, whatever it is; `_` in a header's name stands for `-`."""
        given = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.send("POST", self.path, json=body, headers=given)

    def ask(self, method: str, params: Mapping[str, Any] | None = None, **options: Any) -> httpx.Response:
        """A request of 2026-07-28."""
        body = message(method, params, **options)
        headers = {"mcp-protocol-version": VERSION, "mcp-method": method}
        named = body["params"].get("uri" if method == "resources/read" else "name")
        if named is not None:
            headers["mcp-name"] = named
        return self.post(body, **headers)

    def legacy(self, method: str, params: Mapping[str, Any] | None = None) -> httpx.Response:
        """A request of 2025-11-25."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params or {})}
        return self.post(body, mcp_protocol_version="2025-11-25")

    def result(self, method: str, params: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Its result. Raises AssertionError where there is none."""
        reply = self.ask(method, params, **options)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()["result"]
        return found

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """The result of a tool."""
        return self.result("tools/call", {"name": name, "arguments": dict(arguments or {})}, **options)

    def tools(self) -> list[str]:
        """The names listed."""
        return [tool["name"] for tool in self.result("tools/list")["tools"]]


MakeEndpoint = Callable[..., Endpoint]


@pytest.fixture
def tenant_mcp(tenant: TenantKit) -> TenantKit:
    """A tenant with a connection of a few typed tools."""
    tenant.connection(tools=["GET /zones", "POST /zones/{zone_id}/purge_cache"])
    return tenant


@pytest.fixture
def engineer(tenant_mcp: TenantKit) -> Iterator[Engineer]:
    """Somebody who may do everything."""
    made = tenant_mcp.engineer()
    yield made
    made.close()


@pytest.fixture
def endpoint(tenant_mcp: TenantKit, engineer: Engineer) -> Iterator[MakeEndpoint]:
    """Makes endpoints: of the engineer at the tenant's own, unless told otherwise."""
    used: list[Api] = []

    def make(api: Api | None = None, *, path: str | None = None, query: str = "", **headers: str) -> Endpoint:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        used.append(api or engineer.api)
        return Endpoint(used[-1], (path or f"/t/{tenant_mcp.name}/mcp") + query, named)

    yield make
    for api in used:
        api.close()

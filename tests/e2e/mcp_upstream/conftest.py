"""An installation beside MCP servers, and the short way to a connected engineer on one of them."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.harness import Installed, free_port
from bench.kit import Api, TenantKit
from bench.processes import Process


class McpServers:
    """The process of upstream.py."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        command = [sys.executable, "-m", "tests.e2e.mcp_upstream.upstream", str(port)]
        self.process = Process("mcp-servers", command, folder)
        self.url: str = self.process.start()["url"]
        self.base_url = self.url
        self.address = self.url.removeprefix("http://")
        self._http = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
        for _ in range(200):
            try:
                self._http.get("/journal")
                return
            except httpx.ConnectError:
                time.sleep(0.05)
        raise AssertionError("the MCP servers did not start")

    def description(self) -> bytes:
        """None of these connections has one."""
        return b"{}"

    def tell(self, name: str, **how: Any) -> str:
        """How the raw server answers from now on; its address."""
        assert self._http.post(f"/control/{name}", json=how).status_code == 200
        return f"{self.url}/raw/{name}"

    def journal(self, name: str, method: str = "tools/call") -> list[dict[str, Any]]:
        """The messages of a method that a raw server got."""
        found: list[dict[str, Any]] = self._http.get("/journal").json()
        return [entry for entry in found if entry["server"] == name and entry["message"]["method"] == method]

    def stop(self) -> None:
        """Ends it."""
        self._http.close()
        self.process.stop()


@pytest.fixture(scope="session")
def running_server() -> Iterator[Installed[McpServers]]:
    with Installed(McpServers) as installed:
        yield installed
        faults = [line for line in installed.server.logs().splitlines() if b'"unhandled"' in line]
    assert not faults, f"{len(faults)} requests met a fault of ours, the first: {faults[0][:4000]!r}"


@pytest.fixture(scope="session")
def servers(running_server: Installed[McpServers]) -> McpServers:
    return running_server.upstream


class Connected:
    """One engineer on one connection."""

    def __init__(self, kit: TenantKit, name: str, identifier: str) -> None:
        self.kit = kit
        self.name = name
        self.identifier = identifier
        self.api: Api = kit.stand.server.api(kit.session(identifier)["token"])

    def call(self, tool: str, *, status: int = 200, more: Any = None, **arguments: Any) -> dict[str, Any]:
        """One execute_tool of the connection."""
        body = {"tool_name": f"{self.name}_{tool}", "tool_input": arguments, **(more or {})}
        reply = self.api.send("POST", "/v1/tools/execute", json=body)
        assert reply.status_code == status, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def listed(self) -> dict[str, Any]:
        """The scoped tools."""
        return self.api.ok("GET", "/v1/tools/scoped")

    def names(self) -> list[str]:
        """Their names."""
        return [tool["name"] for tool in self.listed()["tools"]]

    def refresh(self) -> dict[str, Any]:
        """`:refresh`, as an admin."""
        return self.kit.admin.ok("POST", f"/v1/connections/{self.name}:refresh", {})


Connect = Callable[..., Connected]


@pytest.fixture
def connect(tenant: TenantKit) -> Iterator[Connect]:
    """Connects a new engineer to a server."""
    made: list[Connected] = []

    def make(
        url: str, name: str = "up", *, token: str = "good-token", access: str = "destructive", **config: Any
    ) -> Connected:
        wanted = {"name": name, "connector": "mcp", "config": {"url": url, **config}}
        tenant.platform.ok("POST", "/v1/connections", wanted)
        identifier = tenant.identity()
        body = {
            "connection_name": name,
            "identifier": identifier,
            "credential": {"kind": "bearer", "token": token},
        }
        tenant.admin.ok("PUT", "/v1/connected_accounts", body)
        tenant.grant({"identifier": identifier}, access, name)
        made.append(Connected(tenant, name, identifier))
        return made[-1]

    yield make
    for connected in made:
        connected.api.close()

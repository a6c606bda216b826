"""Codex at our endpoint, set up as README.md and `keyreeve mcp add` set it up."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from bench.kit import Engineer, TenantKit
from broker.endpoints.pages.setups import setups
from tests.clients.codex import Codex, model, program
from tests.clients.node import PATIENCE
from tests.e2e.cli.shell import Shell
from tests.e2e.node_clients.conftest import Expire
from tests.e2e.oauth.person import Person

CALL = "cloudflare_call"
ZONES = {"operation": "GET /zones"}


@pytest.fixture
def codex(tmp_path: Path) -> Iterator[Codex]:
    program()
    home = tmp_path / "home"
    home.mkdir()
    with model() as scripted:
        yield Codex(home, scripted)


@pytest.fixture
def engineer(acme: TenantKit) -> Engineer:
    return acme.engineer()


def test_its_helper_mints_its_sessions(acme: TenantKit, engineer: Engineer, codex: Codex) -> None:
    always = ["--data-dir", str(acme.stand.data_dir), "--tenant", acme.name]
    before = codex.config.read_text()
    Shell({"HOME": str(codex.home)}, always).ok(
        "mcp", "add", "codex", "--identifier", engineer.identifier, "--access", "read"
    )
    assert codex.config.read_text().startswith(before.rstrip())
    codex.go((CALL, ZONES, None))
    assert CALL in codex.model.tools()
    assert ["example.org" in told for told in codex.model.results()] == [True], codex.model.results()


def test_it_signs_in(acme: TenantKit, engineer: Engineer, codex: Codex, expire: Expire) -> None:
    text = next(s.text for s in setups(f"{acme.stand.url}/t/{acme.name}/mcp") if s.editor == "Codex")
    codex.config.write_text(f"{codex.config.read_text()}\n{text}\n")

    def sign_in(access: str) -> None:
        def browser(url: str) -> None:
            parts = urlsplit(url)
            agreed = Person(acme, engineer.identifier).consent(f"{parts.path}?{parts.query}", access=access)
            assert agreed.status_code == 303, agreed.text
            assert httpx.get(agreed.headers["location"], trust_env=False, timeout=PATIENCE).status_code == 200

        assert "Successfully logged in" in codex.login(browser)

    sign_in("read")
    zone = acme.stand.upstream.zones["example.com"]
    purge = {"operation": "POST /zones/{zone_id}/purge_cache", "path_params": {"zone_id": zone}}
    purge["body"] = {"purge_everything": True}
    approved = ("-c", 'mcp_servers.keyreeve.default_tools_approval_mode="approve"')
    codex.go(
        (CALL, ZONES, None),
        (CALL, ZONES, lambda: expire(acme, engineer)),
        (CALL, purge, None),
        (CALL, ZONES, None),
        options=approved,
    )
    first, renewed, refused, went_on = codex.model.results()
    assert all("example.org" in told for told in (first, renewed, went_on)), codex.model.results()
    assert "Insufficient scope" in refused
    sign_in("write")
    codex.go((CALL, purge, None), options=approved)
    (purged,) = codex.model.results()
    assert "success" in purged, purged
    kept = {file.name for file in codex.home.rglob("*") if file.is_file() and b"krv_" in file.read_bytes()}
    assert kept == {".credentials.json"}

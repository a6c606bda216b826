"""`keyreeve mcp add` and `mcp token`: what they write works, and holds no secret."""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from broker.endpoints.pages.setups import setups
from tests.e2e.cli.shell import Shell
from tests.e2e.oauth.person import Editor


@pytest.fixture
def engineer(tenant: TenantKit) -> Engineer:
    tenant.connection()
    return tenant.engineer()


@pytest.fixture
def local(running_server: Stand, tenant: TenantKit, tmp_path: Path) -> Shell:
    """Somebody beside the server, with a home of their own."""
    always = ["--data-dir", str(running_server.data_dir), "--tenant", tenant.name]
    return Shell({"HOME": str(tmp_path)}, always, own_process=True)


def test_claude_code_mints_its_own_sessions(
    tenant: TenantKit, engineer: Engineer, local: Shell, tmp_path: Path
) -> None:
    done = local.ok("mcp", "add", "claude-code", "--identifier", engineer.identifier, "--access", "read")
    assert done["signs_in"] is False
    kept = json.loads((tmp_path / ".claude.json").read_text())
    entry = kept["mcpServers"]["keyreeve"]
    assert entry["url"] == f"{tenant.stand.server.url}/t/{tenant.name}/mcp"
    script = Path(entry["headersHelper"])
    assert script.stat().st_mode & 0o777 == 0o700
    assert "krv_" not in script.read_text() + json.dumps(kept)
    ran = subprocess.run([script], capture_output=True, text=True, timeout=60, check=True)
    token = json.loads(ran.stdout)["Authorization"].removeprefix("Bearer ")
    editor = Editor(tenant, "x")
    assert editor.tools(token).status_code == 200
    assert tenant.admin.ok("GET", "/v1/sessions?page_size=1000")["items"][-1]["access"] == "read"


@pytest.mark.parametrize(("name", "file", "section"), [
    ("cursor", ".cursor/mcp.json", "mcpServers"),
    ("vscode", ".config/Code/User/mcp.json", "servers"),
])  # fmt: skip
def test_others_are_told_the_address(
    engineer: Engineer, local: Shell, tmp_path: Path, name: str, file: str, section: str
) -> None:
    done = local.ok("mcp", "add", name, "--identifier", engineer.identifier, "--connection", "cloudflare")
    assert done["signs_in"] is True
    entry = json.loads((tmp_path / file).read_text())[section]["keyreeve"]
    assert entry["url"].endswith("/mcp/cloudflare")
    assert "headersHelper" not in entry
    refused = local.run("mcp", "add", name, "--identifier", engineer.identifier)
    assert refused.code != 0, "another entry of that name is not replaced unasked"


def test_codex_mints_its_own_sessions(
    tenant: TenantKit, engineer: Engineer, local: Shell, running_server: Stand, tmp_path: Path
) -> None:
    added = ("mcp", "add", "codex", "--identifier", engineer.identifier)
    assert local.ok(*added)["signs_in"] is False
    file = tmp_path / ".codex" / "config.toml"
    entry = tomllib.loads(file.read_text())["mcp_servers"]["keyreeve"]
    assert entry.keys() == {"url", "http_headers_helper"}
    assert "krv_" not in file.read_text()
    shell = ["sh", "-c", entry["http_headers_helper"]]  # which is how Codex runs it
    ran = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True)
    token = json.loads(ran.stdout)["Authorization"].removeprefix("Bearer ")
    assert Editor(tenant, "x").tools(token).status_code == 200
    always = ["--data-dir", str(running_server.data_dir), "--tenant", tenant.name]
    moved = Shell({"HOME": str(tmp_path), "CODEX_HOME": str(tmp_path / "elsewhere")}, always, own_process=True)
    assert moved.ok(*added)["file"] == str(tmp_path / "elsewhere" / "config.toml")


def test_claude_desktop_is_told_of_mcp_remote(engineer: Engineer, local: Shell, tmp_path: Path) -> None:
    done = local.ok("mcp", "add", "claude-desktop", "--identifier", engineer.identifier)
    assert done["signs_in"] is True
    kept = json.loads((tmp_path / ".config/Claude/claude_desktop_config.json").read_text())["mcpServers"]
    shown = next(setup.text for setup in setups(done["entry"]["args"][-1]) if setup.editor == "Claude Desktop")
    assert kept == json.loads(shown)["mcpServers"]
    assert local.run("mcp", "add", "claude-desktop", "--identifier", engineer.identifier, "--project").code != 0


def test_who_is_unknown_gets_no_configuration(tenant: TenantKit, local: Shell, tmp_path: Path) -> None:
    assert local.run("mcp", "add", "claude-code", "--identifier", "nobody@acme.example").code != 0
    assert local.run("mcp", "add", "emacs").code != 0
    assert list(tmp_path.iterdir()) == []


def test_clients_over_the_command_line(tenant: TenantKit, local: Shell) -> None:
    made = local.ok("clients", "add", "cursor", "--redirect", "cursor://anysphere.cursor-mcp/oauth/callback")
    assert made["source"] == "admin"
    assert [c["client_id"] for c in local.ok("clients", "list")["items"]] == ["cursor"]
    assert local.ok("clients", "delete", "cursor")["signed_out"] == 0

"""Claude Code at our endpoint, with a model that plays scripts: it lists and calls, follows changes, and survives the
end of its token where it can be given another."""

import json

import pytest

from bench.kit import Engineer, TenantKit
from tests.clients.claude import ClaudeCode, Talk
from tests.e2e.cli.shell import Shell
from tests.e2e.model_api import ModelApi
from tests.e2e.node_clients.conftest import Expire
from tests.security.canary import find

CALL, PURGE = "mcp__keyreeve__cloudflare_call", "mcp__keyreeve__cloudflare_zone-purge"
ZONES = {"operation": "GET /zones"}


@pytest.fixture
def talk(models: ModelApi) -> Talk:
    return Talk(models)


def add_with_header(claude: ClaudeCode, kit: TenantKit, engineer: Engineer) -> None:
    url, header = f"{kit.stand.url}/t/{kit.name}/mcp", f"Authorization: Bearer {engineer.session}"
    claude.ok("mcp", "add", "--transport", "http", "keyreeve", url, "--header", header)


def test_it_lists_and_calls(acme: TenantKit, claude: ClaudeCode, talk: Talk) -> None:
    engineer = acme.engineer()
    add_with_header(claude, acme, engineer)
    assert claude.state("keyreeve") == "Connected"
    claude.go(talk.finds(CALL).calls(CALL, ZONES).says("two zones"))
    assert [not r["is_error"] and "example.org" in r["text"] for r in talk.results(CALL)] == [True]
    heard = acme.stand.upstream.journal(principal=engineer.principal)
    assert [(e["method"], e["path"]) for e in heard if e["path"].endswith("/zones")]
    assert find({"the model": json.dumps(talk.script.requests).encode()}, [engineer.session]) == []


def test_a_tool_granted_meanwhile_can_be_called(acme: TenantKit, claude: ClaudeCode, talk: Talk) -> None:
    engineer = acme.engineer(access="read")
    add_with_header(claude, acme, engineer)
    zone = acme.stand.upstream.zones["example.com"]
    purge = {"zone_id": zone, "body": {"purge_everything": True}}

    def grant() -> None:
        assert PURGE not in json.dumps(talk.script.requests), "it was listed before it was granted"
        acme.grant({"identifier": engineer.identifier}, "write")

    talk.finds(CALL).calls(CALL, ZONES, first=grant).finds(PURGE).calls(PURGE, purge).says("purged")
    claude.go(talk)
    assert [r["is_error"] for r in talk.results(PURGE)] == [False], talk.results(PURGE)


def test_a_header_is_as_good_as_its_token(acme: TenantKit, claude: ClaudeCode, talk: Talk, expire: Expire) -> None:
    engineer = acme.engineer()
    add_with_header(claude, acme, engineer)
    talk.finds(CALL).calls(CALL, ZONES).calls(CALL, ZONES, first=lambda: expire(acme, engineer)).says("no more")
    claude.go(talk)
    good, bad = talk.results(CALL)
    assert not good["is_error"]
    assert bad["is_error"]
    assert "Authorization" in bad["text"]


def test_its_helper_mints_again(acme: TenantKit, claude: ClaudeCode, talk: Talk, expire: Expire) -> None:
    engineer = acme.engineer()
    always = ["--data-dir", str(acme.stand.data_dir), "--tenant", acme.name]
    shell = Shell({"HOME": str(claude.home)}, always)
    shell.ok("mcp", "add", "claude-code", "--identifier", engineer.identifier, "--access", "read")
    assert claude.state("keyreeve") == "Connected"
    talk.finds(CALL).calls(CALL, ZONES).calls(CALL, ZONES, first=lambda: expire(acme, engineer)).says("went on")
    claude.go(talk)
    assert [r["is_error"] for r in talk.results(CALL)] == [False, False], talk.results(CALL)
    assert [name for name, content in claude.files().items() if b"krv_" in content] == []


def test_its_folder_may_be_elsewhere(acme: TenantKit, claude: ClaudeCode) -> None:
    engineer = acme.engineer()
    claude.more = {"CLAUDE_CONFIG_DIR": str(claude.home / "elsewhere")}
    always = ["--data-dir", str(acme.stand.data_dir), "--tenant", acme.name]
    Shell({"HOME": str(claude.home), **claude.more}, always).ok(
        "mcp", "add", "claude-code", "--identifier", engineer.identifier, "--name", "elsewhere"
    )
    assert claude.state("elsewhere") == "Connected"
    assert not (claude.home / ".claude.json").exists()

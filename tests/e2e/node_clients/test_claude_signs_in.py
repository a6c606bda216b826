"""Claude Code signs in with the browser, at our authorization server, and stays signed in."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from bench.kit import Engineer, TenantKit
from tests.clients.claude import CLIENT_ID, ClaudeCode, Talk
from tests.e2e.model_api import ModelApi
from tests.e2e.node_clients.conftest import Expire
from tests.e2e.oauth.person import Person

CALL = "mcp__keyreeve__cloudflare_call"
ZONES = {"operation": "GET /zones"}


@pytest.fixture
def engineer(seeded_tenant: TenantKit) -> Engineer:
    return seeded_tenant.engineer()


@pytest.fixture
def talk(models: ModelApi) -> Talk:
    return Talk(models)


def sign_in(claude: ClaudeCode, kit: TenantKit, engineer: Engineer, access: str = "read") -> dict[str, list[str]]:
    """By `claude mcp login` and our consent page. What Claude Code asked for."""
    asked: dict[str, list[str]] = {}

    def browser(url: str) -> str:
        parts = urlsplit(url)
        asked.update(parse_qs(parts.query))
        answer = Person(kit, engineer.identifier).consent(f"{parts.path}?{parts.query}", access=access)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    claude.login("keyreeve", browser)
    return asked


def added(claude: ClaudeCode, kit: TenantKit) -> ClaudeCode:
    claude.ok("mcp", "add", "--transport", "http", "keyreeve", f"{kit.stand.url}/t/{kit.name}/mcp")
    return claude


def tokens(claude: ClaudeCode) -> dict[str, object]:
    """What it keeps of its sign-in."""
    kept = json.loads((claude.home / ".claude" / ".credentials.json").read_text())
    (found,) = kept["mcpOAuth"].values()
    return dict(found)


def test_it_signs_in_once(seeded_tenant: TenantKit, engineer: Engineer, claude: ClaudeCode, talk: Talk) -> None:
    added(claude, seeded_tenant)
    assert claude.state("keyreeve") == "Needs authentication"
    asked = sign_in(claude, seeded_tenant, engineer)
    assert asked["client_id"] == [CLIENT_ID]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["resource"] == [f"{seeded_tenant.stand.url}/t/{seeded_tenant.name}/mcp"]
    assert claude.state("keyreeve") == "Connected"
    claude.go(talk.finds(CALL).calls(CALL, ZONES).says("two zones"))
    assert [r["is_error"] for r in talk.results(CALL)] == [False]
    where = {name for name, content in claude.files().items() if b"krv_st_" in content or b"krv_rt_" in content}
    assert where == {".claude/.credentials.json"}


def test_a_token_that_ends_is_renewed(
    seeded_tenant: TenantKit, engineer: Engineer, claude: ClaudeCode, talk: Talk, expire: Expire
) -> None:
    sign_in(added(claude, seeded_tenant), seeded_tenant, engineer)
    before = tokens(claude)
    talk.finds(CALL).calls(CALL, ZONES).calls(CALL, ZONES, first=lambda: expire(seeded_tenant, engineer)).says("on")
    claude.go(talk)
    assert [r["is_error"] for r in talk.results(CALL)] == [False, False], talk.results(CALL)
    after = tokens(claude)
    assert after["accessToken"] != before["accessToken"]
    assert after["refreshToken"] != before["refreshToken"]


def test_its_own_clock_is_enough(
    seeded_tenant: TenantKit, engineer: Engineer, claude: ClaudeCode, models: ModelApi
) -> None:
    """A token that by its own reckoning is over is renewed before it is used; one that is good for long is not."""
    sign_in(added(claude, seeded_tenant), seeded_tenant, engineer)
    first = tokens(claude)
    claude.go(Talk(models).finds(CALL).calls(CALL, ZONES).says("good"))
    assert tokens(claude)["accessToken"] == first["accessToken"]
    file = claude.home / ".claude" / ".credentials.json"
    kept = json.loads(file.read_text())
    for entry in kept["mcpOAuth"].values():
        entry["expiresAt"] -= 901_000
    file.write_text(json.dumps(kept))
    again = Talk(models)
    claude.go(again.finds(CALL).calls(CALL, ZONES).says("renewed"))
    assert [r["is_error"] for r in again.results(CALL)] == [False]
    assert tokens(claude)["accessToken"] != first["accessToken"]


def test_who_left_is_signed_out(seeded_tenant: TenantKit, engineer: Engineer, claude: ClaudeCode) -> None:
    sign_in(added(claude, seeded_tenant), seeded_tenant, engineer)
    assert claude.state("keyreeve") == "Connected"
    seeded_tenant.admin.ok("POST", f"/v1/identities/{engineer.identifier}:offboard", {"reason": "left"})
    assert claude.state("keyreeve") == "Needs authentication"


def test_it_steps_up(seeded_tenant: TenantKit, engineer: Engineer, claude: ClaudeCode, models: ModelApi) -> None:
    """Signed in to read, a call that changes something is refused in a way that leads to a wider sign-in."""
    sign_in(added(claude, seeded_tenant), seeded_tenant, engineer)
    zone = seeded_tenant.stand.upstream.zones["example.com"]
    purge = {"operation": "POST /zones/{zone_id}/purge_cache", "path_params": {"zone_id": zone}}
    purge["body"] = {"purge_everything": True}
    narrow = Talk(models)
    claude.go(narrow.finds(CALL).calls(CALL, purge).calls(CALL, ZONES).says("may only read"))
    refused, went_on = narrow.results(CALL)
    assert [refused["is_error"], went_on["is_error"]] == [True, False]
    assert 'needs additional permissions (scope: "tools:read tools:write")' in refused["text"]
    asked = sign_in(claude, seeded_tenant, engineer, access="write")
    assert asked["scope"] == ["tools:read tools:write"]
    wide = Talk(models)
    claude.go(wide.finds(CALL).calls(CALL, purge).says("purged"))
    assert [r["is_error"] for r in wide.results(CALL)] == [False], wide.results(CALL)

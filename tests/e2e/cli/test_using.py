"""From a token to a working tool, and what refusals say: `connect`, `tools`, `call`, `allow`, `why`, `tail`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.harness import Stand
from bench.kit import SPEC_NAME, TenantKit
from tests.e2e.cli.shell import Shell

GET_ZONES = ("call", "cloudflare_call", "operation=GET /zones")


def connect_words(stand: Stand, who: str, *more: str) -> tuple[str, ...]:
    where = ("--base-url", stand.simulator.base_url, "--spec", SPEC_NAME)
    return ("connect", "cloudflare", "--identifier", who, *where, "--token-file", "-", "--yes", *more)


def test_connect_then_call(running_server: Stand, tenant: TenantKit, platform: Callable[[], Shell]) -> None:
    shell, token = platform(), running_server.simulator.token()
    ran = shell.run(*connect_words(running_server, "ada"), text=token["value"] + "\n")
    assert ran.code == 0, ran
    assert token["value"] not in ran.out + ran.err
    assert ran.json["connected_account"]["upstream"]["principal"] == token["principal"]
    assert ran.json["connected_account"]["status"] == "active"

    answer = shell.ok(*GET_ZONES, "query.name=example.com", "-i", "ada")
    assert [z["name"] for z in answer["data"]["result"]] == ["example.com"]
    assert running_server.simulator.journal(principal=token["principal"])[-1]["path"].endswith("/zones")
    listed = [t["name"] for t in shell.ok("tools", "-i", "ada")["tools"]]
    assert listed == ["cloudflare_call", "cloudflare_execute", "cloudflare_search"]

    # Again: nothing is made twice.
    again = shell.ok(*connect_words(running_server, "ada"), text=token["value"])
    assert again["grant_id"] == ran.json["grant_id"]
    assert len(shell.ok("grants", "list")["items"]) == 1
    assert len(shell.ok("accounts", "list")["items"]) == 1


def test_a_token_that_does_not_verify_is_not_kept(
    running_server: Stand, tenant: TenantKit, platform: Callable[[], Shell]
) -> None:
    shell = platform()
    ran = shell.run(*connect_words(running_server, "eve"), text="cfut_" + "x" * 48)
    assert (ran.code, ran.problem["code"]) == (7, "invalid_input"), ran
    assert shell.ok("accounts", "list")["items"] == []


def test_connect_on_a_terminal_hides_the_token_and_asks(
    running_server: Stand, tenant: TenantKit, platform: Callable[[], Shell]
) -> None:
    token = running_server.simulator.token()
    words = ("connect", "cloudflare", "-i", "ada", "--base-url", running_server.simulator.base_url, "--spec", SPEC_NAME)
    ran = platform().on_terminal(*words, answers=[("Token (not shown)", token["value"]), ("Go on?", "y")])
    assert ran.code == 0, ran.out
    assert token["value"] not in ran.out
    assert "ada may read through cloudflare" in ran.out
    assert "Verified: " in ran.out


@pytest.fixture
def engineer(tenant: TenantKit) -> str:
    tenant.connection()
    made = tenant.engineer(access="read")
    made.close()
    return made.identifier


def test_exit_codes(shell: Shell, engineer: str, running_server: Stand) -> None:
    zone = running_server.simulator.zones["example.com"]
    for code, told, words in (
        (0, None, ("operation=GET /zones",)),
        (4, "not_granted", ("operation=POST /zones/{zone_id}/purge_cache", f"path_params.zone_id={zone}", "body={}")),
        (5, "unknown_operation", ("operation=GET /zonez",)),
        (7, "invalid_input", ("operation=GET /zones/{zone_id}",)),
        (11, None, ("operation=GET /zones/{zone_id}", f"path_params.zone_id={'f' * 32}")),
    ):
        ran = shell.run("call", "cloudflare_call", *words, "-i", engineer)
        assert ran.code == code, (words, ran)
        if told is not None:
            assert ran.problem["code"] == told
        else:
            assert ran.json["is_error"] is (code == 11)
    assert shell.run("call", "nonsense_call", "operation=x", "-i", engineer).problem["code"] == "unknown_connection"
    assert shell.run("call", "cloudflare_call", "operation", "-i", engineer).code == 2
    stranger = Shell({**shell.environment, "KEYREEVE_API_KEY": "krv_op_nonsense"})
    assert stranger.run(*GET_ZONES, "-i", engineer).code == 3


def test_a_session_token_needs_no_identifier(shell: Shell, engineer: str) -> None:
    made = shell.ok("sessions", "create", engineer, "--ttl", "60")
    agent = Shell({**shell.environment, "KEYREEVE_API_KEY": made["token"]})
    assert agent.ok(*GET_ZONES)["is_error"] is False
    assert agent.run("identities", "list").code == 4


def test_allow_makes_the_narrowest_grant(shell: Shell, engineer: str, running_server: Stand) -> None:
    zone, other = running_server.simulator.zones["example.com"], running_server.simulator.zones["example.org"]

    def purge(zone_id: str) -> int:
        words = ("operation=zone-purge", f"path_params.zone_id={zone_id}", 'body={"purge_everything":true}')
        ran = shell.run("call", "cloudflare_call", *words, "-i", engineer)
        if ran.code:
            refused.append(ran.problem["execution_id"])
        return ran.code

    refused: list[str] = []
    assert purge(zone) == 4
    assert shell.run("allow", refused[0]).code == 2, "without a terminal and --yes nothing is granted"
    assert purge(zone) == 4
    grant = shell.ok("allow", refused[0], "--for", "2h", "--yes")
    assert grant["access"] == "write"
    assert grant["resources"]["zones"] == [zone]
    assert grant["subject"] == {"identifier": engineer}
    assert grant["expires_at"]
    assert purge(zone) == 0
    assert purge(other) == 4
    assert shell.run("allow", "0199aa00-0000-7000-8000-000000000001", "--yes").code == 1


def test_the_connection_that_is_meant(
    running_server: Stand, tenant: TenantKit, shell: Shell, engineer: str, tmp_path: Path
) -> None:
    """Of several connections `why` takes the one that knows the operation, and `exec` the only one that is granted."""
    program = tmp_path / "one.js"
    program.write_text("async () => 1")
    body = {"name": "docs", "connector": "mcp", "config": {"ready": "cloudflare-docs"}}
    tenant.admin.ok("POST", "/v1/connections", body)
    assert shell.ok("why", engineer, "GET /zones")["allowed"] is True
    assert shell.run("why", engineer, "GET /zonez").code == 5

    other = tenant.identity()
    tenant.connection("edge")
    tenant.account(other, running_server.simulator.token()["value"], "edge")
    tenant.grant({"identifier": other}, "read", "edge")
    assert shell.ok("exec", str(program), "-i", other)["data"] == 1
    assert shell.run("why", engineer, "GET /zones").code == 2, "two connections know it"
    assert shell.ok("why", engineer, "GET /zones", "-c", "cloudflare")["allowed"] is True


def test_why(shell: Shell, engineer: str) -> None:
    told = shell.ok("why", engineer, "GET /zones")
    assert (told["allowed"], told["permitted_upstream"]) == (True, "allowed")
    told = shell.ok("why", engineer, "DELETE /zones/{zone_id}/dns_records/{dns_record_id}", "-c", "cloudflare")
    assert told["allowed"] is False
    assert told["would_grant"]["access"] == "destructive"
    assert shell.run("why", engineer, "GET /zonez").code == 5
    assert shell.run("why", "nobody", "GET /zones").code == 5
    shown = shell.on_terminal("why", engineer, "POST /zones/{zone_id}/purge_cache").out
    assert f"{engineer} may not POST /zones/{{zone_id}}/purge_cache (write) through cloudflare." in shown
    assert "✘ the read grant" in shown


def test_tail_in_sentences(shell: Shell, engineer: str, running_server: Stand) -> None:
    zone = running_server.simulator.zones["example.com"]
    shell.ok(*GET_ZONES, "-i", engineer)
    words = ("operation=zone-purge", f"path_params.zone_id={zone}", 'body={"purge_everything":true}')
    refused = shell.run("call", "cloudflare_call", *words, "-i", engineer).problem
    shown = shell.on_terminal("tail", "--once", "--since", "5m").out
    name = engineer.partition("@")[0]
    assert f"for {name}, read zones · " in shown
    assert " left" in shown
    assert f"→ keyreeve allow {refused['execution_id']}" in shown
    lines = shell.run("tail", "--once", "--since", "5m").out.splitlines()
    assert {json.loads(line)["kind"] for line in lines} == {"call", "refusal"}


def test_call_on_a_terminal(shell: Shell, engineer: str) -> None:
    ran = shell.on_terminal(*GET_ZONES, "-i", engineer)
    assert ran.code == 0
    assert '"success": true' in ran.out
    assert "requests left" in ran.out


def test_a_body_from_a_file(shell: Shell, tenant: TenantKit, running_server: Stand, tmp_path: Path) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    engineer.close()
    record = {"type": "TXT", "name": "cli.example.com", "content": 'é "quoted"', "ttl": 300}
    (tmp_path / "record.json").write_text(json.dumps(record))
    answer = shell.ok(
        "call",
        "cloudflare_call",
        "operation=POST /zones/{zone_id}/dns_records",
        f"path_params.zone_id={running_server.simulator.zones['example.com']}",
        f"body=@{tmp_path}/record.json",
        "-i",
        engineer.identifier,
        "--idempotency-key",
        "k1",
    )
    assert answer["data"]["result"]["content"] == record["content"]

"""Every administrative command, once through: what it makes, shows and takes away."""

import json
from collections.abc import Callable
from pathlib import Path

from bench.harness import Stand
from bench.kit import TenantKit
from tests.e2e.cli.shell import Shell


def test_identities(shell: Shell) -> None:
    made = shell.ok("identities", "create", "ada@x", "-g", "dns", "--display-name", "Ada")
    assert shell.ok("identities", "show", "ada@x") == made
    changed = shell.ok("identities", "update", "ada@x", "--no-groups", "--version", str(made["version"]))
    assert (changed["groups"], changed["display_name"]) == ([], "Ada")
    stale = shell.run("identities", "update", "ada@x", "-g", "x", "--version", str(made["version"]))
    assert (stale.code, stale.problem["code"]) == (6, "version_conflict")
    assert shell.run("identities", "create", "ada@x").code == 6
    assert shell.run("identities", "show", "nobody").code == 5
    assert [i["identifier"] for i in shell.ok("identities", "list")["items"]] == ["ada@x"]
    report = shell.ok("identities", "offboard", "ada@x", "--reason", "left", "--drain", "0", "--yes")
    assert report["identifier"] == "ada@x"
    assert [i["status"] for i in shell.ok("identities", "list")["items"]] == ["disabled"]
    assert shell.ok("identities", "update", "ada@x", "--reactivate")["status"] == "active"


def test_a_table_on_a_terminal(shell: Shell) -> None:
    shell.ok("identities", "create", "ada@x", "-g", "dns")
    shown = shell.on_terminal("identities", "list").out
    assert "identifier" in shown
    assert "ada@x" in shown
    assert "{" not in shown
    assert shell.on_terminal("identities", "list", "--json").out.lstrip().startswith("{")


def test_connections(tenant: TenantKit, platform: Callable[[], Shell]) -> None:
    tenant.connection()
    shell = platform()
    assert [c["name"] for c in shell.ok("connections", "list")["items"]] == ["cloudflare"]
    changed = shell.ok("connections", "update", "cloudflare", "permission_check=advise", 'tools=["zones-get"]')
    assert changed["config"]["permission_check"] == "advise"
    assert changed["config"]["base_url"] == tenant.stand.upstream.base_url, "what is not named stays"
    back = shell.ok("connections", "update", "cloudflare", "--unset", "tools")
    assert not back["config"].get("tools")
    assert shell.ok("connections", "refresh", "cloudflare")["applied"] is False
    assert shell.run("connections", "accept", "cloudflare", "0" * 64).code == 6
    wrong = shell.run("connections", "create", "two", "--connector", "cloudflare", "specs.source=x")
    assert wrong.code == 7
    assert "spec" in wrong.err
    assert shell.ok("connections", "delete", "cloudflare", "--yes")["revoked_at"]
    assert shell.run("connections", "show", "cloudflare").code == 5
    assert "cloudflare" in [c["name"] for c in shell.ok("connectors")["items"]]


def test_accounts_grants_and_budgets(shell: Shell, tenant: TenantKit, running_server: Stand, tmp_path: Path) -> None:
    tenant.connection()
    tenant.identity("ada@x")
    token = running_server.simulator.token()
    (tmp_path / "token").write_text(token["value"] + "\n")
    words = ("accounts", "deposit", "cloudflare", "-i", "ada@x", "--token-file", str(tmp_path / "token"))
    account = shell.ok(*words)
    assert account["upstream"]["principal"] == token["principal"]
    assert shell.ok("accounts", "verify", account["id"])["status"] == "active"
    assert shell.ok("accounts", "show", account["id"])["id"] == account["id"]
    other = running_server.simulator.token()
    assert shell.run(*words[:5], "--token-file", "-", text=other["value"]).problem["code"] == "principal_changed"

    grant = shell.ok(
        "grants", "create", "cloudflare", "write", "-i", "ada@x", "--operation", "GET /zones/**", "--until", "7d"
    )
    assert grant["operations"] == ["GET /zones/**"]
    assert [g["id"] for g in shell.ok("grants", "list", "-i", "ada@x")["items"]] == [grant["id"]]
    assert "revoked_at" in shell.ok("grants", "delete", grant["id"], "--yes")
    assert shell.ok("grants", "list", "-i", "ada@x")["items"] == []

    budgets = shell.ok("budgets")["items"]
    assert [b["connection_name"] for b in budgets] == ["cloudflare"]
    assert budgets[0]["remaining"] < budgets[0]["limit"], "verification is counted too"
    gone = shell.ok("accounts", "revoke", account["id"], "--reason", "test", "--yes")
    assert gone["in_flight"] == []
    assert shell.ok("accounts", "list", "--status", "revoked")["items"][0]["id"] == account["id"]


def test_keys_and_sessions(shell: Shell, tenant: TenantKit) -> None:
    tenant.identity("ada@x")
    made = shell.ok("keys", "create", "agent", "ci", "-i", "ada@x", "--until", "1d")
    assert made["key"].startswith("krv_ag_")
    shown = shell.on_terminal("keys", "create", "operator", "look", "--role", "auditor").out
    assert shown.count("krv_op_") == 1
    listed = shell.run("keys", "list")
    assert made["key"] not in listed.out
    assert made["id"] in [k["id"] for k in listed.json["items"]]
    agent = Shell({**shell.environment, "KEYREEVE_API_KEY": made["key"]})
    session = agent.ok("sessions", "create", "ada@x", "--access", "read", "--ttl", "60")
    assert session["token"].startswith("krv_st_")
    assert [s["id"] for s in shell.ok("sessions", "list")["items"]] == [session["id"]]
    assert session["id"] in shell.ok("keys", "revoke", made["id"], "--yes")["also_revoked"]
    assert agent.run("sessions", "list").code == 3
    assert shell.ok("sessions", "list")["items"] == []


def test_audit_and_executions(shell: Shell, tenant: TenantKit, tmp_path: Path) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    answer = engineer.api.call("GET /zones").json()
    engineer.close()
    execution = shell.ok("executions", "show", answer["execution_id"])
    assert (execution["state"], execution["sent"]) == ("done", True)
    items = shell.ok("audit", "list", "--execution", answer["execution_id"], "--since", "1h")["items"]
    assert [i["outcome"] for i in items] == ["ok"]
    assert shell.ok("audit", "list", "--since", "1h", "--limit", "1")["items"]
    assert shell.run("audit", "list", "--since", "yesterday").code == 2
    shown = shell.on_terminal("audit", "list", "--kind", "call").out
    assert "read zones" in shown

    file = tmp_path / "audit.ndjson"
    assert shell.run("audit", "export", "-o", str(file)).code == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[-1]["kind"] == "end"
    assert answer["execution_id"] in [line.get("execution_id") for line in lines]
    assert shell.run("audit", "export", "-o", str(file)).code == 2, "a file that is there stays"


def test_tenants(operator: Shell, shell: Shell) -> None:
    made = operator.ok("tenants", "create", "cli-made")
    assert made["admin_key"].startswith("krv_op_")
    listed = operator.run("tenants", "list")
    assert listed.code == 0, listed
    assert {"default", "cli-made"} <= {t["name"] for t in listed.json["items"]}
    assert shell.run("tenants", "create", "by-a-tenants-admin").code == 4

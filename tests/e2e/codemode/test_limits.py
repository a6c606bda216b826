"""A tenant held below the installation's limits, over REST and at a shell; and programs from a shell."""

from pathlib import Path

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from tests.e2e.cli.shell import Shell
from tests.e2e.codemode.kit import PATH, SLEEPING, arrived, body, running, sandboxes, until

LOOP = "async () => { while (true); }"


def test_limits_hold_for_the_tenant_within_a_second(tenant: TenantKit, engineer: Engineer) -> None:
    def error(code: str) -> tuple[str, str]:
        told = engineer.api.ok("POST", PATH, body(code)).get("error", {})
        return told.get("limit", ""), told.get("detail", "")

    held = {"cpu_ms": 120, "host_calls": 2, "output_bytes": 2048, "memory_mb": 4, "runs_at_once": 1}
    shown = tenant.platform.ok("PATCH", f"/v1/tenants/{tenant.name}", {"sandbox": held})
    assert shown["sandbox"] == held
    assert {name: shown["sandbox_limits"][name] for name in held} == held
    limit, told = error(LOOP)
    assert limit == "cpu_seconds"
    assert "0.12 s" in told
    assert error("async () => { for (;;) await previous('x').catch(() => 0); }")[0] == "host_calls"
    assert error("async () => 'x'.repeat(3000)")[0] == "result_bytes"
    assert error("async () => { const a = []; for (;;) a.push(new Uint8Array(1e6)); }")[0] == "heap_bytes"
    search = {"tool_name": "cloudflare_search", "tool_input": {"code": "async () => { while (true); }"}}
    assert engineer.api.ok("POST", PATH, search)["error"]["limit"] == "cpu_seconds"
    change = tenant.admin.ok("GET", "/v1/audit/events", params={"operation": "tenant.changed"})["items"][0]
    assert change["summary"]["sandbox"] == held

    shown = tenant.platform.ok("PATCH", f"/v1/tenants/{tenant.name}", {"sandbox": {"wall_seconds": 1}})
    assert shown["sandbox"] == held | {"wall_seconds": 1}
    until(lambda: error("async () => new Promise(r => setTimeout(r, 2000))")[0] == "wall_seconds")
    lifted = tenant.platform.ok("PATCH", f"/v1/tenants/{tenant.name}", {"sandbox": None, "version": shown["version"]})
    assert lifted["sandbox"] == {}
    until(lambda: not engineer.api.ok("POST", PATH, body("async () => 'x'.repeat(3000)"))["is_error"])


def test_what_is_refused_says_what_is_allowed(tenant: TenantKit) -> None:
    path = f"/v1/tenants/{tenant.name}"
    for sandbox, field in (
        ({"cpu_ms": 60_000}, "sandbox.cpu_ms"),
        ({"host_calls": -1}, "sandbox.host_calls"),
        ({"memory_mb": 4096}, "sandbox.memory_mb"),
    ):
        reply = tenant.platform.send("PATCH", path, json={"sandbox": sandbox})
        assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input")
        assert [one["path"] for one in reply.json()["fields"]] == [field]
        assert "what this installation allows" in reply.json()["detail"]
    assert tenant.platform.send("PATCH", path, json={"sandbox": {"nice": 1}}).json()["code"] == "unknown_field"
    assert tenant.admin.send("PATCH", path, json={"sandbox": {"cpu_ms": 100}}).status_code == 403
    assert tenant.platform.ok("GET", path)["sandbox"] == {}


def test_an_isolated_tenants_run_has_a_worker_to_itself(
    running_server: Stand, tenant: TenantKit, engineer: Engineer
) -> None:
    tenant.platform.ok("PATCH", f"/v1/tenants/{tenant.name}", {"sandbox": {"isolate": True}})
    engineer.api.ok("POST", PATH, body("async () => 1"))
    with running(engineer, SLEEPING % 3000) as answers:
        until(lambda: arrived(running_server, engineer))
        during = sandboxes(running_server)
        assert len(during) >= 3, "two shared ones, and its own"
    assert answers[0]["data"] == 1
    until(lambda: during - sandboxes(running_server))
    assert engineer.api.ok("POST", PATH, body("async () => [typeof leak, 1]"))["data"] == ["undefined", 1]


def test_programs_and_limits_from_a_shell(
    running_server: Stand, tenant: TenantKit, engineer: Engineer, tmp_path: Path
) -> None:
    mine = Shell({"KEYREEVE_URL": running_server.url, "KEYREEVE_API_KEY": engineer.session})
    file = tmp_path / "zones.js"
    file.write_text('async () => (await cloudflare.request({path: "/zones"})).result.map(z => z.name)')
    assert mine.ok("exec", str(file), "--intent", "look")["data"] == ["example.com", "example.org"]
    searched = mine.run("exec", "-", "--search", text="async () => find('list zones', {limit: 1}).length")
    assert (searched.code, searched.json["data"]) == (0, 1)
    failed = mine.run("exec", "-", text="async () => {\n  throw new Error('lost');\n}")
    assert failed.code != 0
    assert (failed.json["error"]["line"], failed.json["error"]["kind"]) == (2, "thrown")
    dry = mine.run("exec", "-", "--dry-run", text="async () => cloudflare.request({method: 'POST', path: '/zones'})")
    assert dry.json["data"]["would"]["method"] == "POST"

    operator = Shell({}, ["--data-dir", str(running_server.data_dir)])
    held = operator.ok("tenants", "limit", tenant.name, "--cpu-ms", "100", "--runs-at-once", "2", "--isolate")
    assert held["sandbox"] == {"cpu_ms": 100, "isolate": True, "runs_at_once": 2}
    stopped = mine.run("exec", "-", text=LOOP)
    assert stopped.json["error"]["limit"] == "cpu_seconds"
    assert operator.ok("tenants", "limit", tenant.name, "--lift", "cpu-ms")["sandbox"] == {
        "isolate": True,
        "runs_at_once": 2,
    }
    assert operator.ok("tenants", "limit", tenant.name, "--lift", "all")["sandbox"] == {}
    assert operator.ok("tenants", "show", tenant.name)["sandbox_limits"]["isolate"] is False
    assert operator.run("tenants", "limit", tenant.name, "--cpu-ms", "99999").problem["code"] == "invalid_input"

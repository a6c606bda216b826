"""`NAME_execute` over REST: what a program can do, what it is told, and what is written down."""

import json
import threading
import time
from contextlib import closing
from typing import Any

import pytest

from bench.kit import Engineer, TenantKit
from tests.e2e.codemode.conftest import Engineers

PATH = "/v1/tools/execute"


def run(engineer: Engineer, code: str, **more: Any) -> dict[str, Any]:
    inputs = {"code": code, **more.pop("inputs", {})}
    body = {"tool_name": "cloudflare_execute", "tool_input": inputs, **more}
    return engineer.api.ok("POST", PATH, body)


def value(engineer: Engineer, code: str, **more: Any) -> Any:
    answer = run(engineer, code, **more)
    assert not answer["is_error"], answer["error"]
    return answer["data"]


def zone(engineer: Engineer) -> str:
    return str(value(engineer, 'async () => (await cloudflare.request({path: "/zones"})).result[0].id'))


def test_a_request_is_a_call_like_any_other(engineer: Engineer, tenant: TenantKit) -> None:
    answer = run(engineer, 'async () => (await cloudflare.request({method: "GET", path: "/zones"})).result.length')
    assert answer["data"] == 2
    assert answer["calls"] == [
        {"n": 1, "method": "GET", "path": "/client/v4/zones", "status": 200, "effect": "read", "sent": True}
    ]
    assert answer["budget"]["remaining"] < answer["budget"]["limit"]
    items = tenant.admin.ok("GET", "/v1/audit/events", params={"execution_id": answer["execution_id"]})["items"]
    assert sorted(item["kind"] for item in items) == ["call", "execution"]
    assert {item["outcome"] for item in items} == {"ok"}


def test_prompts_for_cloudflares_own_server_run_unchanged(engineer: Engineer) -> None:
    found = value(
        engineer,
        """async () => {
          const query = { per_page: 50, name: undefined };
          const response = await cloudflare.request({ method: "GET", path: "/zones", query });
          return { success: response.success, status: response.status, names: response.result.map(z => z.name) };
        }""",
    )
    assert found == {"success": True, "status": 200, "names": ["example.com", "example.org"]}
    made = value(
        engineer,
        f"""async () => {{
          const made = await cloudflare.request({{ method: "POST", path: `/zones/{zone(engineer)}/dns_records`,
            body: {{ type: "A", name: "code.example.com",
            content: "192.0.2.9", proxied: false, ttl: 1 }} }});
          return [made.status, made.result.content];
        }}""",
    )
    assert made == [200, "192.0.2.9"]


def test_promise_all_is_concurrent_and_the_calls_keep_their_order(engineer: Engineer) -> None:
    answer = run(
        engineer,
        """async () => Promise.all([...Array(20)].map(async (_, n) =>
          (await cloudflare.request({path: "/zones", query: {page: 1 + n % 2}})).result.length))""",
    )
    assert len(answer["data"]) == 20
    assert [call["n"] for call in answer["calls"]] == list(range(1, 21))


def test_a_throwing_program_says_where_and_what_was_done_first(engineer: Engineer) -> None:
    answer = run(
        engineer,
        f"""async () => {{
          console.log("before", {{a: 1}});
          await cloudflare.request({{method: "POST", path: "/zones/{zone(engineer)}/dns_records",
            body: {{type: "TXT", name: "t.example.com", content: "x", ttl: 1}}}});
          throw new Error("lost my way");
        }}""",
    )
    assert answer["is_error"]
    error = answer["error"]
    assert (error["code"], error["kind"], error["fix"], error["line"]) == ("code_error", "thrown", "model", 5)
    assert error["detail"].startswith("Already done before this error: POST /client/v4/zones/")
    assert "lost my way" in error["detail"]
    assert answer["logs"] == [{"level": "log", "text": 'before {"a":1}'}]
    assert len(answer["calls"]) == 1


@pytest.mark.parametrize(
    ("code", "code_of", "said"),
    [
        ("async () => { const x = ; }", "code_error", "line 1"),
        ('async () => cloudflare.request({path: "/zone"})', "unknown_operation", "did you mean"),
        ('async () => cloudflare.request({path: "/zones", query: {nam: "x"}})', "invalid_input", "name"),
        ('async () => cloudflare.request({method: "FETCH", path: "/zones"})', "invalid_input", "must be one of"),
        ('async () => cloudflare.request({path: "/zones/example.com"})', "invalid_input", "id"),
        ('async () => cloudflare.request({path: "/zones/undefined/dns_records"})', "invalid_input", "put the id in"),
        ('async () => cloudflare.request({path: "/zones/../accounts"})', "egress_refused", "segment"),
        ('async () => cloudflare.request({path: "/zones/%2e%2e/accounts"})', "egress_refused", "segment"),
        ('async () => cloudflare.request({path: "https://evil.example/zones"})', None, "host"),
        ('async () => cloudflare.request({path: "//evil.example/zones"})', None, "host"),
        (
            'async () => cloudflare.request({path: "/zones", headers: {Authorization: "Bearer x"}})',
            "invalid_input",
            "set",
        ),
        ('async () => fetch("http://127.0.0.1/")', "code_error", "cloudflare.request"),
        ("async () => { while (true); }", "code_error", "CPU"),
        ("async () => new Promise(() => {})", "code_error", ""),
    ],
)
def test_what_goes_wrong_is_told_so_that_a_model_can_mend_it(
    engineer: Engineer, code: str, code_of: str | None, said: str
) -> None:
    answer = run(engineer, code)
    assert answer["is_error"], answer
    assert answer["error"]["code"] == (code_of or "code_error")
    assert said.lower() in json.dumps(answer["error"]).lower()
    assert answer["calls"] == []


def test_errors_of_the_upstream_are_exceptions_with_everything_in_them(engineer: Engineer) -> None:
    path = f"/zones/{zone(engineer)}/dns_records/023e105f4ecef8ad9ca31a8372d0c353"
    code = f"""async () => {{
      try {{ await cloudflare.request({{path: "{path}"}}); }}
      catch (e) {{
        return [e.name, e.status, e.code, e.errors[0].code > 0, e.message.startsWith("Cloudflare API error: ")];
      }}
    }}"""
    assert value(engineer, code) == ["CloudflareError", 404, "upstream_error", True, True]
    uncaught = run(engineer, f'async () => cloudflare.request({{path: "{path}"}})')
    assert uncaught["error"]["code"] == "upstream_error"
    assert uncaught["error"]["status"] == 404
    assert uncaught["error"]["line"] == 1


def test_readers_write_nothing_however_it_is_dressed_up(tenant: TenantKit, engineers: Engineers) -> None:
    tenant.connection()
    reader = engineers(tenant, access="read")
    where = zone(reader)
    for request in (
        f'{{method: "POST", path: "/zones/{where}/dns_records", body: {{type: "A", name: "x", content: "192.0.2.1"}}}}',
        f'{{method: "DELETE", path: "/zones/{where}/dns_records/023e105f4ecef8ad9ca31a8372d0c353"}}',
        '{method: "POST", path: "/graphql", body: {query: "mutation { x }"}}',
    ):
        answer = run(reader, f"async () => cloudflare.request({request})")
        assert answer["error"]["code"] == "not_granted", answer
        assert answer["calls"][0]["sent"] is False
        assert "keyreeve allow" in answer["error"]["hint"]
    writer = engineers(tenant)
    narrowed = tenant.admin.ok("POST", "/v1/sessions", {"identifier": writer.identifier, "access": "read"})
    body = {
        "tool_name": "cloudflare_execute",
        "tool_input": {
            "code": f"""async () => cloudflare.request({{method: "POST", path: "/zones/{zone(writer)}/dns_records",
              body: {{type: "A", name: "x", content: "192.0.2.1"}}}})"""
        },
    }
    with closing(tenant.stand.server.api(narrowed["token"])) as api:
        answer = api.ok("POST", PATH, body)
    assert answer["error"]["code"] == "forbidden"


def test_a_revocation_in_the_middle_stops_the_next_request(engineer: Engineer, tenant: TenantKit) -> None:
    code = """async () => {
      await cloudflare.request({path: "/zones"});
      await new Promise(done => setTimeout(done, 1500));
      return (await cloudflare.request({path: "/zones"})).result.length;
    }"""
    answers: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(run(engineer, code)))
    thread.start()
    time.sleep(0.9)
    tenant.admin.ok("POST", f"/v1/connected_accounts/{engineer.account_id}:revoke", {"reason": "left"})
    thread.join()
    error = answers[0]["error"]
    assert error["code"] == "revoked"
    assert answers[0]["calls"][0]["sent"] is True


def test_a_dry_run_reads_and_stops_at_the_first_write(engineer: Engineer) -> None:
    where = zone(engineer)
    code = f"""async () => {{
      const zones = await cloudflare.request({{path: "/zones"}});
      try {{
        const path = "/zones/{where}/dns_records/023e105f4ecef8ad9ca31a8372d0c353";
        await cloudflare.request({{method: "DELETE", path}});
      }} catch {{}}
      await cloudflare.request({{path: "/zones"}});
      return "done";
    }}"""
    answer = run(engineer, code, dry_run=True)
    would = answer["data"]["would"]
    assert (would["method"], would["effect"]) == ("DELETE", "destructive")
    assert would["path"] == f"/client/v4/zones/{where}/dns_records/023e105f4ecef8ad9ca31a8372d0c353"
    assert would["decision"]["allowed"] is True
    assert len(answer["calls"]) == 1
    assert zone(engineer) == where


def test_large_results_are_summarised_and_kept_in_full_for_their_caller(
    engineer: Engineer, tenant: TenantKit, engineers: Engineers
) -> None:
    answer = run(engineer, "async () => ({n: 1, list: [...Array(5000)].map((_, n) => ({id: n, name: 'item ' + n}))})")
    assert answer["truncated"]
    assert answer["data"]["n"] == 1
    assert len(json.dumps(answer["data"])) < 40_000
    assert any("previous(" in warning for warning in answer["warnings"])
    again = (
        f'async () => (await previous("{answer["execution_id"]}")).list.filter(i => i.id % 1000 === 7).map(i => i.name)'
    )
    assert value(engineer, again) == ["item 7", "item 1007", "item 2007", "item 3007", "item 4007"]
    other = engineers(tenant)
    refused = run(other, again)
    assert refused["error"]["code"] == "not_found"


def test_an_idempotency_key_covers_the_whole_program(engineer: Engineer) -> None:
    code = f"""async () => {{
      const made = await cloudflare.request({{method: "POST", path: "/zones/{zone(engineer)}/dns_records",
        body: {{type: "TXT", name: "once.example.com", content: "once", ttl: 1}}}});
      return made.result.id;
    }}"""
    first = run(engineer, code, idempotency_key="one")
    second = run(engineer, code, idempotency_key="one")
    assert second["replayed"]
    assert (second["data"], second["execution_id"]) == (first["data"], first["execution_id"])
    assert second["calls"] == first["calls"]
    conflict = engineer.api.send(
        "POST", PATH, json={"tool_name": "cloudflare_execute", "tool_input": {"code": "1"}, "idempotency_key": "one"}
    )
    assert conflict.json()["code"] == "idempotency_conflict"


def test_the_program_is_kept_for_reviewers_and_for_nobody_else(engineer: Engineer, tenant: TenantKit) -> None:
    code = 'async () => (await cloudflare.request({path: "/zones"})).result.length'
    answer = run(engineer, code, inputs={"intent": "count the zones"})
    path = f"/v1/executions/{answer['execution_id']}/code"
    auditor = tenant.key("operator", role="auditor")
    with closing(tenant.stand.server.api(auditor["key"], tenant=tenant.name)) as api:
        kept = api.ok("GET", path)
    assert kept["code"] == code
    assert engineer.api.send("GET", path).status_code == 403
    items = tenant.admin.ok("GET", "/v1/audit/events", params={"execution_id": answer["execution_id"]})["items"]
    done = next(item for item in items if item["kind"] == "execution")
    assert (done["intent"], done["code_digest"], done["calls"]) == ("count the zones", kept["code_digest"], 1)
    read = tenant.admin.ok("GET", "/v1/audit/events", params={"operation": "program.read"})["items"]
    assert read[0]["summary"]["execution_id"] == answer["execution_id"]


def test_nothing_of_a_run_survives_it(tenant: TenantKit, make_kit: Any, engineers: Engineers) -> None:
    tenant.connection()
    mine = engineers(tenant)
    for _ in range(4):
        run(
            mine,
            "async () => { globalThis.leak = 1; Object.prototype.leak = 2; Array.prototype.map = () => 3; return 1 }",
        )
    other_kit = make_kit()
    other_kit.connection()
    for someone in (mine, engineers(other_kit)):
        for _ in range(4):
            assert value(someone, "async () => [typeof leak, {}.leak === undefined, [1].map(x => x + 1)]") == [
                "undefined", True, [2],
            ]  # fmt: skip


def test_account_id_is_known_where_there_is_only_one_account(engineer: Engineer) -> None:
    shown = {t["name"]: t for t in engineer.api.ok("GET", "/v1/tools/scoped")["tools"]}
    narrow = shown["cloudflare_execute"]
    assert "account_id" not in narrow["definition"]["input_schema"]["properties"]
    assert len(value(engineer, "async () => accountId", expected_schema_hash=narrow["schema_hash"])) == 32
    assert value(engineer, "async () => accountId", inputs={"account_id": "abc"}) == "abc"
    assert narrow["definition"]["annotations"]["destructiveHint"] is True
    assert shown["cloudflare_search"]["definition"]["annotations"]["readOnlyHint"] is True


def test_calls_past_the_limit_are_refused_and_counted(engineer: Engineer) -> None:
    answer = run(engineer, "async () => { for (let n = 0; n < 300; n++) await previous('x').catch(() => 0); return 1 }")
    assert answer["error"]["kind"] == "limit"

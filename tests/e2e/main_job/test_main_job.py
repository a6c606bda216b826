"""The main job through the whole server: two engineers, their own credentials, and what each may do."""

import base64
import json
import secrets
from typing import Any

import pytest

from bench.harness import Stand
from bench.kit import Engineer, TenantKit

READER = ("DNS Read", "User Details Read", "Zone Read", "API Tokens Read")
KV = "/accounts/{account_id}/storage/kv/namespaces"
VALUE = f"{KV}/{{namespace_id}}/values/{{key_name}}"


def _ok(reply: Any) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    answered: dict[str, Any] = reply.json()
    assert not answered["is_error"], answered
    return answered


def _problem(reply: Any, code: str) -> dict[str, Any]:
    answered: dict[str, Any] = reply.json()
    assert answered.get("code") == code, reply.text
    return answered


def _record(stand: Stand, zone: str = "example.com", **fields: Any) -> dict[str, Any]:
    name = f"r{secrets.token_hex(4)}.{zone}"
    body = {"type": "A", "name": name, "content": "192.0.2.7", "ttl": 300, **fields}
    return {"path_params": {"zone_id": stand.simulator.zones[zone]}, "body": body}


CREATE = "POST /zones/{zone_id}/dns_records"


def test_two_engineers_see_and_do_different_things(running_server: Stand, tenant: TenantKit) -> None:
    tenant.connection(tools=[CREATE, "GET /zones"])
    priya = tenant.engineer(identifier="priya@acme.example")
    marco = tenant.engineer(identifier="marco@acme.example", permissions=READER)

    def listed(engineer: Engineer) -> tuple[set[str], set[str]]:
        found = engineer.api.ok("GET", "/v1/tools/scoped")
        return {t["name"] for t in found["tools"]}, {u.get("name", "") for u in found["unavailable"]}

    hers, hidden = listed(priya)
    his, kept_from_him = listed(marco)
    assert hidden == set()
    assert hers - his == kept_from_him
    assert len(kept_from_him) == 1

    made = _ok(priya.api.call(CREATE, **_record(running_server)))
    assert made["data"]["result"]["content"] == "192.0.2.7"
    assert made["calls"][0]["effect"] == "write"
    problem = _problem(marco.api.call(CREATE, **_record(running_server)), "not_permitted_upstream")
    assert "DNS Write" in problem["detail"]
    where = {"path_params": {"zone_id": running_server.simulator.zones["example.com"]}}
    assert _ok(marco.api.call("GET /zones/{zone_id}/dns_records", **where))["data"]["success"]
    _ok(priya.api.call("POST /zones/{zone_id}/purge_cache", **where, body={"purge_everything": True}))

    sent = running_server.simulator.journal(principal=marco.principal)
    assert not [entry for entry in sent if entry["method"] != "GET"]
    who = tenant.admin.ok("GET", "/v1/audit/events", params={"identifier": "priya@acme.example", "page_size": 100})
    calls = [item for item in who["items"] if item["kind"] == "call" and item.get("tool_name") == "cloudflare_call"]
    assert [item["actor"] for item in calls] == ["session:priya@acme.example"] * 2
    assert {item["outcome"] for item in calls} == {"ok"}


def test_without_a_grant_nothing_goes_out(running_server: Stand, tenant: TenantKit) -> None:
    tenant.connection()
    engineer = tenant.engineer(access=None)
    before = len(running_server.simulator.journal(principal=engineer.principal))
    problem = _problem(engineer.api.call("GET /zones"), "not_granted")
    assert problem["execution_id"] in problem["hint"]
    tenant.grant({"identifier": engineer.identifier}, "read")
    _ok(engineer.api.call("GET /zones"))
    _problem(engineer.api.call(CREATE, **_record(running_server)), "not_granted")
    after = running_server.simulator.journal(principal=engineer.principal)
    assert len(after) - before == 1


def test_a_revoked_engineer_reaches_nothing_more(running_server: Stand, tenant: TenantKit) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    _ok(engineer.api.call("GET /zones"))
    body = {"reason": "left"}
    report = tenant.admin.ok("POST", f"/v1/connected_accounts/{engineer.account_id}:revoke", body)
    assert (report["drained"], report["upstream"]) == (True, "kept")
    before = len(running_server.simulator.journal(principal=engineer.principal))
    _problem(engineer.api.call("GET /zones"), "revoked")
    offboarded = tenant.admin.ok("POST", f"/v1/identities/{engineer.identifier}:offboard", body)
    assert engineer.session_id in offboarded["sessions"]
    _problem(engineer.api.call("GET /zones"), "unauthenticated")
    assert len(running_server.simulator.journal(principal=engineer.principal)) == before
    again = {**body, "upstream": True}
    report = tenant.admin.ok("POST", f"/v1/connected_accounts/{engineer.account_id}:revoke", again)
    assert report["upstream"] == "kept", "a token of Cloudflare's is deleted at Cloudflare"


def test_budgets_count_down_and_are_the_tenants_own(running_server: Stand, tenant: TenantKit) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    verified = len(running_server.simulator.journal(principal=engineer.principal))
    left = [_ok(engineer.api.call("GET /zones"))["budget"]["remaining"] for _ in range(3)]
    account = tenant.admin.ok("GET", f"/v1/connected_accounts/{engineer.account_id}")
    assert left == [1200 - verified - n for n in (1, 2, 3)]
    for api in (tenant.admin, engineer.api):
        (line,) = api.ok("GET", "/v1/budgets")["items"]
        assert (line["key"], line["used"], line["foreign"]) == ("user", verified + 3, 0)
        assert line["principal"] == account["upstream"]["principal"]
    marco = tenant.engineer()
    assert len(tenant.admin.ok("GET", "/v1/budgets")["items"]) == 2
    assert len(marco.api.ok("GET", "/v1/budgets")["items"]) == 1


def test_another_budget_key_takes_effect_at_once(running_server: Stand, tenant: TenantKit) -> None:
    made = tenant.connection()
    engineer = tenant.engineer()
    verified = len(running_server.simulator.journal(principal=engineer.principal))
    config = {**made["config"], "budget": {"key": "token", "reserve": 10}}
    tenant.platform.ok("PATCH", "/v1/connections/cloudflare", {"config": config, "version": made["version"]})
    budget = _ok(engineer.api.call("GET /zones"))["budget"]
    # The upstream counts by user, and its headers say that verifying has been spent already.
    assert budget["remaining"] == 1200 - 10 - 1 - verified
    (line,) = tenant.admin.ok("GET", "/v1/budgets")["items"]
    assert (line["key"], line["used"], line["foreign"]) == ("token", 1, verified)
    assert line["principal"].startswith("token:")


def _namespace(stand: Stand, engineer: Engineer) -> dict[str, Any]:
    where = {"account_id": stand.simulator.account_id}
    made = _ok(engineer.api.call(f"POST {KV}", path_params=where, body={"title": secrets.token_hex(6)}))
    return {**where, "namespace_id": made["data"]["result"]["id"]}


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\x80" * 50, bytes(range(256)), b'{"a": 1.0, "b":  [1e400]}', b"\r\n"]
)
def test_binary_bodies_go_both_ways_byte_for_byte(running_server: Stand, tenant: TenantKit, content: bytes) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    where = {**_namespace(running_server, engineer), "key_name": "k"}
    packed = base64.b64encode(content).decode()
    _ok(engineer.api.call(f"PUT {VALUE}", path_params=where, body={"$binary": {"base64": packed}}))
    back = _ok(engineer.api.call(f"GET {VALUE}", path_params=where))["data"]
    if not content:
        assert back in (None, "") or back["$binary"]["bytes"] == 0
        return
    assert base64.b64decode(back["$binary"]["base64"]) == content
    assert back["$binary"]["bytes"] == len(content)


def test_integers_and_unicode_survive_exactly(running_server: Stand, tenant: TenantKit) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    where = {**_namespace(running_server, engineer), "key_name": "zażółć ✓ 🚀"}
    metadata = {"z": 18446744073709551615, "a": 9007199254740993, "neg": -9223372036854775808, "é": "🚀\u0000\u2028"}
    huge = {"n": 12345678901234567890123456789, "s": "ünï ✓ \U0001f680"}
    body = {"value": huge, "metadata": metadata}
    _ok(engineer.api.call(f"PUT {VALUE}", path_params=where, body=body))
    back = engineer.api.call(f"GET {KV}/{{namespace_id}}/metadata/{{key_name}}", path_params=where)
    text = back.content.decode()
    for number in ("18446744073709551615", "9007199254740993", "-9223372036854775808"):
        assert number in text
    result = _ok(back)["data"]["result"]
    assert result == metadata
    assert list(result) == list(metadata)
    stored = _ok(engineer.api.call(f"GET {VALUE}", path_params=where))["data"]
    assert json.loads(base64.b64decode(stored["$binary"]["base64"])) == huge
    comment = 'Größe ✓ — 🚀 \\ " </script>'
    made = _ok(engineer.api.call(CREATE, **_record(running_server, comment=comment)))
    assert made["data"]["result"]["comment"] == comment


@pytest.mark.parametrize(
    "raw",
    [
        b'{"tool_name":"cloudflare_call","tool_input":{"operation":"GET /zones","query":{"page":NaN}}}',
        b'{"tool_name":"cloudflare_call","tool_input":{"operation":"GET /zones","query":{"page":1e999}}}',
        b'{"tool_name":"cloudflare_call","tool_input":{"operation":"GET /zones","query":{"name":"\\ud800"}}}',
        b'{"tool_name":"cloudflare_call","tool_input":{"operation":"GET /zones\\u0000"}}',
        b'{"tool_name":"cloudflare_call","tool_input":{"operation":"\\ud83d"}}',
        b'{"tool_name":"cloudflare_call","tool_input":' + b"[" * 3000 + b"]" * 3000 + b"}",
    ],
)
def test_input_that_is_no_json_is_refused_and_nothing_goes_out(
    running_server: Stand, tenant: TenantKit, raw: bytes
) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    before = len(running_server.simulator.journal(principal=engineer.principal))
    reply = engineer.api.send("POST", "/v1/tools/execute", content=raw, headers={"content-type": "application/json"})
    assert 400 <= reply.status_code < 500, reply.text
    assert len(running_server.simulator.journal(principal=engineer.principal)) == before


def test_an_idempotency_key_replays_the_same_bytes(running_server: Stand, tenant: TenantKit) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    wanted = _record(running_server, comment="ünï 🚀")
    first = _ok(engineer.api.call(CREATE, **wanted, idempotency_key="once"))
    again = _ok(engineer.api.call(CREATE, **wanted, idempotency_key="once"))
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert again["data"] == first["data"]
    assert again["execution_id"] == first["execution_id"]
    name = wanted["body"]["name"]
    found = _ok(engineer.api.call("GET /zones/{zone_id}/dns_records", path_params=wanted["path_params"]))
    assert [r["name"] for r in found["data"]["result"]].count(name) == 1


def test_content_blocks_and_a_dry_run(running_server: Stand, tenant: TenantKit) -> None:
    tenant.connection()
    engineer = tenant.engineer()
    answered = _ok(engineer.api.call("GET /zones", **{"as": "content"}))
    assert "data" not in answered
    (block,) = answered["content"]
    assert block["type"] == "text"
    assert json.loads(block["text"])["success"] is True
    before = len(running_server.simulator.journal(principal=engineer.principal))
    dry = _ok(engineer.api.call(CREATE, **_record(running_server), dry_run=True))
    assert dry["data"]["verdict"]["allowed"] is True
    assert dry["calls"] == []
    assert len(running_server.simulator.journal(principal=engineer.principal)) == before
    failed = engineer.api.call("GET /zones/{zone_id}", path_params={"zone_id": "0" * 32}, **{"as": "content"}).json()
    assert failed["is_error"] is True
    assert json.loads(failed["content"][0]["text"])["error"]["code"] == "upstream_error"


def test_an_admin_of_a_tenant_opens_no_origin_and_no_source(running_server: Stand, tenant: TenantKit) -> None:
    config: dict[str, Any] = {"base_url": running_server.simulator.base_url, "spec": {"source": "simulator.json"}}
    body = {"name": "cf", "connector": "cloudflare", "config": config}
    _problem(tenant.admin.send("POST", "/v1/connections", json=body), "forbidden")
    for source in (running_server.simulator.url + "/openapi.json", "https://example.com/x.json", "../root.key"):
        body["config"] = {**config, "spec": {"source": source}}
        for api in (tenant.admin, tenant.platform):
            assert api.send("POST", "/v1/connections", json=body).status_code in (403, 422)
    assert tenant.admin.ok("GET", "/v1/connections")["items"] == []


def test_a_rejected_deposit_tells_nothing_of_the_token(tenant: TenantKit) -> None:
    tenant.connection()
    identifier = tenant.identity()
    token = "cfut_" + secrets.token_hex(22)
    body = {
        "connection_name": "cloudflare",
        "identifier": identifier,
        "credential": {"kind": "api_token", "token": token},
    }
    reply = tenant.admin.send("PUT", "/v1/connected_accounts", json=body)
    problem = _problem(reply, "invalid_input")
    assert reply.status_code == 422
    assert [f["path"] for f in problem["fields"]] == ["credential.token"]
    assert token not in reply.text
    assert tenant.admin.ok("GET", "/v1/connected_accounts")["items"] == []
    changes = tenant.admin.ok("GET", "/v1/audit/events", params={"page_size": 20})["items"]
    assert "account.deposit_refused" in json.dumps(changes)
    assert token not in json.dumps(changes)

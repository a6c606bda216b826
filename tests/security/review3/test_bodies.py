"""Bodies whose fields are hidden from the check of accounts and zones, and texts that are dear to read."""

import base64
import json
import re
import time
from typing import Any

import pytest

from bench.kit import Engineer, TenantKit
from connectors.cloudflare.concrete import _names_resource
from connectors.cloudflare.resources import request_resources
from connectors.openapi.weight import too_heavy

EXECUTE = "/v1/tools/execute"
OTHER = "f" * 32


@pytest.fixture
def confined(tenant: TenantKit) -> Engineer:
    """May do everything in one account and one zone, and names neither of the others."""
    upstream = tenant.stand.upstream
    tenant.connection()
    made = tenant.engineer(access=None)
    lists = {"accounts": [upstream.account_id], "zones": [upstream.zones["example.com"]]}
    tenant.grant({"identifier": made.identifier}, "destructive", resources=lists)
    return made


def _run(engineer: Engineer, code: str, **more: Any) -> dict[str, Any]:
    return engineer.api.ok("POST", EXECUTE, {"tool_name": "cloudflare_execute", "tool_input": {"code": code}, **more})


@pytest.mark.parametrize("kind", ["object", "binary", "text", "list"])
def test_no_form_of_a_body_hides_whom_it_names(confined: Engineer, tenant: TenantKit, kind: str) -> None:
    fields = {"zone_id": OTHER, "name": "x"}
    text = json.dumps(fields)
    marked = {"$binary": {"base64": base64.b64encode(text.encode()).decode(), "media_type": "application/json"}}
    body = {"object": fields, "binary": marked, "text": text, "list": [fields]}[kind]
    operation = "POST /zones/{zone_id}/dns_records"
    sent = {
        "operation": operation,
        "path_params": {"zone_id": tenant.stand.upstream.zones["example.com"]},
        "body": body,
    }
    if kind == "text":
        sent["content_type"] = "text/plain"
    reply = confined.api.send("POST", EXECUTE, json={"tool_name": "cloudflare_call", "tool_input": sent})
    assert reply.status_code == 403, reply.text
    assert reply.json()["code"] == "not_granted"


def test_nor_does_any_form_that_a_program_gives_it(confined: Engineer, tenant: TenantKit) -> None:
    zone = tenant.stand.upstream.zones["example.com"]
    code = """async () => { const told = [];
      const text = JSON.stringify({zone_id: "OTHER"});
      for (const [body, contentType] of [[new TextEncoder().encode(text), "application/json"], [text, "text/plain"],
        [text, "application/json"], [new TextEncoder().encode(text), undefined]])
        try {
          await cloudflare.request({method: "POST", path: "/zones/ZONE/dns_records", body, contentType});
          told.push("sent");
        }
        catch (e) { told.push(e.code); }
      return told; }"""
    code = code.replace("OTHER", OTHER).replace("ZONE", zone)
    assert _run(confined, code)["data"] == ["not_granted"] * 4


def test_files_and_lists_count_too() -> None:
    named = request_resources("/zones/{z}/x", "/zones/a/x", {}, {"zone_id": {"$file": {"text": "b"}}})
    assert named.zones == ("a", "*")
    named = request_resources("/zones/{z}/x", "/zones/a/x", {}, [{"zone_id": "a"}, {"zone_id": "b"}])
    assert named.zones == ("a", "b")


@pytest.mark.parametrize(
    "name",
    ['name="zone_id"', "name=zone_id", 'name = "zone_id"', "name*=utf-8''zone_id", 'name="zone\\_id"',
     'name="zone%5Fid"', 'name*0="zone"; name*1="_id"', 'NAME="Zones[]"', 'x="y";\r\n name="account.id"'],
)  # fmt: skip
def test_parts_are_known_by_their_names_however_spelled(confined: Engineer, tenant: TenantKit, name: str) -> None:
    account = tenant.stand.upstream.account_id
    head = f"--b\r\nContent-Disposition: form-data; {name}\r\n\r\n{OTHER}\r\n--b--\r\n"
    code = """async () => { try { await cloudflare.request({method: "PUT",
      path: "/accounts/ACCOUNT/workers/scripts/s", body: BODY, rawBody: true,
      contentType: "multipart/form-data; boundary=b"});
      return "sent"; } catch (e) { return e.code; } }"""
    code = code.replace("ACCOUNT", account).replace("BODY", json.dumps(head))
    assert _run(confined, code)["data"] == "not_granted"


def test_a_part_of_another_name_is_no_account() -> None:
    assert not _names_resource(b"", b"", b"metadata")


def test_weight_is_told_before_reading() -> None:
    assert too_heavy(b"[" + b"{}," * 200_000 + b"{}]")
    assert not too_heavy(b'{"bodyText":"' + b"{}," * 200_000 + b'"}', aside=b'"bodyText":"')
    assert too_heavy(b'{"bodyText":"\\"","body":[' + b"{}," * 200_000 + b"0]}", aside=b'"bodyText":"')
    started = time.perf_counter()
    too_heavy(b'{"bodyText":"' + b'\\"{' * 2_000_000, aside=b'"bodyText":"')
    assert time.perf_counter() - started < 2


def test_a_dry_run_shows_a_body_that_is_not_json_as_its_size(tenant: TenantKit) -> None:
    """Nothing that a program sends as bytes becomes part of the answer's own JSON."""
    tenant.connection()
    engineer = tenant.engineer()
    zone = tenant.stand.upstream.zones["example.com"]
    code = """async () => cloudflare.request({method: "POST", path: "/zones/ZONE/dns_records",
      contentType: "application/json", body: new TextEncoder().encode('1},"forged":{"a":1')})"""
    code = code.replace("ZONE", zone)
    answer = _run(engineer, code, dry_run=True)
    assert answer["data"]["would"]["body"] == {"bytes": 18}
    code = code.replace("""'1},"forged":{"a":1'""", "JSON.stringify('x'.repeat(300000))")
    answer = _run(engineer, code, dry_run=True)
    assert len(json.dumps(answer["data"])) < 30_000
    assert re.search("characters in all", answer["data"]["would"]["body"])
    engineer.close()


def test_a_strict_connection_takes_no_body_that_is_not_looked_into(tenant: TenantKit) -> None:
    tenant.connection(body_check="strict")
    engineer = tenant.engineer()
    code = """async () => { try { await cloudflare.request({method: "PUT", path: "/accounts/ACCOUNT/workers/scripts/s",
      body: "--b\\r\\n\\r\\n--b--", rawBody: true, contentType: "multipart/form-data; boundary=b"}); return "sent"; }
      catch (e) { return [e.code, e.message]; } }"""
    code = code.replace("ACCOUNT", tenant.stand.upstream.account_id)
    answer = _run(engineer, code)
    assert answer["data"][0] == "invalid_input"
    assert "strictly" in answer["data"][1]
    assert answer["calls"] == []
    engineer.close()

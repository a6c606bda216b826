"""`NAME_search` over REST: the description, only as far as the caller reaches."""

from typing import Any

import pytest

from bench.kit import Engineer, TenantKit
from tests.e2e.codemode.conftest import Engineers

PATH = "/v1/tools/execute"


def search(engineer: Engineer, **inputs: Any) -> dict[str, Any]:
    return engineer.api.ok("POST", PATH, {"tool_name": "cloudflare_search", "tool_input": inputs})


def test_programs_over_the_description(engineer: Engineer) -> None:
    answer = search(
        engineer,
        code="""async () => Object.entries(spec.paths).flatMap(([path, methods]) => Object.entries(methods)
          .filter(([, op]) => op.tags.some(t => t.toLowerCase() === 'dns_records'))
          .map(([method, op]) => ({method: method.toUpperCase(), path, summary: op.summary, effect: op.effect})))""",
    )
    assert {
        "method": "GET",
        "path": "/zones/{zone_id}/dns_records",
        "summary": "List DNS Records",
        "effect": "read",
    } in (answer["data"])
    assert answer["calls"] == []


def test_words_and_single_operations_need_no_code(engineer: Engineer) -> None:
    found = search(engineer, query="create dns record")["data"]
    assert found["operations"][0]["path"] == "/zones/{zone_id}/dns_records"
    assert found["operations"][0]["method"] == "POST"
    assert set(found["hidden"]) == {"not_permitted", "not_granted"}
    one = search(engineer, operation="GET /zones/{zone_id}/dns_records")["data"]["operation"]
    assert one["method"] == "GET"
    wrong = search(engineer, operation="GET /zones/{zone_id}/dns_record")
    assert wrong["is_error"]
    assert wrong["error"]["code"] == "unknown_operation"
    assert "did you mean GET /zones/{zone_id}/dns_records" in wrong["error"]["detail"]
    assert "line" not in wrong["error"]


@pytest.mark.parametrize(
    "inputs", [{}, {"code": "1", "query": "x"}, {"code": 7}, {"quer": "x"}, {"query": ""}, {"code": "x" * 300_000}]
)
def test_exactly_one_way_of_asking(engineer: Engineer, inputs: dict[str, Any]) -> None:
    reply = engineer.api.send("POST", PATH, json={"tool_name": "cloudflare_search", "tool_input": inputs})
    assert reply.status_code == 422
    assert reply.json()["code"] == ("unknown_field" if "quer" in inputs else "invalid_input")


def test_what_the_caller_may_not_use_is_not_there_by_any_road(tenant: TenantKit, engineers: Engineers) -> None:
    tenant.connection()
    reader = engineers(tenant, access=None)
    tenant.grant({"identifier": reader.identifier}, "read", operations=["GET /zones/**"])
    answer = search(
        reader,
        code="""async () => ({
          paths: Object.entries(spec.paths).flatMap(([p, ms]) => Object.keys(ms).map(m => m.toUpperCase() + " " + p)),
          found: find("dns record", {limit: 100}).map(o => o.method + " " + o.path),
          json: JSON.stringify(spec).includes("/accounts/"),
          products: products().length,
        })""",
    )
    data = answer["data"]
    assert data["paths"]
    assert all(ref.startswith("GET /zones") for ref in [*data["paths"], *data["found"]])
    assert data["json"] is False
    assert any("no grant covers" in warning for warning in answer["warnings"])


def test_an_identity_without_a_grant_searches_nothing(tenant: TenantKit, engineers: Engineers) -> None:
    tenant.connection()
    someone = engineers(tenant, access=None)
    reply = someone.api.send("POST", PATH, json={"tool_name": "cloudflare_search", "tool_input": {"query": "x"}})
    assert reply.status_code == 403
    tenant.grant({"identifier": someone.identifier}, "read", tools=["cloudflare_call"])
    reply = someone.api.send("POST", PATH, json={"tool_name": "cloudflare_search", "tool_input": {"query": "x"}})
    assert reply.json()["code"] == "not_granted"


def test_whoami_knows_the_caller(engineer: Engineer) -> None:
    me = search(engineer, code="async () => whoami()")["data"]
    assert me["identity"] == engineer.identifier
    assert me["access"] == "destructive"
    assert me["budget"]["limit"] == 1200
    assert me["connected_account"]["id"] == engineer.account_id


def test_a_search_is_an_audited_execution_without_calls(engineer: Engineer, tenant: TenantKit) -> None:
    answer = search(engineer, query="list zones")
    items = tenant.admin.ok("GET", "/v1/audit/events", params={"execution_id": answer["execution_id"]})["items"]
    assert [(i["kind"], i["outcome"], i["calls"]) for i in items] == [("execution", "ok", 0)]
    assert items[0]["summary"]["query"] == "list zones"


def test_a_search_makes_no_request(engineer: Engineer) -> None:
    answer = search(engineer, code='async () => cloudflare.request({path: "/zones"})')
    assert answer["is_error"]
    assert answer["calls"] == []

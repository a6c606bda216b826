"""Listing and calling: the caller's own tools, the same gate, errors that a model can act on."""

from typing import Any

import pytest

from bench.kit import Engineer, TenantKit
from tests.e2e.mcp.conftest import Endpoint, MakeEndpoint

ZONES = {"operation": "GET /zones"}
IN_BROWSER = {"elicitation": {"url": {}}}


def test_a_list_is_the_caller_s_own(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> None:
    here = endpoint()
    found = here.result("tools/list")
    names = [tool["name"] for tool in found["tools"]]
    assert names == sorted(names)
    assert set(names) >= {"cloudflare_call", "cloudflare_zones-get", "cloudflare_zone-purge"}
    assert found["cacheScope"] == "private"
    purge = next(tool for tool in found["tools"] if tool["name"] == "cloudflare_zone-purge")
    assert purge["annotations"]["readOnlyHint"] is False
    assert purge["inputSchema"]["type"] == "object"
    reader = tenant_mcp.engineer(access="read")
    there = endpoint(reader.api)
    assert "cloudflare_zone-purge" not in there.tools()
    assert [t["annotations"]["readOnlyHint"] for t in there.result("tools/list")["tools"]].count(False) == 0
    assert here.legacy("tools/list").json()["result"]["tools"] == found["tools"]


def test_a_change_of_policy_shows_in_the_next_list(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> None:
    somebody = tenant_mcp.engineer(access=None)
    here = endpoint(somebody.api)
    assert here.tools() == []
    grant = tenant_mcp.grant({"identifier": somebody.identifier}, "read")
    assert "cloudflare_zones-get" in here.tools()
    tenant_mcp.admin.ok("DELETE", f"/v1/grants/{grant['id']}")
    assert here.tools() == []


def test_a_call_is_audited_with_its_client_and_run(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    found = endpoint().call("cloudflare_call", ZONES, traceparent=f"00-{trace}-b7ad6b7169203331-01")
    assert found["isError"] is False
    assert '"success":true' in found["content"][0]["text"]
    execution = found["_meta"]["keyreeve/execution_id"]
    items = tenant_mcp.admin.ok("GET", f"/v1/audit/events?execution_id={execution}")["items"]
    assert [(i["client"], i["run_id"], i["operation"]) for i in items] == [("tests/1", trace, "zones-get")]


def test_an_agent_key_acts_for_whom_it_names(endpoint: MakeEndpoint, tenant_mcp: TenantKit, engineer: Engineer) -> None:
    key = tenant_mcp.key("agent", identifiers=[engineer.identifier])["key"]
    api = tenant_mcp.stand.server.api(key)
    try:
        named = endpoint(api, x_keyreeve_identifier=engineer.identifier)
        assert named.call("cloudflare_zones-get")["isError"] is False
        assert endpoint(api).ask("tools/list").status_code == 422
        assert endpoint(api, x_keyreeve_identifier="somebody@else.example").ask("tools/list").status_code == 403
    finally:
        api.close()


def test_operator_keys_speak_no_mcp(endpoint: MakeEndpoint, tenant_mcp: TenantKit, engineer: Engineer) -> None:
    here = endpoint(tenant_mcp.admin, x_keyreeve_identifier=engineer.identifier)
    assert here.ask("tools/list").status_code == 403


def test_refusals_are_results_with_the_error_object(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> None:
    reader = endpoint(tenant_mcp.engineer(access="read").api)
    found = reader.call("cloudflare_call", {"operation": "POST /zones", "body": {}})
    assert found["isError"] is True
    assert found["structuredContent"]["code"] == "not_granted"
    assert found["structuredContent"]["fix"] == "admin"
    assert found["structuredContent"]["execution_id"]
    wrong = endpoint().call("cloudflare_call", {"operation": "GET /zones", "zone": 1})
    assert wrong["structuredContent"]["code"] == "unknown_field"
    assert endpoint().call("cloudflare_call")["structuredContent"]["code"] == "invalid_input"
    bad = endpoint().call("cloudflare_call", ZONES, **{"keyreeve/idempotency_key": 7})
    assert bad["structuredContent"]["fields"][0]["path"] == "_meta.keyreeve/idempotency_key"


def test_an_upstream_s_error_is_structured(endpoint: MakeEndpoint) -> None:
    nowhere = {"operation": "GET /zones/{zone_id}", "path_params": {"zone_id": "0" * 32}}
    found = endpoint().call("cloudflare_call", nowhere)
    assert found["isError"] is True
    assert found["structuredContent"]["code"] == "upstream_error"


def test_unknown_tools_are_json_rpc_errors(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    for name in ("nope", "other_call", "cloudflare_nope", "x" * 128, "cloudflare_", "ü_x"):
        if name.isascii():
            reply = here.ask("tools/call", {"name": name})
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, -32602)
        reply = here.legacy("tools/call", {"name": name})
        assert (reply.status_code, reply.json()["error"]["code"]) == (200, -32602)


def test_an_idempotency_key_runs_once(endpoint: MakeEndpoint) -> None:
    here = endpoint()
    first = here.call("cloudflare_zones-get", **{"keyreeve/idempotency_key": "k1"})
    second = here.call("cloudflare_zones-get", **{"keyreeve/idempotency_key": "k1"})
    assert second["_meta"]["keyreeve/replayed"] is True
    assert second["_meta"]["keyreeve/execution_id"] == first["_meta"]["keyreeve/execution_id"]


def test_narrowing_holds_for_lists_and_calls(endpoint: MakeEndpoint) -> None:
    write = {"operation": "POST /zones", "body": {"name": "a.example", "account": {"id": "0" * 32}}}
    reading = endpoint(query="?access=read")
    assert "cloudflare_zone-purge" not in reading.tools()
    assert endpoint().call("cloudflare_call", ZONES)["isError"] is False  # what is remembered of this must not widen
    refused = reading.call("cloudflare_call", write)["structuredContent"]
    assert refused["code"] in ("not_granted", "forbidden")
    some = endpoint(query="?tools=cloudflare_zones-get")
    assert some.tools() == ["cloudflare_zones-get"]
    assert some.ask("tools/call", {"name": "cloudflare_call", "arguments": ZONES}).status_code == 400


def test_a_connection_s_endpoint_serves_that_connection(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> None:
    tenant_mcp.connection("other")
    tenant_mcp.grant({"everyone": True}, "read", "other")
    only = endpoint(path=f"/t/{tenant_mcp.name}/mcp/cloudflare")
    assert {name.partition("_")[0] for name in only.tools()} == {"cloudflare"}
    assert only.ask("tools/call", {"name": "other_call", "arguments": ZONES}).status_code == 400
    assert endpoint(path=f"/t/{tenant_mcp.name}/mcp/nothing").ask("tools/list").status_code == 400


def test_two_tools_lead_to_all(endpoint: MakeEndpoint) -> None:
    here = endpoint(query="?discover=1")
    assert here.tools() == ["call_tool", "find_tools"]
    found = here.call("find_tools", {"query": "purge cache"})["structuredContent"]
    assert found["tools"][0]["name"] == "cloudflare_zone-purge"
    inner = {"name": "cloudflare_call", "arguments": ZONES}
    assert here.call("call_tool", inner)["isError"] is False
    missing = here.call("call_tool", {"name": "cloudflare_nope"})
    assert missing["structuredContent"]["code"] == "unknown_tool"
    assert here.ask("tools/call", {"name": "cloudflare_call", "arguments": ZONES}).status_code == 400


def test_several_accounts_are_told_apart_by_the_model(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> None:
    somebody = tenant_mcp.engineer()
    other = tenant_mcp.stand.upstream.token()
    body = {
        "connection_name": "cloudflare",
        "identifier": somebody.identifier,
        "label": "second",
        "credential": {"kind": "api_token", "token": other["value"]},
    }
    tenant_mcp.admin.ok("PUT", "/v1/connected_accounts", body)
    here = endpoint(somebody.api)
    call = next(t for t in here.result("tools/list")["tools"] if t["name"] == "cloudflare_call")
    assert "connected_account_id" in call["inputSchema"]["properties"]
    found = here.call("cloudflare_call", ZONES)["structuredContent"]
    assert found["code"] == "ambiguous_account"
    chosen = found["accounts"][0]["connected_account_id"]
    assert here.call("cloudflare_call", {**ZONES, "connected_account_id": chosen})["isError"] is False


@pytest.fixture
def unconnected(endpoint: MakeEndpoint, tenant_mcp: TenantKit) -> tuple[Endpoint, str]:
    """Somebody with a grant and no account, at the endpoint; and who."""
    identifier = tenant_mcp.identity()
    tenant_mcp.grant({"identifier": identifier}, "read")
    api = tenant_mcp.stand.server.api(tenant_mcp.session(identifier)["token"])
    return endpoint(api), identifier


def connect(tenant: TenantKit, identifier: str) -> None:
    tenant.account(identifier, tenant.stand.upstream.token()["value"])


def test_what_is_not_connected_is_explained(unconnected: tuple[Endpoint, str], tenant_mcp: TenantKit) -> None:
    here, identifier = unconnected
    assert here.tools() == ["cloudflare_connect"]
    told = here.call("cloudflare_connect")
    assert told["isError"] is True
    link = told["structuredContent"]["connect_url"]
    assert link == f"{tenant_mcp.stand.url}/connect/{tenant_mcp.name}/cloudflare"
    assert link in told["content"][0]["text"]
    connect(tenant_mcp, identifier)
    assert "cloudflare_call" in here.tools()
    assert here.call("cloudflare_connect")["isError"] is False


def test_a_client_with_a_browser_is_sent_there(unconnected: tuple[Endpoint, str], tenant_mcp: TenantKit) -> None:
    here, identifier = unconnected
    arguments = {"name": "cloudflare_call", "arguments": ZONES}
    asked = here.result("tools/call", arguments, capabilities=IN_BROWSER)
    assert asked["resultType"] == "input_required"
    question = asked["inputRequests"]["connect"]
    assert question["params"]["mode"] == "url"
    assert question["params"]["url"].endswith("/cloudflare")

    def retry(action: str, **over: Any) -> Any:
        answer = {"inputResponses": {"connect": {"action": action}}, "requestState": asked["requestState"]}
        return here.ask("tools/call", {**arguments, **answer, **over}, capabilities=IN_BROWSER)

    declined = retry("decline").json()["result"]
    assert declined["structuredContent"]["code"] == "not_connected"
    connect(tenant_mcp, identifier)
    assert retry("accept").json()["result"]["isError"] is False
    # The state is good for this call alone.
    for wrong in (
        {"arguments": {"operation": "GET /user"}},
        {"requestState": asked["requestState"][:-4] + "AAAA"},
        {"requestState": None},
        {"inputResponses": {}},
    ):
        assert retry("accept", **wrong).status_code == 400, wrong

"""The portal's two tools over a Cloudflare connection and an MCP server, as clients meet them."""

import json
from typing import Any

import bpe_openai  # type: ignore[import-untyped]
import httpx2
import jsonschema_rs
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.mcp_upstream.conftest import McpServers
from tests.e2e.portal.conftest import CODEMODE, Caller, MakeCaller, connect_mcp, value_of


def validate(value: Any, schema: dict[str, Any]) -> None:
    jsonschema_rs.Draft202012Validator(schema).validate(value)


BOTH = """async () => {
    const zones = (await connections["cf"].request({path: "/zones"})).result.map(z => z.name);
    const said = await codemode.up_echo({text: zones.join(" ")});
    const sum = await codemode["up_add"]({a: 1, b: 2});
    const typed = await codemode.cf_call({operation: "GET /zones"});
    return {zones, said, sum, typed: typed.result.length};
}"""
ZONES = ["example.com", "example.org"]
PURGE = 'codemode["cf_zone-purge"]({zone_id: ZONE, body: {purge_everything: true}})'


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_client_of_each_era(shared: Caller, mode: Any) -> None:
    url = f"{shared.kit.stand.url}/t/{shared.kit.name}/mcp?{CODEMODE}"
    headers = {"Authorization": f"Bearer {shared.engineer.session}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(10, read=60), trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == ["execute", "search"]
        ran = await client.call_tool("execute", {"code": BOTH, "intent": "to see both"})
        assert ran.is_error is False
        assert ran.structured_content == {"zones": ZONES, "said": " ".join(ZONES), "sum": {"sum": 3}, "typed": 2}
        found = await client.call_tool("search", {"code": "() => codemode.tools().length"})
        assert found.structured_content == {"result": 8}


def test_every_call_is_one_of_the_execution(caller: Caller) -> None:
    ran = caller.run(BOTH, intent="to see both")
    assert [(c["n"], c["method"], c["path"], c["effect"]) for c in ran["_meta"]["keyreeve/calls"]] == [
        (1, "GET", "/client/v4/zones", "read"),
        (2, "POST", "/tools/echo", "write"),
        (3, "POST", "/tools/add", "write"),
        (4, "GET", "/client/v4/zones", "read"),
    ]
    items = caller.audit(ran["_meta"]["keyreeve/execution_id"])
    calls = sorted((item for item in items if item["kind"] == "call"), key=lambda item: item["n"])
    tools = [(item["tool_name"], item["connection_name"], item["outcome"]) for item in calls]
    assert tools == [
        ("cf_execute", "cf", "ok"),
        ("up_echo", "up", "ok"),
        ("up_add", "up", "ok"),
        ("cf_call", "cf", "ok"),
    ]
    [done] = [item for item in items if item["kind"] == "execution"]
    assert (done["tool_name"], done["calls"], done["summary"]["writes"]) == ("execute", 4, 2)
    assert len(done["code_digest"]) == 64
    read = caller.kit.admin.ok("GET", f"/v1/executions/{done['execution_id']}/code")
    assert read["code"] == BOTH


def test_search_by_words_and_by_code(shared: Caller) -> None:
    found = value_of(shared.endpoint().call("search", {"query": "list dns records"}))
    assert found["operations"][0] == {
        "connection": "cf",
        "method": "GET",
        "path": "/zones/{zone_id}/dns_records",
        "summary": "List DNS Records",
        "product": "DNS Records for a Zone",
        "effect": "read",
    }
    tools = value_of(shared.endpoint().call("search", {"query": "says again"}))["tools"]
    assert (tools[0]["name"], tools[0]["inputSchema"]["required"]) == ("up_echo", ["text"])

    def ask(code: str) -> Any:
        return shared.value(f"async () => {code}", tool="search")

    names = ask("codemode.tools().map(t => t.name)")
    assert names == [
        "cf_call", "cf_zone-purge", "cf_zones-get", "up_add", "up_drop_all", "up_echo", "up_fails", "up_picture",
    ]  # fmt: skip
    [echo] = ask('codemode.tools().filter(t => t.name === "up_echo")')
    assert (echo["connection"], echo["available"], echo["description"]) == ("up", True, "Says it again.")
    assert echo["inputSchema"]["required"] == ["text"]
    assert ask('(await codemode.tool("up_add")).name') == "up_add"
    best = ask('(await connections.cf.find("list dns records", {limit: 1, method: "get"}))[0].path')
    assert best == "/zones/{zone_id}/dns_records"
    described = ask('connections.cf.operation("GET /zones/{zone_id}/dns_records")')
    assert described["inputSchema"]["required"] == ["zone_id"]
    assert "connections" in described["call"]
    assert ask("(await connections.cf.products())[0].operations") > 4
    assert ask('(await codemode.operations("cf")).length') == ask("(await connections.cf.operations()).length") > 30
    assert ask("(await connections.cf.whoami()).identity") == shared.engineer.identifier


def test_errors_say_what_to_do(shared: Caller) -> None:
    unknown = shared.error("async () => {\n  return codemode.up_ecko({})\n}")
    assert (unknown["code"], unknown["line"], unknown["hint"]) == ("unknown_tool", 2, "did you mean `up_echo`?")
    program = shared.error("async () => codemode.cf_execute({code: '1'})")
    assert 'connections["cf"]' in program["hint"]
    path = shared.error('async () => connections.cf.request("/zoness")')
    assert path["code"] == "unknown_operation"
    assert "/zones" in path["hint"]
    wrong = shared.error('async () => codemode.cf_call({operation: "GET /zonez"})')
    assert wrong["code"] == "unknown_operation"
    assert "the tool failed" in shared.error("async () => codemode.up_fails()")["detail"]
    kind = shared.error("async () => connections.cf.operation('GET /nowhere')", tool="search")
    assert kind["code"] == "unknown_operation"
    assert (
        "no tool"
        in shared.endpoint().ask("tools/call", {"name": "cf_call", "arguments": {}}).json()["error"]["message"]
    )
    for arguments, code in (
        ({}, "invalid_input"),
        ({"code": "1", "query": "x"}, "invalid_input"),
        ({"cod": "1"}, "unknown_field"),
    ):
        refused = shared.endpoint().call("search", arguments)
        assert refused["structuredContent"]["code"] == code
    keyed = shared.endpoint().call("execute", {"code": "1"}, **{"keyreeve/idempotency_key": "k"})
    assert "idempotency_key" in keyed["structuredContent"]["detail"]


def test_an_error_begins_with_the_writes_already_made(shared: Caller) -> None:
    zone = shared.kit.stand.upstream.zones["example.com"]
    code = f"async () => {{ await {PURGE.replace('ZONE', repr(zone))}; throw new Error('later') }}"
    ran = shared.run(code)
    assert ran["structuredContent"]["detail"].startswith("Already done before this error: POST /client/v4/zones/")
    assert [c["effect"] for c in ran["_meta"]["keyreeve/calls"]] == ["write"]


def test_a_dry_run_stops_at_the_first_write(shared: Caller) -> None:
    ran = shared.run(
        """async () => {
        const zones = (await connections.cf.request("/zones")).result;
        try { await codemode.up_echo({text: zones[0].name}) } catch {}
        await codemode.up_drop_all();
        return "on";
    }""",
        dry_run=True,
    )
    would = value_of(ran)["would"]
    assert (would["tool"], would["effect"], would["decision"]["allowed"]) == ("up_echo", "write", True)
    assert would["body"]["params"]["arguments"] == {"text": "example.com"}
    assert [c["effect"] for c in ran["_meta"]["keyreeve/calls"]] == ["read"]
    assert value_of(shared.run('() => "nothing"', dry_run=True)) == "nothing"


def test_results_can_be_had_again(caller: Caller, make_caller: MakeCaller) -> None:
    ran = caller.run('() => ({list: Array.from({length: 9000}, (_, i) => "item " + i)})')
    assert ran["_meta"]["keyreeve/truncated"]
    assert "previous(" in ran["structuredContent"]["$notes"]
    execution_id = ran["_meta"]["keyreeve/execution_id"]
    again = f'async () => (await previous("{execution_id}")).list.length'
    assert caller.value(again) == 9000
    # A narrower URL, another person of the tenant, another tenant: none of them reads it.
    assert caller.error(again, query="tools=up_echo")["code"] == "not_found"
    assert caller.error(again, query="access=read")["code"] == "not_found"
    assert make_caller(kit=caller.kit).error(again)["code"] == "not_found"
    assert make_caller().error(again)["code"] == "not_found"
    # Nor its maker, once a grant is gone under which it may have been made.
    [grant] = [g for g in caller.kit.admin.ok("GET", "/v1/grants")["items"] if g["connection_name"] == "up"]
    caller.kit.admin.ok("DELETE", f"/v1/grants/{grant['id']}")
    assert caller.error(again)["code"] == "not_granted"


def test_one_connections_own_url(shared: Caller) -> None:
    here = shared.endpoint(path="/up")
    assert here.tools() == ["execute", "search"]
    names = value_of(here.call("search", {"code": "() => codemode.tools().map(t => t.connection)"}))
    assert set(names) == {"up"}
    refused = here.call("execute", {"code": "() => codemode.cf_call({operation: 'GET /zones'})"})
    assert refused["structuredContent"]["code"] == "unknown_tool"


def test_an_account_that_is_missing(make_caller: MakeCaller) -> None:
    caller = make_caller()
    kit = caller.kit
    identifier = kit.identity()
    kit.grant({"identifier": identifier}, "read", "cf")
    endpoint = caller.endpoint(token=kit.session(identifier)["token"])
    [entry] = value_of(endpoint.call("search", {"code": "() => codemode.tools()"}))
    assert (entry["connection"], entry["available"], entry["reason"]) == ("cf", False, "not_connected")
    refused = endpoint.call("execute", {"code": "() => codemode.cf_call({operation: 'GET /zones'})"})
    assert refused["structuredContent"]["connect_url"] == f"{kit.stand.url}/connect/{kit.name}/cf"


def test_twenty_connections_cost_no_more(caller: Caller, servers: McpServers) -> None:
    encoding = bpe_openai.get_encoding("o200k_base")

    def tokens() -> int:
        return len(encoding.encode(json.dumps(caller.endpoint().result("tools/list")["tools"], ensure_ascii=False)))

    before = tokens()
    url = servers.tell("many", tools=[{"name": "t", "inputSchema": {"type": "object"}}])
    for n in range(3):
        connect_mcp(caller.kit, caller.engineer.identifier, url, f"more-{n}")
    for n in range(3, 18):
        caller.kit.connection(f"more-{n}")
        caller.kit.grant({"identifier": caller.engineer.identifier}, "read", f"more-{n}")
    listed = caller.value("() => codemode.tools().map(t => [t.name ?? t.connection, t.available])", tool="search")
    assert len(listed) == 8 + 18
    assert ["more-9", False] in listed
    assert caller.value('async () => codemode["more-2_t"]({})') == "done"
    assert tokens() == before <= 600


def test_what_is_advertised_is_what_is_answered(shared: Caller) -> None:
    """Real answers of every tool with an output schema, against it."""
    plain = shared.endpoint()
    plain.path = plain.path.partition("?")[0]
    schemas = {t["name"]: t["outputSchema"] for t in plain.result("tools/list")["tools"] if "outputSchema" in t}
    assert {"cf_call", "cf_zones-get", "cf_search", "cf_execute"} <= set(schemas)
    zone = shared.kit.stand.upstream.zones["example.com"]
    asked: list[tuple[str, dict[str, Any]]] = [
        ("cf_call", {"operation": "GET /zones"}),
        ("cf_call", {"operation": "GET /zones/{zone_id}", "path_params": {"zone_id": zone}}),
        ("cf_call", {"operation": "graphql", "body": {"query": "{ viewer { __typename } }"}}),
        ("cf_zones-get", {}),
        ("cf_search", {"query": "dns"}),
        ("cf_search", {"operation": "GET /zones"}),
        ("cf_search", {"code": "() => [1, 2]"}),
        ("cf_execute", {"code": "() => undefined"}),
        ("cf_execute", {"code": "() => { console.log('said'); return 'text' }"}),
        ("cf_execute", {"code": "() => 'x'.repeat(1e5)"}),
    ]
    for name, arguments in asked:
        result = plain.call(name, arguments)
        if result["isError"]:
            assert name == "cf_call", result
            continue
        validate(result["structuredContent"], schemas[name])
    summed = plain.call("up_add", {"a": 1, "b": 2})
    validate(summed["structuredContent"], schemas["up_add"])
    assert "up_echo" not in schemas  # its server says nothing of what it answers
    found = shared.endpoint().result("tools/list")["tools"]
    for name, arguments in (
        ("search", {"query": "dns"}),
        ("search", {"code": "() => null"}),
        ("execute", {"code": "7"}),
    ):
        [schema] = [tool["outputSchema"] for tool in found if tool["name"] == name]
        validate(shared.endpoint().call(name, arguments)["structuredContent"], schema)
    plain.path += "?discover=1"
    [finding] = [t["outputSchema"] for t in plain.result("tools/list")["tools"] if t["name"] == "find_tools"]
    validate(plain.call("find_tools", {"query": "zones"})["structuredContent"], finding)

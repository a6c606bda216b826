"""Programs of the portal that try what they may not, and callers who are narrowed."""

from typing import Any

import pytest

from tests.e2e.mcp_upstream.conftest import McpServers
from tests.e2e.portal.conftest import Caller, MakeCaller, connect_mcp, value_of

READ = 'async () => (await connections.cf.request("/zones")).result.length'


def purge(caller: Caller) -> str:
    path = f"/zones/{caller.kit.stand.upstream.zones['example.com']}/purge_cache"
    return f'async () => connections.cf.request("POST", "{path}", {{purge_everything: true}})'


def test_a_reader_only_reads(make_caller: MakeCaller) -> None:
    caller = make_caller()
    for query, token in (
        ("access=read", None),
        ("", caller.kit.session(caller.engineer.identifier, access="read")["token"]),
    ):
        endpoint = caller.endpoint(query, token=token)
        assert value_of(endpoint.call("execute", {"code": READ})) == 2
        for code in (
            purge(caller),
            "async () => codemode.up_drop_all()",
            "async () => codemode.cf_call({operation: 'POST /zones', body: {name: 'x.example'}})",
        ):
            refused = endpoint.call("execute", {"code": code})
            assert refused["isError"], code
            assert refused["structuredContent"]["code"] in ("not_granted", "unknown_tool", "forbidden"), refused
            assert all(c["sent"] is False for c in refused["_meta"].get("keyreeve/calls", []))


def test_a_url_narrows_to_its_tools(shared: Caller) -> None:
    narrow = "tools=up_echo,cf_search"
    assert shared.value("() => Object.keys(codemode)", tool="search", query=narrow) == ["up_echo"]
    assert shared.value('async () => codemode.up_echo({text: "x"})', query=narrow) == "x"
    for code, reason in (
        ("async () => codemode.up_add({a: 1, b: 1})", "unknown_tool"),
        ('async () => codemode.call("cf_call", {operation: "GET /zones"})', "unknown_tool"),
        (READ, "not_granted"),
        ('async () => cloudflare.request("/zones")', "unknown_connection"),
    ):
        error = shared.error(code, query=narrow)
        assert error["code"] == reason, error
    assert shared.value("async () => (await connections.cf.find('zones')).length > 0", tool="search", query=narrow)
    unsearchable = shared.error("async () => connections.cf.find('zones')", query="tools=cf_execute")
    assert unsearchable["code"] == "not_granted"


def test_only_what_the_credential_may_is_found(make_caller: MakeCaller) -> None:
    caller = make_caller(permissions=["API Tokens Read", "Zone Read", "User Details Read"])
    paths = caller.value(
        "async () => (await codemode.operations('cf')).map(o => o.method + ' ' + o.path)", tool="search"
    )
    assert "GET /zones" in paths
    assert "POST /zones/{zone_id}/dns_records" not in paths
    hidden = value_of(caller.endpoint().call("search", {"query": "create dns record"}))
    assert all(o["effect"] == "read" for o in hidden["operations"])
    assert hidden["hidden"]["cf"]["not_permitted"] > 0
    kept = caller.error("async () => connections.cf.operation('POST /zones/{zone_id}/dns_records')", tool="search")
    assert kept["code"] == "unknown_operation"
    assert "not shown" in kept["detail"]


def test_search_sends_nothing(shared: Caller) -> None:
    for code in (READ, 'async () => codemode.up_echo({text: "x"})', 'async () => cloudflare.request("/zones")',
                 'async () => previous("01a1fed4-f842-7707-a86a-4a4b63d8e4fe")'):  # fmt: skip
        error = shared.error(code, tool="search")
        assert "search sends nothing" in error["detail"], error


def test_tenants_do_not_meet(make_caller: MakeCaller, servers: McpServers) -> None:
    one, other = make_caller(), make_caller()
    connect_mcp(other.kit, other.engineer.identifier, f"{servers.url}/sdk/mcp", "theirs")
    assert one.error("async () => codemode.theirs_echo({text: 'x'})")["code"] == "unknown_tool"
    assert one.error("async () => connections.theirs")["code"] == "code_error"
    found = one.endpoint().call("search", {"query": "theirs echo"})["content"][0]["text"]
    assert "theirs_" not in found
    one.run("() => { globalThis.left = 'behind'; Object.prototype.left = 'behind' }")
    assert other.value("() => [typeof left, {}.left === undefined]") == ["undefined", True]
    stranger = one.endpoint(token=other.engineer.session)
    assert stranger.ask("tools/call", {"name": "execute", "arguments": {"code": READ}}).status_code == 401
    items = other.kit.admin.ok("GET", "/v1/audit/events")["items"]
    assert one.engineer.identifier not in str(items)


def test_a_tenants_own_limits_hold(caller: Caller) -> None:
    caller.kit.platform.ok("PATCH", f"/v1/tenants/{caller.kit.name}", {"sandbox": {"host_calls": 1}})
    twice = 'async () => { await codemode.up_echo({text: "x"}); await codemode.up_echo({text: "y"}) }'
    ran = caller.run(twice)
    assert ran["structuredContent"]["limit"] == "host_calls"
    assert "POST /tools/echo" in ran["structuredContent"]["detail"]
    assert len(ran["_meta"]["keyreeve/calls"]) == 1


HOSTILE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("async () => codemode.__proto__({})", ("code_error",)),
    ("async () => codemode.constructor('return 1')()", ("code_error",)),
    ("async () => codemode.call('__proto__', {})", ("unknown_tool",)),
    ("async () => codemode.call('x'.repeat(1e6), {})", ("invalid_input",)),
    ("async () => codemode.call('up_echo\\u0000', {})", ("unknown_tool",)),
    ("async () => codemode.call('../up_echo', {})", ("unknown_tool",)),
    ("async () => codemode.call({toString: () => 'cf_nope'}, {})", ("unknown_tool",)),
    ("async () => codemode.up_echo({text: {toJSON() { throw new Error('no') }}})", ("code_error",)),
    ("async () => codemode.up_echo({text: 'x', __proto__: {text: 'y'}, connected_account_id: 'x'})",
     ("invalid_input",)),
    ("async () => codemode.up_echo({connected_account_id: '01a1fed4-f842-7707-a86a-4a4b63d8e4fe'})",
     ("not_connected",)),
    ("async () => { const a = {}; a.a = a; return codemode.up_echo(a) }", ("code_error",)),
    ("async () => { let a = {}; for (let i = 0; i < 3e4; i++) a = {a}; return codemode.up_echo(a) }",
     ("code_error", "invalid_input")),
    ("async () => codemode.up_echo({text: 'x'.repeat(9e6)})", ("code_error", "payload_too_large")),
    ("async () => codemode.up_echo({list: JSON.parse('[' + '{},'.repeat(3e5) + '{}]')})",
     ("payload_too_large", "code_error", "invalid_input")),
    ("async () => connections['cf']['__proto__'].request('/zones')", ("code_error",)),
    ("async () => connections.cf.request('/../../v1/keys')", ("unknown_operation", "invalid_input", "egress_refused")),
    ("async () => connections.cf.request('//169.254.169.254/latest')", ("code_error", "invalid_input")),
    ("async () => connections.cf.request('http://127.0.0.1:1/zones')", ("code_error", "invalid_input")),
    ("async () => connections.cf.request({path: '/zones', headers: {Authorization: 'Bearer x'}})", ("invalid_input",)),
    ("async () => connections.cf.request({path: '/zones', headers: {'X-A': 'a\\r\\nB: c'}})", ("invalid_input",)),
    ("async () => connections.cf.find('x'.repeat(1e5))", ("invalid_input",)),
    ("async () => connections.cf.find('dns', {limit: 1e9, nope: 1})", ("invalid_input",)),
    ("async () => connections.cf.find('dns', {limit: -1})", ("invalid_input",)),
    ("async () => connections.cf.find([{}])", ("invalid_input", "code_error")),
    ("async () => connections.cf.operation({})", ("invalid_input",)),
    ("async () => connections.cf.operation('GET /' + 'a/'.repeat(900))", ("unknown_operation", "invalid_input")),
    ("async () => codemode.operations('__proto__')", ("code_error",)),
    ("async () => previous('../../etc/passwd')", ("invalid_input",)),
    ("async () => { for (;;) await codemode.tool('up_echo') }", ("code_error",)),
    ("async () => { await Promise.all(Array.from({length: 5000}, () => connections.cf.products())) }", ("code_error",)),
    ("async () => new Proxy(codemode, {get: (t, n) => t[n]}).up_nope()", ("unknown_tool",)),
)  # fmt: skip


@pytest.mark.parametrize(("code", "codes"), HOSTILE)
def test_hostile_programs_end_with_a_clear_error(shared: Caller, code: str, codes: tuple[str, ...]) -> None:
    error = shared.error(code)
    assert error["code"] in codes, error
    assert len(error["detail"]) < 7_000


def test_what_a_server_calls_its_tools_is_no_way_in(caller: Caller, servers: McpServers) -> None:
    names = ["then", "constructor", "__proto__", "toJSON", "tools", "call"]
    tools = [{"name": name, "description": "odd", "inputSchema": {"type": "object"}} for name in names]
    url = servers.tell("odd", tools=tools)
    connect_mcp(caller.kit, caller.engineer.identifier, url, "odd", prefix=False)
    here = caller.endpoint(path="/odd")

    def value(code: str) -> Any:
        return value_of(here.call("execute", {"code": code}))

    listed = value("async () => (await codemode, codemode.tools().map(t => t.name))")
    assert set(names) <= set(listed)
    for name in names:
        assert value(f"async () => codemode.call({name!r}, {{}})") == "done"
    assert value("() => [typeof codemode.tools, typeof codemode.then, typeof codemode.toJSON]") == [
        "function", "undefined", "undefined",
    ]  # fmt: skip
    assert value('async () => codemode["odd_then"]({})') if "odd_then" in listed else True


def test_answers_of_hostile_servers(caller: Caller, servers: McpServers) -> None:
    results = {
        "odd_json": {"content": [{"type": "text", "text": '{"__proto__": {"polluted": 1}, "a": 1}'}]},
        "deep": {"content": [{"type": "text", "text": "[" * 5000 + "]" * 5000}]},
        "blocks": {"content": [{"type": "image", "data": "QQ==", "mimeType": "image/png"}]},
    }
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in results]
    url = servers.tell("hostile", tools=tools, calls={name: {"result": result} for name, result in results.items()})
    connect_mcp(caller.kit, caller.engineer.identifier, url, "bad")
    assert caller.value("async () => [(await codemode.bad_odd_json()).a, {}.polluted === undefined]") == [1, True]
    assert caller.value("async () => typeof (await codemode.bad_deep())") in ("string", "object")
    assert caller.value("async () => (await codemode.bad_blocks()).content[0].type") == "image"

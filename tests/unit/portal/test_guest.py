"""`codemode` and `connections` as a program sees them, in the real engine."""

from typing import Any

import pytest

from tests.unit.codemode_guest.guest import Rejected, run

PORTAL = {
    "tools": [
        {"name": "up_echo", "connection": "up", "description": "Says it again."},
        {"name": "my-up_send-mail", "connection": "my-up"},
        {"name": "then", "connection": "alone"},
        {"name": "__proto__", "connection": "alone"},
        {"name": "tools", "connection": "alone"},
    ],
    "apis": [{"name": "cf", "accountId": "a1"}, {"name": "constructor"}],
    "unavailable": [{"connection": "gh", "available": False, "reason": "not_connected"}],
}
PAGE = {"success": True, "result": [1, 2], "result_info": {"page": 1, "total_pages": 1}}


def host(name: str, argument: Any) -> Any:
    if argument.get("name") == "up_nope":
        raise Rejected({"message": "there is no tool", "code": "unknown_tool", "hint": "did you mean `up_echo`?"})
    if name in ("via", "request"):
        return {"status": 200, "body": PAGE}
    return {"value": [name, argument]}


def ran(code: str) -> Any:
    return run(code, host, context={"portal": PORTAL, "accountId": "a1"})


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("codemode.up_echo({a: 1})", ["tool", {"name": "up_echo", "args": {"a": 1}}]),
        ("codemode.up_echo()", ["tool", {"name": "up_echo", "args": {}}]),
        ('codemode["my-up_send-mail"](null)', ["tool", {"name": "my-up_send-mail", "args": {}}]),
        ('codemode.call("then", {})', ["tool", {"name": "then", "args": {}}]),
        ('codemode.call("__proto__")', ["tool", {"name": "__proto__", "args": {}}]),
        ('codemode.tool("up_echo")', ["definition", {"name": "up_echo"}]),
        ('codemode.operations("cf", {limit: 1})', ["operations", {"connection": "cf", "options": {"limit": 1}}]),
        ('connections.cf.find("dns", {limit: 2})',
         ["find", {"connection": "cf", "words": "dns", "options": {"limit": 2}}]),
        ('connections.cf.find({tag: "x"})', ["find", {"connection": "cf", "words": "", "options": {"tag": "x"}}]),
        ('connections.cf.operation("GET", "/zones")', ["operation", {"connection": "cf", "ref": "GET /zones"}]),
        ("connections.cf.products()", ["products", {"connection": "cf"}]),
        ("connections.cf.whoami()", ["whoami", {"connection": "cf"}]),
        ('(await connections["cf"].request({path: "/zones"})).result', [1, 2]),
        ('(await connections["cf"].get("/zones")).status', 200),
        ('connections["cf"].paginate("/zones").all()', [1, 2]),
        ('(await cloudflare.request("/zones")).result', [1, 2]),
        ("[connections.cf.accountId, accountId, connections.cf.name]", ["a1", "a1", "cf"]),
        ("codemode.tools().map(t => [t.name ?? t.connection, t.available])",
         [["up_echo", True], ["my-up_send-mail", True], ["then", True], ["__proto__", True], ["tools", True],
          ["gh", False]]),
        ("Object.keys(codemode)", ["up_echo", "my-up_send-mail"]),
        ("Object.keys(connections)", ["cf", "constructor"]),
        ("[await codemode === codemode, (await connections) === connections]", [True, True]),
        ("[codemode.then, codemode.toJSON, codemode.constructor, connections.then].every(x => x === undefined)", True),
        ("codemode", {}),
    ],
)  # fmt: skip
def test_what_is_there(code: str, value: Any) -> None:
    assert ran(f"async () => {code}").value == value


def test_requests_name_their_connection() -> None:
    made = ran('async () => { await connections.cf.request("DELETE", "/zones/x"); await cloudflare.get("/user") }')
    assert made.calls == [
        ("via", {"connection": "cf", "request": {"method": "DELETE", "path": "/zones/x"}}),
        ("request", {"method": "GET", "path": "/user"}),
    ]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("connections.nope", 'no connection "nope" with an API here; there are: cf'),
        ("connections.up.request({})", '"up" has tools only: call them, as codemode.up_echo({…})'),
        ("codemode.up_echo(3)", "takes one object"),
        ("codemode.up_echo([1])", "takes one object"),
        ("codemode.up_echo({a: 1n, get b() { throw new Error('mine') }})", "mine"),
        ("spec.paths", "spec is not defined"),
    ],
)
def test_what_is_not(code: str, told: str) -> None:
    assert told in ran(f"async () => {code}").error["message"]


def test_an_unknown_tool_is_told_with_its_line() -> None:
    error = ran("async () => {\n  await codemode.up_nope({})\n}").error
    assert (error["name"], error["line"], error["code"]) == ("ToolError", 2, "unknown_tool")
    assert "did you mean `up_echo`?" in error["hint"]
    caught = ran(
        "async () => { try { await codemode.up_nope() } catch (e) { return [e instanceof ToolError, e.code] } }"
    )
    assert caught.value == [True, "unknown_tool"]


@pytest.mark.parametrize(
    "code",
    [
        "Object.prototype.up_echo = () => 'mine'",
        "Object.prototype.get = () => 'mine'",
        "Array.prototype.map = () => ['mine']; Array.prototype[Symbol.iterator] = null",
        "Promise.prototype.then = () => 'mine'",
        'JSON.stringify = () => \'{"name":"other"}\'',
        "Reflect.get = Reflect.has = Object.keys = () => ['mine']",
        "Map.prototype.set = Map.prototype.get = () => undefined",
        "codemode.up_echo = () => 'mine'; codemode.__proto__ = {up_echo: 1}",
        "try { Object.setPrototypeOf(codemode, {up_echo: 1}) } catch {}",
        "try { Object.defineProperty(codemode, 'up_echo', {value: () => 'mine'}) } catch {}",
        "globalThis.Proxy = class {}; globalThis.Error = null",
        "delete codemode.up_echo; delete globalThis.connections",
    ],
)
def test_what_a_program_breaks_does_not_change_what_is_asked(code: str) -> None:
    made = ran(f"async () => {{ {code}; const p = codemode.up_echo({{a: 1}}); return 1 }}")
    assert made.calls == [("tool", {"name": "up_echo", "args": {"a": 1}})]


def test_without_a_portal_there_is_none() -> None:
    assert run("() => typeof codemode + typeof connections").value == "undefinedundefined"

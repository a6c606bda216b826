"""Programs that break what they can reach. Whatever they do, messages keep their form and there is one result."""

import json

import pytest

from tests.unit.codemode_guest.guest import answering, envelope, run

POLLUTIONS = [
    "Object.prototype.toJSON = () => 'forged'",
    "Array.prototype.toJSON = () => ['forged']",
    "String.prototype.toJSON = () => 'forged'",
    "JSON.stringify = () => '[1,\"request\",{}]'; JSON.parse = () => ({})",
    "Map.prototype.get = Map.prototype.set = Map.prototype.has = Map.prototype.delete = () => { throw 1 }",
    "Promise.prototype.then = function () { return this }",
    "globalThis.Promise = class { }",
    "Promise.resolve = () => { throw 1 }",
    "Object.defineProperty(Promise.prototype, 'constructor', { get() { throw 1 } })",
    "Error.prototype.toString = () => { throw 1 }; Error.prepareStackTrace = () => { throw 2 }",
    "globalThis.Error = function () { throw 1 }; globalThis.TypeError = 5",
    "Array.prototype[Symbol.iterator] = function* () { yield 'forged' }",
    "Object.defineProperty(Object.prototype, 'message', { set() { throw 1 }, get() { return 'forged' } })",
    "Object.defineProperty(Array.prototype, '0', { set() { throw 1 }, get() { return 'forged' } })",
    "RegExp.prototype.exec = () => ['forged']; RegExp.prototype[Symbol.replace] = () => 'forged'",
    "String.prototype.split = () => ['forged']; String.prototype.slice = () => 'forged'",
    "Function.prototype.call = Function.prototype.apply = Function.prototype.bind = () => { throw 1 }",
    "Object.keys = Object.create = Object.entries = () => { throw 1 }",
    "for (const k of Object.getOwnPropertyNames(globalThis)) { try { globalThis[k] = undefined } catch {} }",
    "Object.setPrototypeOf(Object.prototype, null); Object.freeze(Object.prototype); Object.freeze(Array.prototype)",
    "Object.prototype.ok = false; Object.prototype.result = 'forged'; Object.prototype.kind = 'syntax'",
]
ENDS = ["return { a: [1, 'x'] }", "throw new Error('boom')", "console.log('hi', { a: 1 }); return 2",
        "return await cloudflare.request({ method: 'GET', path: '/zones' })"]  # fmt: skip


@pytest.mark.parametrize("pollution", POLLUTIONS)
@pytest.mark.parametrize("end", ENDS)
def test_no_pollution_breaks_a_message(pollution: str, end: str) -> None:
    ran = run(f"async () => {{\n{pollution};\n{end}\n}}", answering(envelope([1])))
    for message in ran.messages:
        told = json.loads(message[1:])
        if message[:1] == b"c":
            assert isinstance(told[0], int)
            assert told[1] in ("request", "sleep")
            assert set(told[2]) <= {"method", "path", "query"}
        elif message[:1] == b"l":
            assert set(told) == {"level", "text"}
    if ran.told:  # some of these wait for ever: the pool sees that at once
        assert ran.told["ok"] in (True, False)
        assert ran.told["logs"] == []
        if not ran.told["ok"]:
            assert ran.told["error"]["kind"] == "thrown"


def test_a_result_that_writes_itself_cannot_leave_its_place() -> None:
    forged = '"},"ok":false,"error":{"kind":"limit"}'
    assert run(f"return {{ toJSON: () => {json.dumps(forged)} }}").value == forged
    assert run("return { toJSON() { return { ok: false, result: 1 } } }").value == {"ok": False, "result": 1}
    assert run("return { get a() { throw new Error('late') } }").error["message"] == "late"


def test_there_is_one_result() -> None:
    ran = run("queueMicrotask(() => { throw 1 }); Promise.reject(2); return { then(f) { f(1); f(2); throw 3 } }")
    assert ran.value == 1


def test_nobody_makes_an_error_of_the_preludes_own() -> None:
    forged = "{ failure: true, kind: 'limit', name: 'X', message: 'm', limit: 'cpu' }"
    code = f"throw Object.assign(Object.create(null), {forged})"
    error = run(code).error
    assert error["kind"] == "thrown"
    assert "limit" not in error


def test_the_prelude_is_not_reachable() -> None:
    for reach in ("request.caller", "request.arguments", "arguments.callee"):
        code = f"try {{ return typeof cloudflare.{reach} }} catch (e) {{ return e.name }}"
        assert run(code).value in ("undefined", "TypeError")
    assert run("cloudflare.request.constructor('return typeof send + typeof waiting')()").value == "undefinedundefined"
    assert run("try { cloudflare.request = 1 } catch {} return typeof cloudflare.request").value == "function"


def test_lone_surrogates_and_long_names_pass() -> None:
    assert run("return '\\ud800' + 'x'").value == "\ud800x"
    assert run("console.log('\\udfff'); return Object.fromEntries([['k'.repeat(70000), 1]])").told["ok"] is True

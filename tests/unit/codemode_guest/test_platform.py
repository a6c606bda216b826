"""What the prelude adds to ECMAScript, and how results and logs are written."""

import json
import re

import pytest

from tests.unit.codemode_guest.guest import run

VALUES = [
    ("new Map([['a', 1], [2, { b: new Set([3]) }]])", {"a": 1, "2": {"b": [3]}}),
    ("[1n, 2n ** 70n]", [1, str(2**70)]),
    (
        "new Uint8Array([1, 2, 255])",
        {"$binary": {"media_type": "application/octet-stream", "bytes": 3, "base64": "AQL/"}},
    ),
    ("new Float64Array([1.5])", [1.5]),
    ("[new Error('x'), undefined, () => 1, NaN]", [{"name": "Error", "message": "x"}, None, None, None]),
    ("new Date(0)", "1970-01-01T00:00:00.000Z"),
    ("new URL('../x?y=1#z', 'https://u:p@a.com:443/b/c/d').href", "https://a.com/b/x?y=1#z"),
    ("new URL('https://A.example/a/./b/../c d?q=é').href", "https://a.example/a/c%20d?q=%C3%A9"),
    ("[...new URL('https://a.b/?x=1&x=2').searchParams]", [["x", "1"], ["x", "2"]]),
    (
        "(() => { const u = new URL('https://a.b/c'); u.searchParams.set('q', 'a b'); return u.href })()",
        "https://a.b/c?q=a+b",
    ),
    ("URL.canParse('nope')", False),
    ("new URLSearchParams({ a: 'b c', d: 'é&' }).toString()", "a=b+c&d=%C3%A9%26"),
    ("new URLSearchParams('?a=1&a=2&b').getAll('a')", ["1", "2"]),
    ("[...new TextEncoder().encode('é😀\\ud800')]", [195, 169, 240, 159, 152, 128, 239, 191, 189]),
    (
        "new TextDecoder().decode(new Uint8Array([195, 169, 240, 159, 152, 128, 255, 65, 224, 128]))",
        "é😀\ufffdA\ufffd\ufffd",
    ),
    ("atob(btoa('hi'))", "hi"),
    (
        "structuredClone({ a: [1, new Date(0)], m: new Map([[1, 2]]) })",
        {"a": [1, "1970-01-01T00:00:00.000Z"], "m": {"1": 2}},
    ),
    ("(() => { const o = { x: 1 }; o.o = o; const c = structuredClone(o); return c.o === c && c !== o })()", True),
    ("new Headers({ 'X-A': 'b' }).get('x-a')", "b"),
    ("(await new Blob(['a', new Uint8Array([98])]).text())", "ab"),
]


@pytest.mark.parametrize(("code", "value"), VALUES)
def test_values(code: str, value: object) -> None:
    assert run(code).value == value


def test_decoding_agrees_with_python() -> None:
    samples = [
        bytes([a, b, c])
        for a in (65, 194, 224, 237, 240, 244, 245, 255)
        for b in (65, 127, 128, 160, 191)
        for c in (65, 128)
    ]
    code = f"{json.dumps([list(s) for s in samples])}.map(b => new TextDecoder().decode(new Uint8Array(b)))"
    assert run(code).value == [s.decode("utf-8", "replace") for s in samples]


def test_randomness_is_the_runs_own() -> None:
    code = "[crypto.randomUUID(), Math.random(), ...crypto.getRandomValues(new Uint8Array(4))]"
    one, other = run(code, seed=1.0).value, run(code, seed=2.0).value
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one[0])
    assert 0 <= one[1] < 1
    assert one != other
    assert run(code, seed=1.0).value == one


def test_timers_are_host_calls() -> None:
    code = """let n = 0; const t = setInterval(() => { if (++n === 3) clearInterval(t) }, 5);
      await new Promise(r => setTimeout(r, 7)); return n"""
    ran = run(code, lambda _n, _a: None)
    assert {name for name, _ in ran.calls} == {"sleep"}
    assert ran.calls[0][1] == {"ms": 5}
    assert run("const t = setTimeout(() => { throw 1 }, 0); clearTimeout(t); return 1", lambda _n, _a: None).value == 1


def test_the_console_is_captured() -> None:
    code = """const o = { a: 1 }; o.o = o; console.log('x', { a: [1] }, undefined, 1n); console.warn(o);
      console.error(new Error('e')); console.table([1]); return 1"""
    logs = run(code).logs
    assert [(line["level"], line["text"]) for line in logs][:1] == [("log", 'x {"a":[1]} undefined 1')]
    assert logs[1] == {"level": "warn", "text": '{"a":1,"o":{"a":1,"o":{"a":1,"o":{…}}}}'}
    assert logs[2] == {"level": "error", "text": "Error: e"}


def test_the_log_is_bounded() -> None:
    ran = run("for (let i = 0; i < 5000; i++) console.log('x'.repeat(1000)); return 1")
    assert sum(len(line["text"]) for line in ran.logs) < 70_000
    assert ran.told["log_dropped"] == 5000 - len(ran.logs)
    long = run("console.log('x'.repeat(1e6)); return 1").logs[0]["text"]
    assert len(long) < 5000
    assert "more characters" in long


def test_a_result_over_the_bound_says_so() -> None:
    error = run("'x'.repeat(2000)", most=1000.0).error
    assert (error["kind"], error["limit"]) == ("limit", "result_bytes")


def test_a_result_that_refers_to_itself_says_so() -> None:
    assert "refers to itself" in run("const o = {}; o.o = o; return o").error["message"]


def test_anything_may_be_thrown() -> None:
    assert run("throw 'text'").error["message"] == "text"
    assert run("throw undefined").error["message"] == "the program threw undefined"
    assert run("throw null").error["message"] == "null"
    assert run("throw { code: 'E', message: 'm' }").error["message"] == "m"
    assert run("throw { a: 1 }").error["message"] == '{"a":1}'
    assert run("throw new Error('a', { cause: new Error('b') })").error["cause"] == "Error: b"
    assert run("throw { get message() { throw 1 } }").error["kind"] == "thrown"
    assert run("throw new Proxy({}, { get() { throw 1 }, getPrototypeOf() { throw 2 } })").error["kind"] == "thrown"


def test_only_what_is_meant_is_global() -> None:
    names = set(run("Object.getOwnPropertyNames(globalThis)").value)
    assert {"cloudflare", "console", "previous", "setTimeout", "URL"} <= names
    assert not names & {
        "send",
        "run",
        "deliver",
        "__load",
        "__next",
        "fetch",
        "require",
        "process",
        "std",
        "os",
        "uncurry",
    }

"""Every way in which models write "the code", and where errors are said to be."""

import pytest

from tests.unit.codemode_guest.guest import Rejected, answering, envelope, run

FORMS = [
    ("async () => 1 + 1", 2),
    ("() => 3;", 3),
    ("async () => { return 4 }; // done\n", 4),
    ("function main() { return 5 }", 5),
    ("async function main() { return 6 }", 6),
    ("(async () => { return 7 })()", 7),
    ("return 8", 8),
    ("const x = 9;\nx", 9),
    ("const f = async () => { return 10 };\nf()", 10),
    ("const f = async () => 11; f()", 11),
    ("// what it does\nasync function helper() { return 12 }\nasync function main() { return helper() }\nmain();", 12),
    ("export default async () => 13", 13),
    ("export default async function () { return 14 }", 14),
    ("export default { a: 15 }", {"a": 15}),
    ("```js\nasync () => {\n  return 16\n}\n```", 16),
    ("Here it is:\n\n```javascript\nasync () => 17\n```\nIt returns 17.", 17),
    ("~~~ts\nreturn 18\n~~~", 18),
    ("/* a */ // b\nasync () => 19", 19),
    ("\ufeffasync () => 20", 20),
    ("await Promise.all([21, 22])", [21, 22]),
    ("({ a: 23 })", {"a": 23}),
    ("if (true) { return 24 }\nreturn 25", 24),
    ("let t = 0; for (const x of [1, 2]) { t += x }\nt", 3),
    ("let t = 0; outer: for (;;) { while (true) { t++; if (t > 3) break outer; else continue outer } }\nt", 4),
    ("class A { return() { return 26 } }\nnew A().return()", 26),
    ("do { var i = (typeof i === 'undefined' ? 0 : i) + 1 } while (i < 3)\ni", 3),
    ("const f = x => x\n  ? 1\n  : 2\nf(0)", 2),
    ("const s = `a ${true ? '}' : `c${1}`} return`\ns", "a } return"),
    ("for (const a of [1])\n  for (const b of [2])\n    return [a, b, /'return/.test('x')]", [1, 2, False]),
    ("const o = { return: 27, if: 1 };\no.return", 27),
    ("switch (2) { case 1: return 1; case 2: const z = 28; return z }", 28),
    ('const text = "return; const x";\ntext', "return; const x"),
    ("let x = 29\n;[30].forEach(y => { x = y })\nx", 30),
    ("if (1)\n  var y = 31\ny", 31),
    ("label: { break label }\n32", 32),
]


@pytest.mark.parametrize(("code", "value"), FORMS)
def test_a_program_may_be_written_in_many_ways(code: str, value: object) -> None:
    assert run(code).value == value


def test_nothing_returned_is_said() -> None:
    told = run("async () => { const x = 1; }").told
    assert told["ok"] is True
    assert told["undefined"] is True
    assert told["result"] is None


THROWN = [
    ("async () => {\n  const x = null;\n  return x.foo\n}", 3),
    ("const x = null;\n\nif (x.foo) { }\n", 3),
    ("const x = {};\nawait Promise.resolve();\nconst y = x.foo.bar;\n", 3),
    ("async () => {\n\n  for (const a of undefined) { }\n}", 3),
    ("async () => {\n  const f = () => {\n    throw new Error('x');\n  };\n  f();\n}", 3),
    ("```js\nasync () => {\n  const x = null;\n  return x.foo;\n}\n```", 4),
    ("const a = 1;\nconst b = 2;\nmissing(a + b)", 3),
    ("const o = {};\nwhile (o.a.b) { }", 2),
    ("async () => { let a = 1; let b = a.c.d; }", 1),
]


@pytest.mark.parametrize(("code", "line"), THROWN)
def test_the_line_that_threw_is_counted_in_the_programs_own_text(code: str, line: int) -> None:
    error = run(code).error
    assert error["kind"] == "thrown"
    assert error["line"] == line, error


def test_columns_count_what_was_written() -> None:
    assert run("async () => { let a = 1; let b = a.c.d; }").error["column"] == 26
    assert run("const a = 1;\nnull_.x; a").error["column"] == 1
    assert 7 <= run("throw new Error('x')").error["column"] <= 11


def test_a_failed_request_names_the_line_that_made_it() -> None:
    def refuse(_name: str, _argument: object) -> object:
        raise Rejected({"message": "no", "status": 403})

    error = run("async () => {\n\n  await cloudflare.request({ method: 'GET', path: '/zones' });\n}", refuse).error
    assert (error["line"], error["status"]) == (3, 403)


SYNTAX = [
    ("const a = 1;\nconst b = a +;\n", 2),
    ("async () => {\n  return (1 +\n}", 3),
    ("async () => {\n  return `abc\n", 3),
    ("const x = {\n  a: 1\n  b: 2\n};", 3),
]


@pytest.mark.parametrize(("code", "line"), SYNTAX)
def test_a_syntax_error_shows_its_line(code: str, line: int) -> None:
    error = run(code).error
    assert error["kind"] == "syntax"
    assert error["line"] == line, error


def test_a_syntax_error_points_at_what_is_wrong() -> None:
    error = run("const a = 1;\nconst b = a +;\n").error
    assert error["column"] == 14
    assert error["message"].endswith("\nconst b = a +;\n             ^")


def test_type_annotations_are_refused_in_words() -> None:
    for code in (
        "async () => { const x: string = 'a'; return x }",
        "interface A { b: string }\nreturn 1",
        "(r: any) => r",
    ):
        assert "plain JavaScript" in run(code).error["hint"]


def test_no_code_is_an_error() -> None:
    for code in ("", "  \n", "// only this", "```js\n```"):
        assert run(code).error["kind"] == "syntax"


def test_unbalanced_text_does_not_leave_its_function() -> None:
    for code in ("1), (2", "}); ({", "}) => {", "1\n), globalThis.x = 1, (2"):
        assert not run(code).told["ok"] or run(code).value in (2, {})


def test_what_other_platforms_have_is_explained() -> None:
    assert "cloudflare.request" in run("await fetch('https://api.cloudflare.com')").error["hint"]
    assert "modules" in run("const fs = require('fs')").error["hint"]
    assert "search" in run("return spec.paths").error["hint"]
    assert run("return typeof fetch").value == "undefined"


def test_long_programs_are_read_in_time() -> None:
    code = "".join(f"const v{i} = await cloudflare.get('/zones/{i}'); // {i}\n" for i in range(1500)) + "v3.result"
    assert run(code.replace("await cloudflare.get", "String"), answering(envelope(1))).told["ok"] is True

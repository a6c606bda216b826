"""`cloudflare`: what reaches the host, and what a program gets back."""

from typing import Any

import pytest

from tests.unit.codemode_guest.guest import Ran, Rejected, answering, envelope, run

OK = answering(envelope([]))


def asked(code: str, host: Any = OK) -> Any:
    """The argument of the one request that the program makes."""
    ran = run(code, host)
    assert ran.told["ok"], ran.told
    ((name, argument),) = ran.calls
    assert name == "request"
    return argument


REQUESTS = [
    ('{ method: "GET", path: "/zones" }', {"method": "GET", "path": "/zones"}),
    ('{ path: "/zones" }', {"method": "GET", "path": "/zones"}),
    ('{ method: "get", path: "/client/v4/zones" }', {"method": "GET", "path": "/zones"}),
    ('{ method: "GET", path: "zones?name=a&name=b#x", query: { page: 1 } }',
     {"method": "GET", "path": "/zones", "query": {"name": ["a", "b"], "page": 1}}),
    ('{ path: "/z", query: { a: [1, null, "x"], b: undefined, c: null, d: false, e: 0, f: "" } }',
     {"method": "GET", "path": "/z", "query": {"a": [1, "x"], "d": False, "e": 0, "f": ""}}),
    ('{ path: "/z", query: { one: ["x"] } }', {"method": "GET", "path": "/z", "query": {"one": ["x"]}}),
    ('{ path: "/z", query: new URLSearchParams([["a", "1"], ["a", "2"]]) }',
     {"method": "GET", "path": "/z", "query": {"a": ["1", "2"]}}),
    ('{ method: "PUT", path: "/z", body: 0 }', {"method": "PUT", "path": "/z", "body": 0}),
    ('{ method: "PUT", path: "/z", body: "" }', {"method": "PUT", "path": "/z", "body": ""}),
    ('{ method: "PUT", path: "/z", body: false }', {"method": "PUT", "path": "/z", "body": False}),
    ('{ method: "PUT", path: "/z", body: null }', {"method": "PUT", "path": "/z", "body": None}),
    ('{ method: "PUT", path: "/z", body: undefined }', {"method": "PUT", "path": "/z"}),
    ('{ method: "PUT", path: "/z", body: "", rawBody: true, contentType: "text/plain" }',
     {"method": "PUT", "path": "/z", "bodyText": "", "contentType": "text/plain"}),
    ('{ method: "PUT", path: "/z", body: new Uint8Array([0, 255]) }',
     {"method": "PUT", "path": "/z", "bodyBase64": "AP8=", "contentType": "application/octet-stream"}),
    ('{ method: "PUT", path: "/z", body: new Uint8Array([2, 3]).buffer, contentType: "image/png" }',
     {"method": "PUT", "path": "/z", "bodyBase64": "AgM=", "contentType": "image/png"}),
    ('{ method: "PUT", path: "/z", body: "x", headers: { "Content-Type": "text/plain", "If-Match": "*" } }',
     {"method": "PUT", "path": "/z", "bodyText": "x", "contentType": "text/plain", "headers": {"If-Match": "*"}}),
    ('"PUT", "/z", { a: 0 }', {"method": "PUT", "path": "/z", "body": {"a": 0}}),
    ('"PUT", "/z", { body: { a: 0 }, query: { b: 1 } }',
     {"method": "PUT", "path": "/z", "body": {"a": 0}, "query": {"b": 1}}),
    ('"GET", "/z", { name: "x" }', {"method": "GET", "path": "/z", "query": {"name": "x"}}),
    ('"POST", "/z", [1]', {"method": "POST", "path": "/z", "body": [1]}),
    ('"/z", { method: "DELETE" }', {"method": "DELETE", "path": "/z"}),
    ('{ path: "/client/v4/graphql", body: { query: "{ viewer { x } }" } }',
     {"method": "POST", "path": "/graphql", "body": {"query": "{ viewer { x } }"}}),
    ('"POST", "/graphql", { query: "{ x }" }', {"method": "POST", "path": "/graphql", "body": {"query": "{ x }"}}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "argument"), REQUESTS)
def test_what_the_host_is_asked(code: str, argument: object) -> None:
    assert asked(f"async () => cloudflare.request({code})") == argument


def test_a_multipart_upload_written_as_text_arrives_as_it_was_written() -> None:
    code = r"""async () => {
      const b = '----B';
      const body = ['--' + b, 'Content-Disposition: form-data; name="metadata"', 'Content-Type: application/json', '',
        JSON.stringify({ main_module: 'w.js' }), '--' + b + '--', ''].join('\r\n');
      return cloudflare.request({ method: 'PUT', path: '/accounts/a/workers/scripts/w', body,
        contentType: 'multipart/form-data; boundary=' + b, rawBody: true });
    }"""
    told = asked(code)
    assert told["contentType"] == "multipart/form-data; boundary=----B"
    assert told["bodyText"].startswith('------B\r\nContent-Disposition: form-data; name="metadata"\r\n')


def test_form_data_is_sent_as_multipart() -> None:
    told = asked(
        "const f = new FormData(); f.append('a\"\\r\\nx', 'é');"
        "f.append('s', new Blob(['hi'], {type: 'text/plain'}), 's.txt');"
        "await cloudflare.request({ method: 'PUT', path: '/z', body: f })"
    )
    import base64

    boundary = told["contentType"].partition("boundary=")[2]
    text = base64.b64decode(told["bodyBase64"]).decode()
    assert text == (
        f'--{boundary}\r\nContent-Disposition: form-data; name="a%22%0D%0Ax"\r\n\r\né\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="s"; filename="s.txt"\r\n'
        f"Content-Type: text/plain\r\n\r\n"
        f"hi\r\n--{boundary}--\r\n"
    )


WRONG = [
    ('{ url: "/zones" }', 'did you mean "path"'),
    ('{ path: "/zones", data: {} }', 'did you mean "body"'),
    ('{ path: "https://evil.example/x" }', "must not name a host"),
    ('{ path: "//evil.example/x" }', "must not name a host"),
    ("{ path: 5 }", "needs a path"),
    ("5", "takes an object"),
    ("null", "takes an object"),
    ('{ path: "/z", method: 5 }', "method must be"),
    ('{ path: "/z", query: [1] }', "query must be an object"),
    ('"zones"', "request takes"),
]


@pytest.mark.parametrize(("code", "words"), WRONG)
def test_wrong_arguments_are_explained_and_reach_nobody(code: str, words: str) -> None:
    ran = run(f"async () => cloudflare.request({code})")
    assert words in ran.error["message"]
    assert ran.calls == []


def test_an_envelope_comes_back_with_its_status() -> None:
    body = {"success": True, "errors": [], "messages": [], "result": {"id": 1}, "result_info": {"page": 1}}
    assert run("cloudflare.get('/z')", answering(body, 201)).value == {**body, "status": 201}


def test_what_has_no_envelope_becomes_the_result() -> None:
    value = run("cloudflare.get('/z')", answering("addEventListener()")).value
    assert value == {"success": True, "status": 200, "result": "addEventListener()", "errors": [], "messages": []}
    assert run("(await cloudflare.get('/z')).result", answering([1, 2])).value == [1, 2]
    assert run("(await cloudflare.get('/z')).result", answering({"stored": 1})).value == {"stored": 1}


def test_bytes_come_and_go_as_they_are() -> None:
    held = {"$binary": {"media_type": "image/png", "bytes": 4, "base64": "iVAA/w=="}}
    code = "const r = (await cloudflare.get('/z')).result; return [r instanceof Uint8Array, r[0], r[3], r.mediaType, r]"
    assert run(code, answering(held)).value == [True, 0x89, 255, "image/png", held]
    back = run(
        "const { result: b } = await cloudflare.get('/z');"
        "await cloudflare.put('/y', { body: b, contentType: b.mediaType })",
        answering(held),
    )
    assert back.calls[1][1] == {
        "method": "PUT", "path": "/y", "bodyBase64": "iVAA/w==", "contentType": "image/png",
    }  # fmt: skip


def test_graphql_has_result_and_data() -> None:
    code = "const r = await cloudflare.request({ path: '/graphql', body: { query: '{x}' } });"
    both = run(
        code + "return [r.result.x, r.data.x, r.success, r]", answering({"data": {"x": 1}, "errors": None})
    ).value
    assert both[:3] == [1, 1, True]
    assert both[3] == {"success": True, "status": 200, "result": {"x": 1}, "errors": [], "messages": []}
    part = answering({"data": {"x": 1}, "errors": [{"message": "m"}]})
    assert run(code + "return [r.success, r.errors]", part).value == [False, [{"message": "m"}]]


def failing(_name: str, _argument: Any) -> Any:
    raise Rejected(
        {"message": "10000: Authentication error", "status": 429, "errors": [{"code": 10000}], "retryAfter": 7,
         "ray": "8f-FRA", "code": "upstream_error", "hint": "wait"}
    )  # fmt: skip


def test_a_failed_request_throws_all_that_is_known() -> None:
    code = """try { await cloudflare.request({ path: '/zones' }) } catch (e) {
      return [e instanceof Error, e.name, e.status, e.errors, e.retryAfter, e.ray, e.code, e.hint, e.message] }"""
    assert run(code, failing).value == [
        True, "CloudflareError", 429, [{"code": 10000}], 7, "8f-FRA", "upstream_error", "wait",
        "Cloudflare API error: 10000: Authentication error [GET /zones] Hint: wait",
    ]  # fmt: skip
    error = run("await cloudflare.get('/zones')", failing).error
    assert (error["status"], error["retryAfter"], error["ray"], error["code"], error["hint"]) == (
        429, 7, "8f-FRA", "upstream_error", "wait",
    )  # fmt: skip
    settled = run("await Promise.allSettled([cloudflare.get('/z')])", failing).value
    assert settled[0]["reason"]["status"] == 429


def test_requests_of_promise_all_are_out_together() -> None:
    seen: list[int] = []

    def host(_name: str, argument: Any) -> Any:
        seen.append(int(argument["path"][3:]))
        return {"status": 200, "body": envelope(argument["path"])}

    ran = run("(await Promise.all([1, 2, 3].map(i => cloudflare.get('/z/' + i)))).map(r => r.result)", host)
    assert ran.value == ["/z/1", "/z/2", "/z/3"]
    assert seen == [1, 2, 3]
    assert [m[:1] for m in ran.messages] == [b"c"] * 3 + [b"r"]


def pages(argument: Any) -> dict[str, Any]:
    query = argument.get("query", {})
    page, size = int(query.get("page", 1)), int(query.get("per_page", 2))
    whole = list(range(5))
    return envelope(whole[(page - 1) * size : page * size], page=page, per_page=size, total_pages=-(-5 // size))


def paged(code: str, answer: Any) -> Ran:
    return run(code, lambda _name, argument: {"status": 200, "body": answer(argument)})


COLLECT = "const out = []; for await (const x of %s) out.push(x); return out"


def test_paginate_counts_pages() -> None:
    ran = paged(COLLECT % "cloudflare.paginate('/z')", pages)
    assert ran.value == [0, 1, 2, 3, 4]
    assert [argument.get("query") for _, argument in ran.calls] == [None, {"page": 2}, {"page": 3}]
    assert len(paged(COLLECT % "cloudflare.paginate('/z', { perPage: 3 })", pages).calls) == 2
    assert paged("cloudflare.paginate({ path: '/z', query: { per_page: 5 } }).all()", pages).value == [0, 1, 2, 3, 4]


def test_paginate_stops_where_it_is_told() -> None:
    ran = paged(COLLECT % "cloudflare.paginate('/z', { limit: 3 })", pages)
    assert (ran.value, len(ran.calls)) == ([0, 1, 2], 2)
    assert len(paged(COLLECT % "cloudflare.paginate('/z', { maxPages: 1 })", pages).calls) == 1
    assert paged("for await (const x of cloudflare.paginate('/z')) return x", pages).value == 0


def test_paginate_takes_other_names_as_the_query() -> None:
    ran = paged(COLLECT % "cloudflare.paginate('/z', { type: 'A' })", pages)
    assert [argument["query"] for _, argument in ran.calls][1] == {"type": "A", "page": 2}


def test_paginate_gives_whole_answers_too() -> None:
    code = COLLECT.replace("push(x)", "push(x.result_info.page)") % "cloudflare.paginate('/z').pages()"
    assert paged(code, pages).value == [1, 2, 3]


def cursors(style: str) -> Any:
    following = {None: "b", "b": "c", "c": ""}

    def answer(argument: Any) -> Any:
        at = argument.get("query", {}).get("cursor")
        cursor = following[at]
        if style == "after":
            return envelope([at], cursors={"after": cursor, "before": "x"})
        if style == "truncated":
            return {**envelope({"buckets": [at]}), "result_info": {"cursor": cursor, "is_truncated": cursor != ""}}
        return envelope([at], cursor=cursor, count=1)

    return answer


@pytest.mark.parametrize("style", ["after", "plain", "truncated"])
def test_paginate_follows_cursors(style: str) -> None:
    assert paged("cloudflare.paginate('/z').all()", cursors(style)).value == [None, "b", "c"]


def test_paginate_ends_on_answers_that_never_would() -> None:
    same = paged("cloudflare.paginate('/z').all()", lambda _a: envelope([1], cursor="x"))
    assert len(same.calls) == 2
    ignored = paged("cloudflare.paginate('/z').all()", lambda _a: envelope([1], page=1, total_pages=9))
    assert len(ignored.calls) == 2
    empty = paged("cloudflare.paginate('/z').all()", lambda _a: envelope([], page=1, total_pages=9))
    assert len(empty.calls) == 1
    assert paged("cloudflare.paginate('/z').all()", lambda _a: envelope({"id": 1})).value == [{"id": 1}]
    assert paged("cloudflare.paginate('/z').all()", lambda _a: envelope(None)).value == []


def test_previous_returns_an_earlier_result() -> None:
    ran = run("(await previous('0190')).length", lambda _n, _a: [1, 2])
    assert (ran.value, ran.calls) == (2, [("previous", {"execution_id": "0190"})])
    assert "execution_id" in run("await previous(5)").error["message"]


def test_the_account_is_there_when_known() -> None:
    assert run("accountId", context={"kind": "execute", "accountId": "abc"}).value == "abc"
    assert "account_id" in run("accountId", context={"kind": "execute"}).error["hint"]


def test_a_request_that_nobody_awaits_is_mentioned() -> None:
    ran = run("cloudflare.get('/z'); return 1", OK)
    assert ran.value == 1
    assert "await every request" in ran.logs[0]["text"]

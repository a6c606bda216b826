"""Building requests: nothing escapes its place, nothing is lost, and what is wrong is named."""

import base64
import email.parser
import email.policy
import json
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.errors import InvalidInput, PayloadTooLarge
from connectors.openapi.model import ABSENT, OperationDetails
from connectors.openapi.request import Built, build
from tests.unit.openapi.support import operation, param

ITEM = operation("/a/{x}/b/{y}.{z}/{path+}", parameters=[])
JSON_POST = operation("/a", "post", content={"application/json": {}})


def wrong(details: OperationDetails, **given: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        build(details, **given)
    return {f.path: f.problem for f in caught.value.fields}


def query(schema: dict[str, Any], value: Any, **more: Any) -> str:
    return build(operation("/a", parameters=[param("q", schema, **more)]), query={"q": value}).query


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=4, max_size=4))
@example(["../../x", "a", "b", "c"])
@example(["%2e%2e", "..", "..", "/"])
@example([".", "..", "%2F", "?x#y"])
@example(["a\r\nHost: evil", "b", "c", "d"])
@example(["\ud800", "a", "b", "c"])
def test_no_value_escapes_its_segment(values: list[str]) -> None:
    try:
        path = build(ITEM, path_params=dict(zip(("x", "y", "z", "path"), values, strict=True))).path
    except InvalidInput:
        bad = [v for v in values if v in ("", ".", "..") or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in v)]
        assert bad or any(0xD800 <= ord(c) < 0xE000 for v in values for c in v)
        return
    assert path.isascii()
    assert path.isprintable()
    assert not set(path) & set(" \\?#\r\n\x00")
    segments = path.split("/")[1:]
    assert len(segments) == 5
    assert not {unquote(s) for s in segments} & {".", ".."}
    assert [unquote(segments[0]), unquote(segments[1]), unquote(segments[2]), unquote(segments[4])] == [
        "a", values[0], "b", values[3],
    ]  # fmt: skip
    assert unquote(segments[3]) == f"{values[1]}.{values[2]}"


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=30))
def test_a_query_value_survives_and_stays_one_value(value: str) -> None:
    try:
        text = query({"type": "string"}, value)
    except InvalidInput:
        assert any(0xD800 <= ord(c) < 0xE000 for c in value)
        return
    assert text.isascii()
    assert parse_qsl(text, keep_blank_values=True) == [("q", value)]


def test_encoding_is_canonical() -> None:
    assert build(ITEM, path_params={"x": "AZaz09-._~", "y": "é", "z": "%41", "path": "a/b c"}).path == (
        "/a/AZaz09-._~/b/%C3%A9.%2541/a%2Fb%20c"
    )


def test_dots_may_not_come_together_in_a_segment() -> None:
    assert "may not be" in wrong(operation("/a/{x}"), path_params={"x": ".."})["path_params.x"]
    assert wrong(operation("/a/{x}{y}"), path_params={"x": ".", "y": "."})


def test_every_wrong_parameter_is_named() -> None:
    details = operation(
        "/zones/{zone_id}",
        parameters=[
            param("zone_id", {"type": "string", "maxLength": 4, "pattern": "^[a-f0-9]+$"}, "path"),
            param("per_page", {"type": "integer", "minimum": 5, "maximum": 50}),
            param("direction", {"type": "string", "enum": ["asc", "desc"]}),
            param("match", {"type": "string"}, required=True),
        ],
    )
    problems = wrong(
        details,
        path_params={"zone_id": "xyzzy", "zone": 1},
        query={"per_page": "4", "direction": "up", "perpage": 1},
    )
    assert problems == {
        "path_params.zone": "is not a parameter of this operation; did you mean zone_id?",
        "path_params.zone_id": "must match the pattern ^[a-f0-9]+$",
        "query.perpage": "is not a parameter of this operation; did you mean per_page?",
        "query.per_page": "must be at least 5",
        "query.direction": 'must be "asc" or "desc"',
        "query.match": "is required",
    }
    assert wrong(details)["path_params.zone_id"] == "is required"


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        ({"type": "integer"}, 5, "q=5"),
        ({"type": "integer"}, "5", "q=5"),
        ({"type": "integer"}, 5.0, "q=5"),
        ({"type": "integer"}, 2**200, f"q={2**200}"),
        ({"type": "integer"}, str(2**200), f"q={2**200}"),
        ({"type": "number"}, "0.5", "q=0.5"),
        ({"type": "number"}, 1e300, "q=1e%2B300"),
        ({"type": "boolean"}, True, "q=true"),
        ({"type": "boolean"}, "false", "q=false"),
        ({"type": "string"}, 7, "q=7"),
        ({"type": "string", "enum": ["true"]}, True, "q=true"),
        ({"type": "string"}, "", "q="),
        ({}, "x y&z=1", "q=x%20y%26z%3D1"),
    ],
)
def test_scalars_in_a_query(schema: dict[str, Any], value: Any, text: str) -> None:
    assert query(schema, value) == text


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, "05"), ({"type": "integer"}, "5.5"), ({"type": "integer"}, True),
        ({"type": "integer"}, 5.5),
        ({"type": "string"}, None), ({"type": "string"}, [1]), ({"type": "boolean"}, "yes"),
        ({"type": "boolean"}, 1),
        ({"type": "integer"}, 10**2000), ({"type": "number"}, float("inf")), ({"type": "number"}, "1e999"),
        ({"type": "array", "items": {"type": "string"}}, "a"), ({"type": "string"}, "\ud800"),
        ({}, "x" * 20_000),
        ({"type": "array", "items": {}}, ["x" * 100] * 1000),
    ],
)  # fmt: skip
def test_ill_typed_query_values_are_refused(schema: dict[str, Any], value: Any) -> None:
    with pytest.raises(InvalidInput):
        query(schema, value)


ARRAY = {"type": "array", "items": {"type": "string"}}
OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "value", "more", "text"),
    [
        (ARRAY, ["a", "b,c"], {}, "q=a&q=b%2Cc"),
        (ARRAY, ["a", "b"], {"explode": False}, "q=a,b"),
        (ARRAY, ["a", "b"], {"style": "spaceDelimited"}, "q=a%20b"),
        (ARRAY, ["a", "b"], {"style": "pipeDelimited"}, "q=a%7Cb"),
        (ARRAY, [], {}, ""),
        ({"type": "array", "items": {"type": "integer"}}, ["1", 2], {}, "q=1&q=2"),
        (OBJECT, {"a": 1}, {"style": "deepObject", "explode": True}, "q%5Ba%5D=1"),
        (OBJECT, {"a": 1}, {}, "a=1"),
        (OBJECT, {"a": 1}, {"explode": False}, "q=a,1"),
    ],
)
def test_arrays_and_objects_in_a_query(schema: dict[str, Any], value: Any, more: dict[str, Any], text: str) -> None:
    assert query(schema, value, **more) == text


def test_a_delimiter_may_not_hide_in_an_item() -> None:
    with pytest.raises(InvalidInput):
        query(ARRAY, ["a|b"], style="pipeDelimited")


def test_an_exploded_object_cannot_pass_for_another_parameter() -> None:
    details = operation("/a", parameters=[param("q", {"type": "object"}), param("account", {"type": "string"})])
    assert wrong(details, query={"q": {"account": "x"}}) == {"query.q.account": "has the name of another parameter"}


def test_json_parameters_travel_as_json() -> None:
    declared = {"name": "q", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}}
    assert build(operation("/a", parameters=[declared]), query={"q": {"a": [1]}}).query == "q=%7B%22a%22%3A%5B1%5D%7D"


def test_only_safe_declared_headers_can_be_set() -> None:
    names = [
        "cf-r2-jurisdiction",
        "If-Match",
        "Authorization",
        "X-Auth-Email",
        "Host",
        "forwarded",
        "X-Other",
        "Cookie",
    ]
    details = operation("/a", parameters=[param(n, {"type": "string"}, "header") for n in names])
    built = build(details, headers={"CF-R2-Jurisdiction": "eu", "if-match": '"x"'})
    assert built.headers == (("cf-r2-jurisdiction", "eu"), ("If-Match", '"x"'))
    for name in [*names[2:], "If-None-Match", "Content-Length"]:
        assert "can't be set" in wrong(details, headers={name: "x"})[f"headers.{name}"]
    everything = frozenset(n.lower() for n in names)
    for name in ("Authorization", "Host", "X-Auth-Email", "Cookie", "forwarded"):
        with pytest.raises(InvalidInput):
            build(details, headers={name: "x"}, safe_headers=everything)
    for value in ("a\r\nX: y", "a\nb", "é", "\x00", " x", "x" * 2000):
        assert wrong(details, headers={"If-Match": value})


@pytest.mark.parametrize(
    "value", [0, "", False, None, [], {}, 2**70, {"b": 1, "a": 2**64}, "\u2028é😀", [1.5, "\u0000"]]
)
def test_json_bodies_survive(value: Any) -> None:
    built = build(JSON_POST, body=value)
    assert built.headers == (("Content-Type", "application/json"),)
    assert built.body is not None
    decoded = json.loads(built.body)
    assert decoded == value
    assert type(decoded) is type(value)
    assert json.dumps(decoded) == json.dumps(value)  # the order of fields too


def test_no_body_is_not_a_null_body() -> None:
    built = build(JSON_POST, body=ABSENT)
    assert (built.body, built.headers, built.media_type) == (None, (), None)


@pytest.mark.parametrize(
    "value", [float("nan"), [float("inf"), None], "\ud800", {"\udfff": 1}, {"a": 2**70, "b": float("nan")}]
)
def test_what_json_cannot_write_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        build(JSON_POST, body=value)


def test_depth_is_refused() -> None:
    deep: Any = 1
    for _ in range(3000):
        deep = [deep]
    for value in (deep, [2**70, deep]):
        with pytest.raises(InvalidInput):
            build(JSON_POST, body=value)


def test_body_problems_are_advice() -> None:
    schema = {"type": "object", "properties": {"type": {"enum": ["A"]}}, "required": ["type"]}
    details = operation("/a", "post", content={"application/json": schema})
    built = build(details, body={"type": "CNAME"})
    assert json.loads(built.body or b"") == {"type": "CNAME"}
    assert [(p.path, p.problem) for p in built.problems] == [("body.type", 'must be "A"')]
    assert build(operation("/a", "delete"), body={}).problems[0].problem == "the description declares no request body"
    assert "takes no body" in wrong(operation("/a"), body={})["body"]


def test_bodies_are_bounded() -> None:
    with pytest.raises(PayloadTooLarge):
        build(JSON_POST, body="x" * 100, max_body_bytes=100)
    assert build(JSON_POST, body="x" * 98, max_body_bytes=100).body


UPLOAD = operation(
    "/a",
    "put",
    content={"application/javascript": {"type": "string"}, "multipart/form-data": {"type": "object"}},
)


def parts(built: Built) -> list[tuple[dict[str, str], bytes]]:
    header = dict(built.headers)["Content-Type"].encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + header + b"\r\n\r\n" + (built.body or b"")
    )
    return [(dict(p.items()), p.get_payload(decode=True)) for p in message.get_payload()]  # type: ignore


def test_a_worker_upload() -> None:
    body = {
        "metadata": {"main_module": "worker.js", "n": 2**65},
        "worker.js": {"$file": {"text": "export default {}\r\n", "content_type": "application/javascript+module"}},
        "blob": {"$file": {"base64": base64.b64encode(bytes(range(256))).decode(), "filename": "ü.bin"}},
        "note": "plain",
    }
    built = build(UPLOAD, body=body)
    found = parts(built)
    assert built.media_type == "multipart/form-data"
    assert [p[0]["Content-Disposition"].split("; ")[1] for p in found] == [
        'name="metadata"', 'name="worker.js"', 'name="blob"', 'name="note"',
    ]  # fmt: skip
    assert json.loads(found[0][1]) == body["metadata"]
    assert found[1] == (
        {
            "Content-Disposition": 'form-data; name="worker.js"; filename="worker.js"',
            "Content-Type": "application/javascript+module",
        },
        b"export default {}\r\n",
    )
    assert found[2][1] == bytes(range(256))
    assert found[3] == ({"Content-Disposition": 'form-data; name="note"'}, b"plain")
    assert build(UPLOAD, body=body).body == built.body


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.binary(max_size=200))
@example('x"; filename="evil', 'a"\r\nX: y', b"--\r\n")
def test_nothing_escapes_a_part(name: str, filename: str, content: bytes) -> None:
    file = {"$file": {"base64": base64.b64encode(content).decode(), "filename": filename}}
    try:
        built = build(UPLOAD, body={name: file})
    except InvalidInput:
        return
    body = built.body or b""
    boundary = dict(built.headers)["Content-Type"].split("boundary=")[1].encode()
    assert body.count(boundary) == 2
    head, _, rest = body.partition(b"\r\n\r\n")
    assert head.count(b"\r\n") == 2
    assert head.count(b'"') == 4
    assert rest == content + b"\r\n--" + boundary + b"--\r\n"


@pytest.mark.parametrize(
    "file",
    [{}, {"text": "a", "base64": "YQ=="}, {"base64": "!"}, {"text": 1}, {"text": "a", "path": "/etc/passwd"},
     {"text": "a", "filename": "a\r\nb"}, {"text": "a", "content_type": "a/b\r\nX: y"}, "x",
     {"text": "a", "content_type": "x"}],
)  # fmt: skip
def test_malformed_files_are_refused(file: Any) -> None:
    assert all(path.startswith("body.f.$file") for path in wrong(UPLOAD, body={"f": {"$file": file}}))
    assert wrong(UPLOAD, body={"f": {"$file": {"text": "a"}, "more": 1}})


@pytest.mark.parametrize(
    ("content", "body", "more", "sent", "header"),
    [
        (["application/javascript", "multipart/form-data"], "code", {}, b"code", "application/javascript"),
        (["application/octet-stream", "multipart/form-data"], "v", {}, b"v", "application/octet-stream"),
        (
            ["application/octet-stream"],
            {"$binary": {"base64": "AP8="}},
            {},
            b"\x00\xff",
            "application/octet-stream",
        ),
        (["image/*"], {"$binary": {"base64": "AA==", "media_type": "image/png"}}, {}, b"\x00", "image/png"),
        (["*/*"], "x", {}, b"x", "application/octet-stream"),
        (
            ["text/plain"],
            "é",
            {"content_type": "text/plain; charset=utf-8"},
            b"\xc3\xa9",
            "text/plain; charset=utf-8",
        ),
        (["application/x-ndjson"], '{"a":1}\n', {}, b'{"a":1}\n', "application/x-ndjson"),
        (["application/x-ndjson"], [{"a": 1}, 2**70], {}, b'{"a":1}\n%d\n' % 2**70, "application/x-ndjson"),
        (
            ["application/x-www-form-urlencoded"],
            {"a": "x y", "b": [1, True]},
            {},
            b"a=x%20y&b=1&b=true",
            None,
        ),
        (["application/scim+json"], {"a": 1}, {}, b'{"a":1}', "application/scim+json"),
        (["application/json", "text/plain"], "x", {"content_type": "text/plain"}, b"x", "text/plain"),
        (["application/json"], "x", {"content_type": "text/csv"}, b"x", "text/csv"),
        ([], {"a": 1}, {}, b'{"a":1}', "application/json"),
    ],
)
def test_media_types(content: list[str], body: Any, more: dict[str, Any], sent: bytes, header: str | None) -> None:
    details = operation("/a", "post", content={media: {} for media in content})
    built = build(details, body=body, **more)
    assert built.body == sent
    assert built.headers == (("Content-Type", header or content[0]),)


@pytest.mark.parametrize("content_type", ["", "x", "a/b\r\nX: y", 'a/b; c="\r\n"', "a/" + "b" * 400, 5])
def test_a_content_type_must_be_one(content_type: Any) -> None:
    assert "content_type" in wrong(JSON_POST, body={}, content_type=content_type)


def test_raw_types_take_no_fields() -> None:
    details = operation("/a", "put", content={"application/octet-stream": {}})
    for body in ({"a": 1}, [1], 5, None, {"$binary": {"base64": "?"}}, {"$binary": {}}):
        assert wrong(details, body=body)

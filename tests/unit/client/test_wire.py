"""What goes over the wire comes back the same, and what cannot is refused."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyreeve import ToolResult, errors
from keyreeve.ask import get, segment, send
from keyreeve.models import json_text
from keyreeve.tools import chosen_key, execute, joined, scoped
from keyreeve.wire import decode, encode

exact = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé", max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(value=exact)
def test_any_json_survives_both_ways(value: Any) -> None:
    assert json.loads(encode({"x": value})) == {"x": value}
    raw = json.dumps({"execution_id": "e", "data": value}).encode()
    result = decode(raw, ToolResult)
    assert result.data == value
    assert type(result.data) is type(value)
    assert json.loads(result.text()) == value


@given(n=st.integers(min_value=2**53) | st.integers(max_value=-(2**53)))
def test_integers_beyond_a_double_stay_exact(n: int) -> None:
    assert str(n).encode() in encode({"n": {"deep": [n]}})
    result = decode(b'{"execution_id": "e", "data": {"id": %d}}' % n, ToolResult)
    assert result.data == {"id": n}
    assert result.text() == f'{{"id":{n}}}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object(), {1, 2}, b"bytes", {("a",): 1}])
def test_what_json_cannot_hold_is_refused_before_it_is_sent(value: Any) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        execute("t", {"deep": [value]}, dry_run=False, as_content=False)
    assert caught.value.sent is False
    assert caught.value.fields[0].path == "tool_input"


def test_input_nested_without_end_is_refused() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(errors.InvalidInput):
        execute("t", {"deep": value}, dry_run=False, as_content=False)


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"1e400", "1e400"),
        (b"-1E999", "-1E999"),
        (b"1" * 5000, "1" * 5000),
        (b'"\\ud800"', "\ud800"),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_odd_but_legal_json_does_not_lose_a_result(raw: bytes, data: Any) -> None:
    result = decode(b'{"execution_id": "e", "data": %s}' % raw, ToolResult)
    assert result.data == data
    assert json.loads(result.text().encode()) == data


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"NaN", b"[]", b'{"execution_id": 5}', b'{"data": 1}', b"\xff\xfe", b"[" * 9999]
)
def test_what_is_no_answer_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(errors.UnexpectedAnswer) as caught:
        decode(raw, ToolResult)
    assert caught.value.__context__ is None


def test_what_a_later_server_adds_is_passed_over_and_what_it_leaves_out_has_a_default() -> None:
    raw = b'{"execution_id": "e", "later": {"x": 1}, "calls": [{"n": 1, "later": 2, "sent": "unknown"}], "budget": {}}'
    result = decode(raw, ToolResult)
    assert (result.is_error, result.calls[0].sent, result.calls[0].status, result.warnings) == (
        False,
        "unknown",
        None,
        (),
    )


def test_an_error_tells_the_model_code_and_data() -> None:
    error = b'{"code":"upstream_error","detail":"no","status":404}'
    raw = b'{"execution_id":"e","is_error":true,"data":{"id":1},"error":%s}' % error
    result = decode(raw, ToolResult)
    told = json.loads(result.text())
    assert told["error"] == {"code": "upstream_error", "detail": "no", "fix": "model", "status": 404}
    assert told["data"] == {"id": 1}
    with pytest.raises(errors.ToolFailed, match="upstream_error: no") as caught:
        result.raise_for_error()
    assert caught.value.result is result
    assert caught.value.execution_id == "e"


def test_content_is_told_as_its_text() -> None:
    raw = b'{"execution_id":"e","content":[{"type":"text","text":"{\\"a\\":1}"},{"type":"image","data":""}]}'
    assert decode(raw, ToolResult).text() == '{"a":1}'


def test_text_is_compact_and_readable() -> None:
    assert json_text({"name": "Zoë", "n": [1, 2]}) == '{"name":"Zoë","n":[1,2]}'


def test_a_call_sends_what_was_said_and_nothing_else() -> None:
    ask = execute("c_call", {"operation": "GET /zones"}, dry_run=True, as_content=True, identifier="a", run_id=None)
    assert (ask.method, ask.path, ask.repeatable) == ("POST", "/v1/tools/execute", True)
    assert json.loads(ask.body or b"") == {
        "tool_name": "c_call",
        "tool_input": {"operation": "GET /zones"},
        "identifier": "a",
        "dry_run": True,
        "as": "content",
    }
    plain = execute("c_call", None, dry_run=False, as_content=False)
    assert json.loads(plain.body or b"") == {"tool_name": "c_call", "tool_input": {}}
    assert plain.repeatable is False
    with pytest.raises(errors.InvalidInput):
        execute("c_call", None, dry_run=False, as_content=False, idempotency_key="")


def test_a_key_is_made_only_where_none_is_given() -> None:
    assert chosen_key("mine", make_one=True) == "mine"
    assert chosen_key(None, make_one=False) is None
    assert len({chosen_key(None, make_one=True) for _ in range(20)}) == 20


@given(name=st.text(min_size=1, max_size=60))
def test_a_name_stays_one_segment_of_the_path(name: str) -> None:
    try:
        made = segment("identifier", name)
    except errors.InvalidInput:
        return
    assert made.isascii()
    assert not set(made) & set("/?#\\ ")
    assert made not in (".", "..")


def test_queries_and_bodies_leave_out_what_is_none() -> None:
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert (
        get("/p", dict, a=None, b=True, c="x y", since=at).path
        == "/p?b=true&c=x+y&since=2026-01-02T03%3A04%3A00%2B00%3A00"
    )
    assert (
        send("POST", "/p", dict, {"a": None, "tools": (), "at": at}).body
        == b'{"tools":[],"at":"2026-01-02T03:04:00+00:00"}'
    )
    with pytest.raises(errors.InvalidInput, match="time zone"):
        get("/p", dict, since=datetime(2026, 1, 2))


def test_pages_of_tools_are_joined_in_order() -> None:
    tool = '{"name":"c_%s","connection_name":"c","definition":{"description":"d","input_schema":{"x":1},"later":2}}'
    kind = scoped("a", None, None).answer
    first = decode(b'{"tools":[%s],"next_page_token":"t"}' % (tool % "a").encode(), kind)
    second = decode(
        b'{"tools":[%s],"unavailable":[{"connection_name":"d","reason":"revoked"}]}' % (tool % "b").encode(), kind
    )
    found = joined([first, second])
    assert [tool.name for tool in found] == ["c_a", "c_b"]
    assert len(found) == 2
    assert found.tools[0].input_schema == {"x": 1}
    assert found.unavailable[0].reason == "revoked"

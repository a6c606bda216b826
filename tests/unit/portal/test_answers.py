"""What calls resolve to in a program, and what a client gets as structured content."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.endpoints.mcp.structured import structured_of
from broker.tools.codemode.portal.answers import value_of
from connectors.base import Answer, RateHint
from connectors.mcp_upstream.wire import MCP_RESULT


def answer(data: Any, media_type: str = MCP_RESULT) -> Answer:
    return Answer(200, data, False, None, None, 0, 0, RateHint(), media_type)


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ({"content": [text("hello")]}, "hello"),
        ({"content": [text('{"a": [1, 2]}')]}, {"a": [1, 2]}),
        ({"content": [text(" [1]\n")]}, [1]),
        ({"content": [text("{not json}")]}, "{not json}"),
        ({"content": [text("")]}, ""),
        ({"content": [text("true enough")]}, "true enough"),
        ({"content": [text("1"), text("two")]}, [1, "two"]),
        ({"content": []}, []),
        ({"content": [text("1")], "structuredContent": {"b": 2}}, {"b": 2}),
        ({"content": [{"type": "image", "data": "QQ==", "mimeType": "image/png"}]},
         {"content": [{"type": "image", "data": "QQ==", "mimeType": "image/png"}]}),
    ],
)  # fmt: skip
def test_results_of_other_servers(data: Any, value: Any) -> None:
    assert orjson.loads(orjson.dumps(value_of(answer(data)))) == value


def test_an_upstream_body_is_left_as_it_is() -> None:
    body = orjson.Fragment(b'{"id": 12345678901234567890123}')
    assert value_of(answer(body, "application/json")) is body


def test_integers_of_any_size_survive() -> None:
    found = orjson.dumps(value_of(answer({"content": [text('{"id": 12345678901234567890123}')]})))
    assert b"12345678901234567890123" in found


def structured(said: str, notes: str = "", *, cut: bool = False) -> Any:
    return orjson.loads(orjson.dumps(structured_of([text(said)], notes, cut=cut)))


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    st.text(max_size=20),
)
def test_structured_content_is_an_object_that_holds_the_answer(value: Any, notes: str) -> None:
    found = structured(json.dumps(value), notes)
    assert isinstance(found, dict)
    if not isinstance(value, dict):
        assert found == {"result": value} | ({"$notes": notes} if notes else {})
    elif "$notes" not in value:
        assert found == value | ({"$notes": notes} if notes else {})


def test_what_was_cut_or_is_a_picture_is_counted() -> None:
    assert structured("[1, 2\n[3 more characters]", cut=True) == {"$omitted": {"characters": 25}}
    assert structured(' { "a": 1}', "said") == {"$notes": "said", "a": 1}
    assert structured("{ }", "said") == {"$notes": "said"}
    block = {"type": "image", "data": "QUJD", "mimeType": "image/png"}
    assert structured_of([block], "", cut=False) == {"$binary": {"media_type": "image/png", "bytes": 3}}

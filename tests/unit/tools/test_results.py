"""The answer of an execution: exact numbers, raw bodies, binary, content blocks."""

import json
from uuid import UUID

import orjson
from hypothesis import given
from hypothesis import strategies as st

from broker.gate.types import BudgetView, CallRecord
from broker.tools.results import CONTENT_TEXT_LIMIT, Result, binary_block, dumps, writes_first

ID = UUID(int=5)


def encoded(result: Result, *, as_content: bool = False) -> bytes:
    return result.encode(as_content=as_content, connection_name="cf")


def test_raw_json_travels_byte_for_byte() -> None:
    raw = b'{"b": 1e400, "a": 12345678901234567890123,  "u": "\\u00e9"}'
    assert raw in encoded(Result(ID, is_error=False, data=orjson.Fragment(raw)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)


@given(json_values)
def test_values_of_any_size_survive(value: object) -> None:
    assert json.loads(dumps(value)) == value


def test_a_large_integer_beside_a_fragment_survives() -> None:
    big = 2**80
    assert json.loads(dumps({"x": big, "f": orjson.Fragment(b'{"y":[1]}')})) == {"x": big, "f": {"y": [1]}}


def test_the_budget_and_calls_are_written_out() -> None:
    call = CallRecord(1, "GET", "/client/v4/zones", 200, "read", True)
    body = json.loads(
        encoded(Result(ID, is_error=False, data=None, calls=(call,), budget=BudgetView("rest", 1200, 7, 300, 0)))
    )
    assert body["calls"] == [
        {"n": 1, "method": "GET", "path": "/client/v4/zones", "status": 200, "effect": "read", "sent": True}
    ]
    assert body["budget"]["remaining"] == 7
    assert body["budget"]["connection_name"] == "cf"


def test_content_is_a_text_block_and_a_long_one_is_cut_with_a_note() -> None:
    body = json.loads(encoded(Result(ID, is_error=False, data="x" * (CONTENT_TEXT_LIMIT + 50)), as_content=True))
    (block,) = body["content"]
    assert block["type"] == "text"
    assert "more characters" in block["text"]
    assert "data" not in body


def test_an_image_becomes_an_image_block() -> None:
    body = json.loads(encoded(Result(ID, is_error=False, data=binary_block("image/png", b"\x89PNG")), as_content=True))
    assert body["content"] == [{"type": "image", "data": "iVBORw==", "mimeType": "image/png"}]


def test_an_error_begins_with_the_writes_already_made() -> None:
    calls = [
        CallRecord(1, "POST", "/a", 200, "write", True),
        CallRecord(2, "GET", "/b", 200, "read", True),
        CallRecord(3, "DELETE", "/c", None, "destructive", "unknown"),
        CallRecord(4, "PUT", "/d", 500, "write", True),
    ]
    assert writes_first(calls, "boom").startswith("Already done before this error: POST /a. boom")
    assert writes_first(calls[1:2], "boom") == "boom"


def test_a_content_block_that_was_cut_says_so() -> None:
    whole = json.loads(encoded(Result(ID, is_error=False, data={"a": "b"}), as_content=True))
    cut = json.loads(encoded(Result(ID, is_error=False, data="x" * (CONTENT_TEXT_LIMIT + 5)), as_content=True))
    assert (whole["truncated"], cut["truncated"]) == (False, True)
    assert json.loads(encoded(Result(ID, is_error=False, data="x" * (CONTENT_TEXT_LIMIT + 5))))["truncated"] is False


def test_a_key_with_a_lone_surrogate_is_written_as_an_escape() -> None:
    assert json.loads(dumps({"\ud800": 2**80})) == {"\ud800": 2**80}

"""The guest's last word, believed as little as can be."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.tools.codemode.sandbox.errors import LimitReached
from broker.tools.codemode.sandbox.limits import RunLimits
from broker.tools.codemode.sandbox.results import LogBook, Result, read_result

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def read(text: bytes | str, *, log_bytes: int = 1000, result_bytes: int = 10_000) -> Result:
    data = text.encode() if isinstance(text, str) else text
    return read_result(data, book=LogBook(log_bytes), result_bytes=result_bytes)


@given(JSON, st.booleans())
def test_the_value_stays_the_text_it_was(value: object, last: bool) -> None:
    text = json.dumps(value, ensure_ascii=False)
    order = ('"logs":[],"result":' + text) if last else ('"result":' + text + ',"logs":[]')
    assert read('{"ok":true,' + order + "}").value.decode() == text


def test_numbers_and_order_are_untouched() -> None:
    value = '{"b":12345678901234567890123,"a":1e400,"b":1.10}'
    assert read('{"ok":true,"logs":[],"result":' + value + "}").value.decode() == value


def test_lone_surrogates_are_replaced_and_nothing_else() -> None:
    text = rb'{"ok":true,"logs":[],"result":"\ud800 \\ud800 \\\udfff \ud83d"}'
    assert json.loads(read(text).value) == "\ufffd \\ud800 \\\ufffd \ufffd"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"ok":true}',
        '{"ok":true,"logs":[]',
        '{"ok":true,"logs":' + "[" * 5000,
        '{"ok":true,"result":{',
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(LimitReached):
        read(text)


def test_a_result_too_long_is_refused() -> None:
    with pytest.raises(LimitReached, match="at most 100 "):
        read('{"ok":true,"logs":[],"result":"%s"}' % ("x" * 200), result_bytes=100)


@given(JSON)
def test_any_error_becomes_one_with_kind_name_and_message(error: object) -> None:
    told = read(json.dumps({"ok": False, "error": error, "logs": []})).error
    assert told is not None
    assert told["kind"] in ("syntax", "thrown", "limit")
    assert told["name"]
    assert told["message"]


def test_what_the_guest_knows_is_passed_on() -> None:
    error = {
        "kind": "thrown",
        "name": "CloudflareError",
        "message": "no",
        "line": 3,
        "column": 7,
        "status": 403,
        "errors": [{"code": 1}],
    }
    assert read(json.dumps({"ok": False, "error": error, "logs": []})).error == error


def test_a_huge_error_is_cut() -> None:
    error = {"kind": "syntax", "name": "E", "message": "m" * 20_000, "line": 2, "stack": "s" * 100_000}
    told = read(json.dumps({"ok": False, "error": error, "logs": []})).error
    assert told is not None
    assert len(told["message"]) == 8000
    assert told["line"] == 2
    assert "stack" not in told


def test_running_out_of_memory_is_a_limit() -> None:
    error = {"kind": "thrown", "name": "InternalError", "message": "out of memory"}
    told = read(json.dumps({"ok": False, "error": error, "logs": []})).error
    assert told is not None
    assert (told["kind"], told["limit"]) == ("limit", "heap_bytes")


@given(
    st.lists(
        st.one_of(
            JSON, st.fixed_dictionaries({"level": st.sampled_from(["log", "shout"]), "text": st.text(max_size=30)})
        )
    )
)
def test_logs_are_bounded_and_counted(logs: list[object]) -> None:
    result = read(json.dumps({"ok": True, "logs": logs, "result": 1}), log_bytes=50)
    assert sum(len(text.encode()) for _, text in result.logs) <= 50
    assert len(result.logs) + result.log_dropped == len(logs)
    assert {level for level, _ in result.logs} <= {"log"}


@pytest.mark.parametrize(
    "field", ["cpu_seconds", "wall_seconds", "heap_bytes", "host_calls", "result_bytes", "log_bytes"]
)
def test_limits_have_ceilings(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        RunLimits(**{field: 10**12})
    with pytest.raises(ValueError, match=field):
        RunLimits(**{field: -1})

"""Every problem code is an exception, and any answer becomes one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyreeve import errors
from keyreeve.wire import refusal, seconds

from broker.errors import CODES, Field, Problem

MARKERS = {"model": errors.NeedsModel, "user": errors.NeedsUser, "admin": errors.NeedsAdmin, "wait": errors.Retryable}


def test_the_client_knows_exactly_the_codes_of_the_contract() -> None:
    assert set(errors.BY_CODE) == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_each_code_is_its_own_class_with_all_the_answer_says(code: str) -> None:
    problem = Problem(
        code,
        "what happened",
        hint="what to do",
        fields=[Field("tool_input.query", "is required")],
        retry_after=7,
        sent="unknown",
        execution_id="01938a1e-7c1b-7e0a-9c55-3f0f5f0a9b11",
        extra={"connect_url": "https://k.example/connect", "approval": {"id": "a", "url": "u"}, "accounts": [1]},
    )
    found = refusal(problem.kind.status, json.dumps(problem.as_wire()).encode())
    assert type(found) is errors.BY_CODE[code]
    assert found.code == type(found).CODE == code
    assert (found.status, found.detail, found.hint, found.fix) == (
        problem.kind.status,
        "what happened",
        "what to do",
        problem.kind.fix,
    )
    assert [(f.path, f.problem) for f in found.fields] == [("tool_input.query", "is required")]
    assert (found.retry_after, found.sent, found.execution_id) == (7, "unknown", problem.execution_id)
    assert found.connect_url == "https://k.example/connect"
    assert found.approval == errors.Approval("a", "u")
    assert found.extra == {"accounts": [1]}
    assert code in str(found)
    assert "what to do" in str(found)


@pytest.mark.parametrize("code", [code for code, kind in CODES.items() if kind.fix != "operator"])
def test_the_marker_is_the_codes_usual_mender(code: str) -> None:
    assert issubclass(errors.BY_CODE[code], MARKERS[CODES[code].fix])


def test_a_code_of_a_later_server_is_an_api_error_itself() -> None:
    found = refusal(418, b'{"code": "teapot", "detail": "short and stout", "fix": "user", "later": true}')
    assert type(found) is errors.ApiError
    assert (found.code, found.fix, found.extra) == ("teapot", "user", {"later": True})


@given(status=st.integers(300, 599), raw=st.binary(max_size=200))
def test_an_answer_of_something_else_is_an_api_error_that_repeats_none_of_it(status: int, raw: bytes) -> None:
    found = refusal(status, b"<html>" + raw)
    assert (found.code, found.sent) == (f"http_{status}", "unknown")
    assert raw.decode("latin-1") not in str(found) or len(raw) < 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ["detail", "hint", "fix", "fields", "execution_id", "sent", "retry_after", "connect_url", "approval", "title"]


@given(members=st.dictionaries(st.sampled_from(MEMBERS), json_values))
def test_members_of_any_shape_make_an_error_and_not_a_crash(members: dict[str, Any]) -> None:
    found = refusal(409, json.dumps({"code": "revoked", **members}).encode())
    assert isinstance(found, errors.Revoked)
    assert found.retry_after is None or found.retry_after >= 0
    assert str(found)


@pytest.mark.parametrize(
    ("given", "wait"),
    [("12", 12.0), (None, None), ("-1", None), ("nan", None), ("inf", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)
def test_retry_after_is_seconds_or_nothing(given: str | None, wait: float | None) -> None:
    assert seconds(given) == wait

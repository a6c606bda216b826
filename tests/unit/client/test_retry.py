"""What is sent again, and when."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyreeve import errors
from keyreeve.ask import Ask
from keyreeve.retry import Retries

from broker.errors import CODES

READ: Ask[Any] = Ask("GET", "/v1/keys", dict, repeatable=True)
WRITE: Ask[Any] = Ask("POST", "/v1/tools/execute", dict, b"{}")
KEYED: Ask[Any] = Ask("POST", "/v1/tools/execute", dict, b"{}", repeatable=True, idempotency_key="k")

sent = st.sampled_from([True, False, "unknown", None])
api = st.builds(
    lambda code, sent, wait: errors.BY_CODE[code](
        code, CODES[code].status, "d", fix=CODES[code].fix, sent=sent, retry_after=wait
    ),
    st.sampled_from(sorted(CODES)),
    sent,
    st.none() | st.floats(0, 1000),
)
lost = st.builds(
    lambda kind, sent: kind("d", sent=sent),
    st.sampled_from([errors.Timeout, errors.ConnectionFailed]),
    st.sampled_from([False, "unknown"]),
)
chance = st.floats(0, 1, exclude_max=True)


@given(error=api | lost, chance=chance)
def test_a_call_that_may_have_been_made_is_never_made_again(error: Any, chance: float) -> None:
    wait = Retries().wait(WRITE, error, 0, chance)
    if wait is not None:
        assert error.sent is False or isinstance(error, errors.RateLimited)


@given(error=api | lost, ask=st.sampled_from([READ, WRITE, KEYED]), again=st.integers(0, 10), chance=chance)
def test_attempts_and_waits_are_bounded_and_no_earlier_than_asked(
    error: Any, ask: Ask[Any], again: int, chance: float
) -> None:
    retries = Retries(most=3, longest=8.0)
    wait = retries.wait(ask, error, again, chance)
    if wait is None:
        return
    assert again < 3
    assert 0 <= wait <= 8.25
    asked = getattr(error, "retry_after", None)
    if asked is not None:
        assert asked <= wait <= asked + 0.25


@given(error=api | lost, ask=st.sampled_from([READ, WRITE, KEYED]), chance=chance)
def test_no_retries_means_none(error: Any, ask: Ask[Any], chance: float) -> None:
    assert Retries(most=0).wait(ask, error, 0, chance) is None


@pytest.mark.parametrize(
    ("ask", "error", "repeated"),
    [
        (WRITE, errors.ConnectionFailed("d", sent=False), True),
        (WRITE, errors.ConnectionFailed("d"), False),
        (WRITE, errors.Timeout("d"), False),
        (READ, errors.Timeout("d"), True),
        (KEYED, errors.Timeout("d"), True),
        (KEYED, errors.IdempotencyInProgress("idempotency_in_progress", 409, "d", retry_after=1), True),
        (WRITE, errors.IdempotencyInProgress("idempotency_in_progress", 409, "d", retry_after=1), False),
        (KEYED, errors.OutcomeUnknown("outcome_unknown", 502, "d", fix="wait", sent="unknown"), False),
        (KEYED, errors.UpstreamTimeout("upstream_timeout", 504, "d", fix="wait", sent="unknown"), False),
        (WRITE, errors.BudgetExhausted("budget_exhausted", 429, "d", fix="wait", sent=False, retry_after=2), True),
        (WRITE, errors.BudgetExhausted("budget_exhausted", 429, "d", fix="wait", sent=False, retry_after=9), False),
        (WRITE, errors.ServerUnavailable("unavailable", 503, "d", sent=False), True),
        (WRITE, errors.ServerUnavailable("unavailable", 503, "d", fix="wait", retry_after=5), False),
        (READ, errors.ServerUnavailable("unavailable", 503, "d"), True),
        (READ, errors.ApiError("http_502", 502, "d"), True),
        (WRITE, errors.ApiError("http_502", 502, "d", sent="unknown"), False),
        (READ, errors.Internal("internal", 500, "d"), False),
        (READ, errors.NotFound("not_found", 404, "d"), False),
        (WRITE, errors.EgressRefused("egress_refused", 422, "d", fix="admin", sent=False), False),
    ],
)
def test_what_is_repeated(ask: Ask[Any], error: errors.KeyreeveError, repeated: bool) -> None:
    assert (Retries().wait(ask, error, 0, 0.5) is not None) is repeated


@given(again=st.integers(0, 60), chance=chance)
def test_waits_grow_and_stay_below_the_longest(again: int, chance: float) -> None:
    wait = Retries(most=100).wait(READ, errors.Timeout("d"), again, chance)
    assert wait is not None
    assert 0 < wait <= 8.0

"""State that a client carries: for one call of one caller, for a time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Problem
from broker.tools.carried import LIFETIME, Carried

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CARRIED = Carried(bytes(32))


def test_it_opens_for_what_it_was_sealed_for() -> None:
    CARRIED.open(CARRIED.seal(b"this call", NOW), b"this call", NOW + LIFETIME - timedelta(seconds=1))


def test_it_opens_for_nothing_else() -> None:
    token = CARRIED.seal(b"this call", NOW)
    for bound, now, carried in (
        (b"that call", NOW, CARRIED),
        (b"this call", NOW + LIFETIME, CARRIED),
        (b"this call", NOW, Carried(b"\x01" * 32)),
    ):
        with pytest.raises(Problem) as caught:
            carried.open(token, bound, now)
        assert caught.value.code == "invalid_input"


@given(st.data())
def test_no_other_byte_will_do(data: st.DataObject) -> None:
    token = CARRIED.seal(b"this call", NOW)
    at = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.sampled_from("ABCxyz019-_"))
    if token[at] != other:
        with pytest.raises(Problem):
            CARRIED.open(token[:at] + other + token[at + 1 :], b"this call", NOW)


@given(st.one_of(st.none(), st.integers(), st.text(max_size=300), st.lists(st.integers())))
def test_rubbish_is_refused(token: object) -> None:
    with pytest.raises(Problem):
        CARRIED.open(token, b"this call", NOW)

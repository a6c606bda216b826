"""Ids come from outside: one spelling is an id, everything else none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.ids import new_id, parse_id

ID = "0193a5c2-7f10-7abc-8def-0123456789ab"


def test_an_id_reads_back_in_either_case() -> None:
    made = new_id()
    assert parse_id(str(made)) == made
    assert parse_id(str(made).upper()) == made


@pytest.mark.parametrize(
    "text",
    ["", ID[:-1], f"{ID}0", ID.replace("-", "_"), "0193a5c27f10-7abc-8def-0123456789-ab", "{" + ID[1:-1] + "}",
     ID.replace("0193", "0_93"), ID.replace("0193", " 193"), ID.replace("0193", "٠193"), "urn:uuid:" + ID[:27]],
)  # fmt: skip
def test_other_spellings_are_none(text: str) -> None:
    assert parse_id(text) is None


@given(st.text(min_size=36, max_size=36))
def test_whatever_comes_it_does_not_raise(text: str) -> None:
    parse_id(text)

"""Results that are too long for a model: always JSON, always within the cap, and honest about what is missing."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.tools.codemode.shrink import OMITTED, NotJson, shrink

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**30), max_value=10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=2_000)
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inside: (
        st.lists(inside, max_size=30) | st.dictionaries(st.text('aé"\\\n', max_size=20), inside, max_size=20)
    ),
    max_leaves=60,
)


def raw_of(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@given(_VALUES, st.integers(1_000, 5_000))
@settings(max_examples=300, deadline=None)
def test_always_json_within_the_cap_and_settled(value: Any, cap: int) -> None:
    raw = raw_of(value)
    shown, cut = shrink(raw, cap)
    assert len(shown.decode()) <= cap
    json.loads(shown)
    assert cut == (len(raw.decode()) > cap)
    if not cut:
        assert shown == raw
    assert shrink(shown, cap) == (shown, False)


def test_the_largest_parts_go_first() -> None:
    value: dict[str, Any] = {
        "name": "example.com",
        "records": [{"id": n, "name": f"r{n}.example.com"} for n in range(5_000)],
        "ok": True,
    }
    shown = json.loads(shrink(raw_of(value), 2_000)[0])
    assert shown["name"] == "example.com"
    assert shown["ok"] is True
    *first, mark = shown["records"]
    assert first == value["records"][: len(first)]
    assert len(first) > 10
    assert mark[OMITTED]["of"] == 5_000
    assert mark[OMITTED]["items"] == 5_000 - len(first)
    assert mark[OMITTED]["shape"] == {"id": "number", "name": "string"}


def test_integers_of_any_size_stay_what_they_are() -> None:
    value = {"big": 123456789012345678901234567890, "pad": ["x" * 100] * 200}
    shown = shrink(raw_of(value), 3_000)[0]
    assert b"123456789012345678901234567890" in shown


def test_a_long_text_keeps_its_beginning_and_says_how_long_it_was() -> None:
    shown = json.loads(shrink(raw_of("ab" * 50_000), 1_000)[0])
    assert shown.startswith("abab")
    assert "100,000 characters in all" in shown


@pytest.mark.parametrize("depth", [200, 900, 5_000])
def test_depth_is_no_way_around(depth: int) -> None:
    raw = b"[" * depth + b'"' + b"x" * 3_000 + b'"' + b"]" * depth
    shown, cut = shrink(raw, 1_000)
    assert cut
    assert len(shown) <= 1_000
    json.loads(shown)


@pytest.mark.parametrize("raw", [b"", b"{", b"NaN", b'{"a":}', b"[1,]"])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(NotJson):
        shrink(raw, 1_000)


def test_eight_megabytes_take_little_time() -> None:
    items = [{"id": n, "name": f"name {n}", "tags": ["a", "b"], "nested": {"x": n}} for n in range(100_000)]
    raw = raw_of(items)
    assert len(raw) > 7_000_000
    started = time.perf_counter()
    shown, cut = shrink(raw, 24_000)
    took = time.perf_counter() - started
    assert cut
    assert len(shown) > 20_000
    assert took < 2.0, f"{took:.2f} s"

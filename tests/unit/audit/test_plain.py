"""What the audit keeps is bounded and reads back equal from JSON."""

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from broker.audit.plain import MAX_BODY, body_text, clean

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=50) | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.sets(st.integers()),
    max_leaves=60,
)


@given(st.dictionaries(st.sampled_from(["method", "path", "summary", "detail", "intent"]), anything))
def test_bounded_and_stable(body: dict[str, Any]) -> None:
    once = body_text(body)
    assert len(once.encode()) <= MAX_BODY + 100
    read = json.loads(once)
    assert "\\u0000" not in once
    assert orjson.dumps(read, option=orjson.OPT_SORT_KEYS).decode() == once
    assert not any(isinstance(leaf, float) for leaf in _leaves(read))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for v in value.values() for leaf in _leaves(v)]
    if isinstance(value, list):
        return [leaf for v in value for leaf in _leaves(v)]
    return [value]


def test_a_huge_body_keeps_all_but_its_summary() -> None:
    body = {"path": "/p", "summary": {f"k{i}": "v" * 400 for i in range(40)}}
    kept = json.loads(body_text(body))
    assert kept["path"] == "/p"
    assert kept["summary"]["left_out_bytes"] > 8000


def test_deep_and_endless_structures_end() -> None:
    deep: Any = "bottom"
    for _ in range(1000):
        deep = [deep]
    assert "bottom" not in body_text({"summary": deep})
    assert "… 950 more" in body_text({"summary": list(range(1000))})


def test_clean_leaves_nothing_that_postgresql_cannot_keep() -> None:
    assert clean("a\x00b\ud800c\n") == "a\ufffdb?c\n"
    assert clean("x" * 600) == "x" * 499 + "…"
    clean("\ud83d\ude00" * 400).encode()


def test_no_token_is_kept_whatever_stands_before_it() -> None:
    token = "krv_st_" + "c2X" * 20
    assert token not in body_text({"intent": f"clean up\n{token}", "summary": {"why": f"as asked:\t{token}"}})


def test_a_masked_name_leaves_the_form_canonical() -> None:
    """Else the row would not verify when it is read back from jsonb, which orders and drops names as it likes."""
    names = ["a", "cfut_" + "A" * 40, "cfut_" + "B" * 40, "z"]
    kept = body_text({"summary": dict.fromkeys(names, 1)})
    assert orjson.dumps(json.loads(kept), option=orjson.OPT_SORT_KEYS).decode() == kept
    assert json.loads(kept)["summary"] == {"[redacted]": 1, "a": 1, "z": 1}

"""Bounding and flattening what the audit keeps. Pure.

Invariant: what `body_text` returns reads back from a `jsonb` column as an equal value. So there is no float,
no NUL, no lone surrogate and no integer outside 64 bits in it; each becomes text.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from broker.logs import redact

MAX_TEXT: Final = 500
MAX_BODY: Final = 8192
MAX_ITEMS: Final = 50
MAX_DEPTH: Final = 6
MAX_KEY: Final = 100

_INT64: Final = 1 << 63


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """`text` as PostgreSQL can keep it, at most `limit` characters; what was cut off is marked by `…`."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def maybe(text: str | None, limit: int = MAX_TEXT) -> str | None:
    """`clean` of a text that may be absent."""
    return None if text is None else clean(text, limit)


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:  # the commonest by far
        return value if len(value) <= MAX_TEXT and value.isprintable() else clean(value)
    if value is None or kind is bool:
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else clean(str(value) if value.bit_length() < 4096 else "huge")
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": len(value)}
    if depth >= MAX_DEPTH and isinstance(value, Mapping | Sequence):
        return "…"
    if isinstance(value, Mapping):
        pairs = list(value.items())
        kept = {clean(str(k), MAX_KEY): _plain(v, depth + 1) for k, v in pairs[:MAX_ITEMS]}
        if len(pairs) > MAX_ITEMS:
            kept["…"] = len(pairs) - MAX_ITEMS
        return kept
    if isinstance(value, Sequence | set | frozenset):
        items = list(value)
        listed = [_plain(v, depth + 1) for v in items[:MAX_ITEMS]]
        return [*listed, f"… {len(items) - MAX_ITEMS} more"] if len(items) > MAX_ITEMS else listed
    return clean(str(value))


def body_text(body: Mapping[str, Any]) -> str:
    """`body` as canonical JSON of at most `MAX_BODY` bytes, keys sorted, members that are None left out.

    A `summary` that makes it too large is replaced by its size. Secret-shaped words are masked, wherever they
    are.
    """
    flat = {key: _plain(value, 0) for key, value in body.items() if value is not None}
    encoded = orjson.dumps(flat, option=orjson.OPT_SORT_KEYS)
    if len(encoded) > MAX_BODY:
        flat["summary"] = {"left_out_bytes": len(orjson.dumps(flat.get("summary")))}
        encoded = orjson.dumps(flat, option=orjson.OPT_SORT_KEYS)
    if len(encoded) > MAX_BODY:
        encoded = orjson.dumps({"left_out_bytes": len(encoded)})
    text = encoded.decode()
    masked = redact(text)
    # A masked key has another place in the order, and two may have become one; the MAC is over the canonical form.
    return text if masked == text else orjson.dumps(orjson.loads(masked), option=orjson.OPT_SORT_KEYS).decode()

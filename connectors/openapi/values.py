"""Facts about decoded JSON values: kinds, equality, divisibility; and how to name them in a message."""

import difflib
import json
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

IS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: (isinstance(v, int) and not isinstance(v, bool)) or (isinstance(v, float) and v.is_integer()),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
    "null": lambda v: v is None,
}
ARTICLE = {
    "string": "a string", "integer": "an integer", "number": "a number", "boolean": "true or false",
    "array": "an array", "object": "an object", "null": "null",
}  # fmt: skip


def is_number(value: Any) -> bool:
    """Whether it is a JSON number; booleans are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def kind(value: Any) -> str:
    """What a value is, in words, without showing it."""
    return next((ARTICLE[name] for name in ("boolean", "integer", *IS) if IS[name](value)), "something else")


def same(one: Any, other: Any) -> bool:
    """JSON equality: 1 equals 1.0, but true does not equal 1, at any depth."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def near(name: str, known: Mapping[str, Any]) -> str:
    """ "; did you mean …?" for the most similar known name, or the known names where they are few."""
    found = difflib.get_close_matches(name[:100], list(known)[:100], n=1)
    if found:
        return f"; did you mean {found[0]}?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= 8 else ""


def divides(rule: Any, value: Any) -> bool:
    """Whether `value` is a multiple of `rule`, in decimal unless they are integers; true if undecidable."""
    if isinstance(rule, int) and isinstance(value, int):
        return value % rule == 0
    try:
        exact = [Decimal(repr(n)) if isinstance(n, float) else Decimal(n) for n in (value, rule)]
        return exact[0] % exact[1] == 0
    except InvalidOperation:
        return True  # beyond 28 digits of quotient: not decided here


def canonical(item: Any) -> bytes | int:
    """A hashable stand-in for an item: equal for equal JSON, unique where it can't be written."""
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    try:
        return orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return id(item)


def either(options: list[str]) -> str:
    """ "a, b or c"."""
    if len(options) <= 1:
        return "".join(options)
    return f"{', '.join(options[:-1])} or {options[-1]}"


def shown(option: Any) -> str:
    """An option of the description, at most 60 characters."""
    text = json.dumps(option, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"

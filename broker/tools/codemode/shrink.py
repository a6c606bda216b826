"""A program's result made short enough for a model, and still JSON. Pure.

The largest arrays and strings are summarised where they stand: what is small beside them stays whole. An array keeps
its first elements and ends with `{"$omitted": {items, of, shape}}`; a text keeps its beginning and says how long it
was; an object with too many members says how many were left out. What is short enough already comes back as it is, byte
for byte, so shrinking twice changes nothing.
"""

import gc
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

OMITTED: Final = "$omitted"

_LONG_NUMBER = re.compile(rb"[0-9]{17}")
_MARK_ROOM: Final = 400
"""Characters that a mark with the shape of an element may take."""
_SHAPE_KEYS: Final = 16
_DEEPEST: Final = 60
_SHRINKS_LEAST: Final = 24
"""A value this short is left alone."""
_EXACT_DIGITS: Final = 18
CONTAINERS_MOST: Final = 400_000
"""Objects and arrays in a result that is looked into: reading it holds up everything else in the process."""


class NotJson(ValueError):
    """What was given is not JSON."""


def shrink(raw: bytes, cap: int) -> tuple[bytes, bool]:
    """JSON text of at most `cap` characters (1,000 or more), and whether anything was left out of it. Raises
    NotJson."""
    try:
        if len(raw) <= cap or len(raw.decode("utf-8", "replace")) <= cap:
            _parse(raw, exact=False)
            return raw, False
        if raw.count(b"{") + raw.count(b"[") > CONTAINERS_MOST:
            told = {"characters": len(raw), "because": "it has too many objects and arrays to be summarised"}
            return _dump({OMITTED: told}).encode(), True
        value = _parse(raw, exact=_LONG_NUMBER.search(raw) is not None)
    except RecursionError:
        return _dump({OMITTED: {"characters": len(raw), "because": "it is nested too deeply"}}).encode(), True
    room = cap
    for _ in range(12):
        made = _dump(_fit(value, room, 0))
        if len(made) <= cap:
            return made.encode(), True
        room = int(room * 0.85)
    return _dump({OMITTED: {"characters": len(raw)}}).encode(), True


def _parse(raw: bytes, *, exact: bool) -> Any:
    # What is read is a tree without garbage, and looking for it takes most of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        if not exact:
            return orjson.loads(raw)
        # orjson reads integers beyond 64 bits as floats. Long ones stay text: reading and writing them as numbers takes
        # time that grows with the square of their length.
        return json.loads(raw, parse_constant=_no_constant, parse_int=_integer, parse_float=_Number)
    except ValueError as error:
        if "depth" in str(error):  # orjson's word for it
            raise RecursionError from None
        raise NotJson(str(error)[:200]) from None
    finally:
        if collecting:
            gc.enable()


class _Number:
    """A number as it was written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _integer(text: str) -> Any:
    return int(text) if len(text) <= _EXACT_DIGITS else _Number(text)


def _written(value: Any) -> Any:
    if isinstance(value, _Number):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _dump(value: Any) -> str:
    try:
        return orjson.dumps(value, default=_written).decode()
    except TypeError:  # nested more than 254 deep
        return _dump({OMITTED: {"because": "it is nested too deeply to be shown"}})


def _leaf(value: Any, most: int) -> int:
    """As `_size`, of what is neither array nor object."""
    if isinstance(value, str):
        if len(value) >= most or (len(value) < 256 and value.isalnum()):
            return len(value) + 2
        return len(orjson.dumps(value).decode())
    if value is None or value is True:
        return 4
    return len(value.text) if isinstance(value, _Number) else len(orjson.dumps(value))


def _size(value: Any, most: int) -> int:
    """Characters of the value's compact JSON; where they are more than `most`, some number beyond it, found without
    looking at all of the value."""
    total, rest = 0, [value]
    while rest and total <= most:
        item = rest.pop()
        if isinstance(item, dict):
            total += 2 + 2 * len(item) - bool(item)
            if total + 2 * len(item) <= most:
                rest += item.values()
                total += sum(_leaf(name, most) for name in item)
            else:
                total += 2 * len(item)
        elif isinstance(item, list):
            total += 2 + len(item) - bool(item)
            if total + len(item) <= most:
                rest += item
            else:
                total += len(item)
        else:
            total += _leaf(item, most)
    return total


def _fit(value: Any, room: int, depth: int) -> Any:
    """The value within `room` characters, or as near to it as its marks allow."""
    if isinstance(value, str):
        return _text(value, room)
    if not isinstance(value, dict | list) or _size(value, room) <= room:
        return value
    if depth >= _DEEPEST:
        return {OMITTED: {"because": "nested too deeply"}}
    return _object(value, room, depth) if isinstance(value, dict) else _array(value, room, depth)


def _text(value: str, room: int) -> str:
    most = max(room, _SHRINKS_LEAST)
    if _size(value, most) <= most:
        return value
    mark = f"… [{len(value):,} characters in all]"
    keep = max(0, min(len(value), room - len(mark) - 2))
    # What JSON must escape takes more room than it has characters.
    while keep > 0 and _size(value[:keep], room) + len(mark) > room:
        keep = min(keep - 1, int(keep * 0.8))
    return value[:keep] + mark


def _shares(sizes: Sequence[int], room: int) -> list[int]:
    """Room for each: what is small gets all it needs, the largest share the rest evenly."""
    shares = [0] * len(sizes)
    left = room
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    for place, index in enumerate(order):
        fair = max(0, left) // (len(order) - place)
        shares[index] = min(sizes[index], fair)
        left -= shares[index]
    return shares


def _object(value: Mapping[str, Any], room: int, depth: int) -> dict[str, Any]:
    names: list[str] = []
    heads: list[int] = []
    used = 2
    for name in value:
        head = _size(name, room) + 2
        if used + head + _SHRINKS_LEAST > room:
            break
        used += head + (_SHRINKS_LEAST if names else 0)
        names.append(name)
        heads.append(head)
    left_out = len(value) - len(names)
    inside = room - 2 - sum(heads) - (60 if left_out else 0)
    shares = _shares([_size(value[name], room) for name in names], inside)
    made = {name: _fit(value[name], share, depth + 1) for name, share in zip(names, shares, strict=True)}
    return {**made, OMITTED: {"members": left_out, "of": len(value)}} if left_out else made


def _array(value: Sequence[Any], room: int, depth: int) -> list[Any]:
    if len(value) <= 3:
        shares = _shares([_size(item, room) for item in value], room - 2 - len(value))
        return [_fit(item, share, depth + 1) for item, share in zip(value, shares, strict=True)]
    mark = {OMITTED: {"items": len(value), "of": len(value)} | _shape(value)}
    inside = room - 3 - _size(mark, room)
    made: list[Any] = []
    for item in value:
        size = _size(item, inside) + 1
        if size > inside:
            break
        made.append(item)
        inside -= size
    if not made and inside > 2 * _SHRINKS_LEAST:
        made.append(_fit(value[0], inside - 1, depth + 1))
    mark[OMITTED]["items"] = len(value) - len(made)
    return [*made, mark]


def _shape(value: Sequence[Any]) -> dict[str, Any]:
    """What an element looks like: the members of the first object and their types."""
    first = next((item for item in value[:20] if isinstance(item, dict) and item), None)
    if first is None:
        return {}
    shape = {name[:40]: _kind(item) for name, item in list(first.items())[:_SHAPE_KEYS]}
    if len(first) > _SHAPE_KEYS:
        shape["…"] = f"{len(first) - _SHAPE_KEYS} more"
    return (
        {"shape": shape} if _size(shape, _MARK_ROOM) <= _MARK_ROOM else {"shape": f"object with {len(first)} members"}
    )


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"array of {len(value)}"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float | _Number):
        return "number"
    if isinstance(value, str):
        return "string"
    return "null" if value is None else "object"

"""Parameter values as callers give them (JSON), made into values of the declared type and those into text.

On the wire `"5"` and `5` are the same, so a string that spells an integer, number or boolean is taken where
one is declared, and the other way round. Nothing else is converted.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from connectors.openapi.model import Parameter
from connectors.openapi.template import encode

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,999})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{1,99})?(?:[eE][+-]?[0-9]{1,3})?")
_SEPARATOR = {"form": ",", "simple": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}
_MAX_DIGITS_BITS = 3_400  # about 1,024 decimal digits


class Unsendable(ValueError):
    """A value that has no text form in this place. `str()` says why, without the value."""


def types_of(schema: Any, defs: Mapping[str, Any], hops: int = 8) -> frozenset[str]:
    """The JSON types a schema declares, through references and combinations; empty where it declares none."""
    if not isinstance(schema, dict) or hops == 0:
        return frozenset()
    declared = schema.get("type")
    if declared is not None:
        return frozenset(declared if isinstance(declared, list) else [declared])
    found: set[str] = set()
    if "$ref" in schema:
        found |= types_of(defs.get(schema["$ref"][8:]), defs, hops - 1)
    for keyword in ("allOf", "anyOf"):
        for part in schema.get(keyword, ())[:16]:
            found |= types_of(part, defs, hops - 1)
    return frozenset(found)


def items_of(schema: Any, defs: Mapping[str, Any], hops: int = 8) -> Any:
    """The schema of an array's items, through references and `allOf`; `{}` where none is declared."""
    for _ in range(hops):
        if not isinstance(schema, dict):
            return {}
        if "items" in schema:
            return schema["items"]
        if "$ref" in schema:
            schema = defs.get(schema["$ref"][8:])
            continue
        parts = [*schema.get("allOf", ()), *schema.get("anyOf", ())]
        schema = next((p for p in parts if isinstance(p, dict) and ("items" in p or "$ref" in p)), None)
    return {}


def typed(schema: Any, value: Any, defs: Mapping[str, Any]) -> Any:
    """The value in its declared type where its spelling allows it; else itself, for the check to refuse."""
    types = types_of(schema, defs)
    if isinstance(value, str) and "string" not in types:
        return _read(value, types)
    if isinstance(value, (int, bool)) and "string" in types and types <= {"string", "null", "array", "object"}:
        return scalar(value)
    if isinstance(value, list):
        items = items_of(schema, defs)
        return [typed(items, item, defs) for item in value]
    return value


def _read(text: str, types: frozenset[str]) -> Any:
    if types & {"integer", "number"} and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    if "boolean" in types and text in ("true", "false"):
        return text == "true"
    return text


def scalar(value: Any) -> str:
    """The text of a scalar.

    Raises Unsendable for null, arrays, objects and numbers without a finite decimal form.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        if value.bit_length() > _MAX_DIGITS_BITS:
            raise Unsendable("has too many digits")
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else orjson.dumps(value).decode()
    raise Unsendable("can't be null here; leave it out" if value is None else "must be a single value")


def _encoded(value: Any) -> str:
    try:
        return encode(scalar(value))
    except UnicodeEncodeError:
        raise Unsendable("is not valid Unicode") from None


def _nested(value: Any) -> str:
    """A value inside an array or object.

    OpenAPI leaves deeper ones open: lists of scalars are joined, the rest is JSON.
    """
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ",".join(_encoded(item) for item in value)
    if isinstance(value, (list, dict)):
        return encode(as_json(value))
    return _encoded(value)


def as_json(value: Any) -> str:
    """The value as compact JSON text. Raises Unsendable."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise Unsendable("can't be written as JSON") from None


def path_text(parameter: Parameter, value: Any) -> str:
    """The percent-encoded text of a path parameter (style `simple`).

    Raises Unsendable, for empty values and dots too.
    """
    if isinstance(value, list) and not parameter.json:
        texts = [_encoded(item) for item in value]
        plain = ",".join(texts)
    else:
        try:
            plain = as_json(value) if parameter.json else scalar(value)
            texts = [encode(plain)]
        except UnicodeEncodeError:
            raise Unsendable("is not valid Unicode") from None
    if not plain or not all(texts):
        raise Unsendable("may not be empty")
    if plain in (".", ".."):
        raise Unsendable("may not be . or ..")
    if not isinstance(value, list) and _has_control(plain):
        raise Unsendable("may not hold control characters")
    if isinstance(value, list) and any(isinstance(item, str) and _has_control(item) for item in value):
        raise Unsendable("may not hold control characters")
    return ",".join(texts)


def query_pairs(parameter: Parameter, value: Any) -> Iterator[tuple[str, str]]:
    """The encoded (name, value) pairs of a query parameter. Raises Unsendable."""
    name = encode(parameter.name)
    if parameter.json:
        yield name, encode(as_json(value))
    elif isinstance(value, list):
        yield from _list_pairs(parameter, name, value)
    elif isinstance(value, dict):
        yield from _object_pairs(parameter, name, value)
    else:
        yield name, _encoded(value)


def _list_pairs(parameter: Parameter, name: str, value: list[Any]) -> Iterator[tuple[str, str]]:
    texts = [_nested(item) for item in value]
    if parameter.style == "deepObject":
        raise Unsendable("must be an object")
    if parameter.explode:
        yield from ((name, text) for text in texts)
        return
    separator = _SEPARATOR[parameter.style]
    if separator != "," and any(separator in text for text in texts):
        raise Unsendable("has an item that holds the separator of the list")
    yield name, separator.join(texts)


def _object_pairs(parameter: Parameter, name: str, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    pairs = [(encode(key), _nested(part)) for key, part in value.items()]
    if parameter.style == "deepObject":
        yield from ((f"{name}%5B{key}%5D", text) for key, text in pairs)
    elif parameter.explode:
        yield from pairs
    else:
        yield name, _SEPARATOR[parameter.style].join(f"{key},{text}" for key, text in pairs)


def _has_control(text: str) -> bool:
    return any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text)

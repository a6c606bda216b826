"""A valid example input of any operation, made from its schemas: deterministic, small, the same every time.

Declared examples and defaults are preferred where they satisfy their own schema; the rest is synthesised.
Where a schema cannot be satisfied (descriptions do contradict themselves) the best attempt comes out: judge
it with `check`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.openapi.body import FORM, MULTIPART
from connectors.openapi.check import TooCostly, check
from connectors.openapi.model import ABSENT, Absent, Json, OperationDetails
from connectors.openapi.synth import sample
from connectors.openapi.validate import is_json, is_structured

_DEPTH = 12
_FORMATS = {
    "date-time": "2026-01-31T00:00:00Z",
    "date": "2026-01-31",
    "uuid": "6f1c0b5a-3f6e-4d1c-9a53-0f8a2f6f9c11",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "email": "a@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "hostname": "example.com",
    "duration": "PT1M",
    "time": "00:00:00Z",
    "byte": "aGk=",
}
_STRINGS = (
    "023e105f4ecef8ad9ca31a8372d0c353", *_FORMATS.values(), "example", "a", "1", "192.0.2.0/24", "GET",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Example:
    """Input for `request.build`: required and optional parameters alike, and a body where one is declared."""

    path_params: Mapping[str, Json]
    query: Mapping[str, Json]
    body: Json | Absent


def example_input(details: OperationDetails, *, optional: bool = True) -> Example:
    """An input for the operation; without `optional`, only what is required."""
    maker = _Maker(details.defs, optional=optional)
    path = {name: maker.make(p.schema) for name, p in details.located("path").items()}
    query = {name: maker.make(p.schema) for name, p in details.located("query").items() if p.required or optional}
    return Example(path, {n: v for n, v in query.items() if v is not None}, _body(details, maker))


def _body(details: OperationDetails, maker: "_Maker") -> Json | Absent:
    if not details.bodies:
        return ABSENT
    media = next((m for m in details.bodies if is_json(m)), None)
    media = media or next((m for m in (MULTIPART, FORM) if m in details.bodies), None) or next(iter(details.bodies))
    if not is_structured(media):
        return "example"
    made = maker.make(details.bodies[media].schema)
    if is_json(media):
        return made
    fields = made if isinstance(made, dict) and made else {"field": "example"}
    return {n: v for n, v in fields.items() if n} if media == MULTIPART else _flat(fields)


def _flat(fields: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in fields.items() if isinstance(value, (str, int, float, bool))}


class _Maker:
    def __init__(self, defs: Mapping[str, Any], *, optional: bool) -> None:
        self._defs = defs
        self._optional = optional

    def make(self, schema: Any) -> Json:
        """A value, as valid as can be had."""
        return self._make(schema, _DEPTH)

    def _fits(self, schema: Any, value: Json) -> bool:
        try:
            return not check(schema, value, self._defs, limit=1, steps=5_000)
        except TooCostly:
            return False

    def _make(self, schema: Any, depth: int) -> Json:
        if not isinstance(schema, dict):
            return "example"
        declared = [*schema.get("examples", ()), *([schema["default"]] if "default" in schema else [])]
        for value in [
            *declared,
            *([schema["const"]] if "const" in schema else []),
            *schema.get("enum", ())[:20],
        ]:
            if value is not None and self._fits(schema, value):
                return value
        if depth <= 0:
            return None
        if "$ref" in schema and len(schema.keys() - {"description", "default", "examples"}) == 1:
            return self._make(self._defs.get(schema["$ref"][8:]), depth - 1)
        if "allOf" in schema or "$ref" in schema:
            merged = self._merged(schema, 8)
            merged.pop("examples", None)
            return self._make(merged, depth - 1)
        if "anyOf" in schema:
            return self._any(schema, depth)
        return self._typed(schema, depth)

    def _merged(self, schema: dict[str, Any], hops: int) -> dict[str, Any]:
        """One schema out of `allOf` and references: properties and required add up, the last bound wins."""
        out: dict[str, Any] = {}
        parts = [*schema.get("allOf", ())] if hops else []
        if "$ref" in schema and hops:
            parts.insert(0, self._defs.get(schema["$ref"][8:], {}))
        own = {key: value for key, value in schema.items() if key not in ("allOf", "$ref")}
        for part in [*parts, own]:
            flat = self._merged(part, hops - 1) if isinstance(part, dict) and part is not own else part
            if not isinstance(flat, dict):
                continue
            for key, value in flat.items():
                if key == "properties":
                    out[key] = {**out.get(key, {}), **value}
                elif key == "required":
                    out[key] = [*out.get(key, []), *value]
                else:
                    out[key] = value
        return out

    def _any(self, schema: dict[str, Any], depth: int) -> Json:
        base = {key: value for key, value in schema.items() if key not in ("anyOf", "examples", "default")}
        best: Json = None
        for branch in schema["anyOf"][:32]:
            if not isinstance(branch, dict) or branch.get("type") == "null":
                continue
            value = self._make({**base, "allOf": [*base.get("allOf", ()), branch]} if base else branch, depth - 1)
            if self._fits(schema, value):
                return value
            best = value if best is None else best
        return best

    def _typed(self, schema: dict[str, Any], depth: int) -> Json:
        declared = schema.get("type")
        kind = next((t for t in declared if t != "null"), "null") if isinstance(declared, list) else declared
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return _number(schema, kind)
        return True if kind == "boolean" else None if kind == "null" else self._string(schema)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Json]:
        required = schema.get("required", [])
        out: dict[str, Json] = {}
        for name, part in schema.get("properties", {}).items():
            needed = name in required
            hidden = isinstance(part, dict) and part.get("readOnly") is True
            if not needed and (hidden or not self._optional or depth < _DEPTH - 3):
                continue
            if not needed and len(out) >= schema.get("maxProperties", 1 << 20) - len(set(required) - out.keys()):
                continue
            value = self._make(part, depth - 1)
            if needed or (value is not None and self._fits(part, value)):
                out[name] = value
        for name in required:
            out.setdefault(name, "example")
        additional = schema.get("additionalProperties", {})
        while len(out) < schema.get("minProperties", 0) and len(out) < 8:
            out[f"field{len(out)}"] = self._make(additional, depth - 1)
        return out

    def _array(self, schema: dict[str, Any], depth: int) -> list[Json]:
        count = min(max(schema.get("minItems", 0), 1), schema.get("maxItems", 1) or 0 if "maxItems" in schema else 100)
        first = self._make(schema.get("items", {}), depth - 1)
        out = [first] * count
        if schema.get("uniqueItems") and count > 1:
            out = [_varied(first, place) for place in range(count)]
        return out

    def _string(self, schema: dict[str, Any]) -> str:
        shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 1 << 20)
        pattern = schema.get("pattern")
        synthesised = sample(pattern) if pattern else ()
        candidates: list[str] = [_FORMATS.get(schema.get("format", ""), ""), *_STRINGS, *synthesised]
        for text in candidates:
            fitted: str = (text + "a" * (shortest - len(text)))[:longest] if "format" not in schema else text
            if (fitted or longest == 0) and self._fits(schema, fitted):
                return fitted
        return "example"


def _number(schema: dict[str, Any], kind: str) -> int | float:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    start = low if low is not None else min(1, high) if high is not None else 1
    candidates = [start, start + 1, start + step, (int(start) // step) * step + step if step else start, high]
    if low is not None and high is not None:
        candidates.append((low + high) / 2)
    for value in candidates:
        if value is None:
            continue
        number = int(value) if kind == "integer" or float(value).is_integer() else value
        if not check(schema, number, {}, limit=1):
            return number
    return 1


def _varied(value: Json, place: int) -> Json:
    if isinstance(value, str):
        return f"{value[: len(value) - 1]}{'abcdefghijklmnopqrstuvwxyz0123456789'[place % 36]}" if value else value
    return value + place if isinstance(value, (int, float)) and not isinstance(value, bool) else value

"""JSON Schema as providers restrict it, and the model's input as the tool's own schema wants it. Pure.

`strict` writes a tool's schema in the subset that OpenAI's strict mode takes (Structured Outputs: every property
required, `additionalProperties: false`, no combinators but `anyOf`): an optional property becomes nullable, and
`restore` takes such nulls out again. Keywords that only narrow a value (`minLength`, `default`…) are left out: the
server judges them. What cannot be said in the subset without changing what it means (free maps, any value, `allOf`,
an optional property for which null has a meaning of its own) gives None: that tool is sent without strict mode."""
# What is read here is any JSON: of its parts nothing is known until they are looked at.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

_NUMBERS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"))
_KEPT = _NUMBERS | frozenset(("const", "description", "enum", "maxItems", "minItems", "pattern", "title"))
_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"))
_NOTES = frozenset(("default", "examples", "example", "deprecated", "externalDocs", "$comment", "$schema", "$id"))
_NARROWING = _NOTES | frozenset(
    ("readOnly", "writeOnly", "minLength", "maxLength", "uniqueItems", "format", "nullable", "contentEncoding", "xml")
)
_COMBINATORS = ("anyOf", "oneOf", "allOf", "not", "enum", "const", "if", "then", "else")
MAX_DEPTH, MAX_PROPERTIES, MAX_ENUM, MAX_TEXT = 10, 5_000, 1_000, 120_000
"""OpenAI's limits of one strict schema: levels, properties, enum values, characters of names and values."""
Schema = Mapping[str, Any]


class _Inexpressible(Exception):
    """The schema means something that strict mode has no words for."""


def rooted(schema: Schema) -> dict[str, Any]:
    """`schema` as an object at its root without combinators there, which is as much as both providers ask of a tool
    that is not strict. The server still judges the input by the whole schema."""
    root = {key: value for key, value in schema.items() if key not in _COMBINATORS}
    return {**root, "type": "object", "properties": dict(root.get("properties") or {})}


def strict(schema: Schema) -> dict[str, Any] | None:
    """`schema` in strict mode's subset, or None where it cannot be said there."""
    writer = _Writer(schema)
    try:
        root = writer.write(schema, 0)
        if root.get("type") != "object":
            raise _Inexpressible
        writer.check_size()
    except _Inexpressible:
        return None
    if writer.defs:
        root["$defs"] = writer.defs
    return root


def restore(schema: Schema, value: Any) -> Any:
    """`value`, given by a model under `strict(schema)`, as `schema` itself wants it: nulls that stand for absent
    optional properties removed at every level. What fits the schema nowhere is left as it is, for the server to
    refuse."""
    return _restore(schema, schema, value)


@dataclass
class _Writer:
    """Writes one schema; counts what OpenAI limits."""

    root: Schema
    defs: dict[str, Any] = field(default_factory=dict)
    properties: int = 0
    enums: int = 0
    text: int = 0

    def write(self, schema: Any, depth: int) -> dict[str, Any]:
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
            raise _Inexpressible
        if "$ref" in schema:
            return self._reference(schema)
        out = {key: schema[key] for key in schema if key in _KEPT}
        if schema.get("format") in _FORMATS:
            out["format"] = schema["format"]
        if isinstance(schema.get("enum"), list):
            self.enums += len(schema["enum"])
            self.text += sum(len(str(value)) for value in schema["enum"])
        known = {*_KEPT, *_NARROWING, "type", "properties", "required", "items", "additionalProperties", "$defs"}
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches is not None:
            if depth == 0 or "properties" in schema or not isinstance(branches, list):
                raise _Inexpressible
            out["anyOf"] = [self.write(branch, depth + 1) for branch in branches]
            known |= {"anyOf", "oneOf", "type"}
        if any(key not in known and not key.startswith("x-") for key in schema):
            raise _Inexpressible
        return out if branches is not None else self._typed(schema, out, depth)

    def _typed(self, schema: Schema, out: dict[str, Any], depth: int) -> dict[str, Any]:
        kinds = _kinds(schema)
        if not kinds:
            if "enum" in schema or "const" in schema:
                return out
            raise _Inexpressible
        if len(set(kinds) - {"null"}) > 1 and not {"object", "array"}.isdisjoint(kinds):
            raise _Inexpressible
        out["type"] = kinds[0] if len(kinds) == 1 else list(kinds)
        if "object" in kinds:
            out |= self._object(schema, depth)
        if "array" in kinds:
            out["items"] = self.write(schema.get("items"), depth + 1)
        return out

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties, extra = schema.get("properties"), schema.get("additionalProperties")
        # Without named properties it is a free map, but for the root: a tool may have no input.
        named = bool(properties) or extra is False or (depth == 0 and properties == {})
        if not named or (extra is not None and extra is not False):
            raise _Inexpressible
        properties, required = properties or {}, schema.get("required") or []
        if not set(required) <= set(properties):
            raise _Inexpressible
        written: dict[str, Any] = {}
        for name, inner in properties.items():
            self.properties, self.text = self.properties + 1, self.text + len(name)
            shown = self.write(inner, depth + 1)
            written[name] = shown if name in required else self._nullable(inner, shown)
        return {"properties": written, "required": list(written), "additionalProperties": False}

    def _nullable(self, inner: Schema, shown: dict[str, Any]) -> dict[str, Any]:
        if _takes_null(self.root, inner):
            raise _Inexpressible  # absent and null would be told in the same way
        if "type" in shown and "enum" not in shown and "const" not in shown:
            kinds = shown["type"] if isinstance(shown["type"], list) else [shown["type"]]
            return {**shown, "type": [*kinds, "null"]}
        return {"anyOf": [shown, {"type": "null"}]}

    def _reference(self, schema: Schema) -> dict[str, Any]:
        name = _definition_name(schema["$ref"])
        if name not in self.defs:
            self.defs[name] = {}  # taken before it is written: it may refer to itself
            self.defs[name] = self.write(_resolved(self.root, schema), 1)
        return {"$ref": f"#/$defs/{name}"}

    def check_size(self) -> None:
        if self.properties > MAX_PROPERTIES or self.enums > MAX_ENUM or self.text > MAX_TEXT:
            raise _Inexpressible


def _kinds(schema: Schema) -> tuple[str, ...]:
    kind = schema.get("type")
    kinds = tuple(kind) if isinstance(kind, list) else (kind,) if isinstance(kind, str) else ()
    if not kinds and "properties" in schema:
        kinds = ("object",)
    return (*kinds, "null") if schema.get("nullable") is True and "null" not in kinds else kinds


def _definition_name(reference: Any) -> str:
    if not isinstance(reference, str) or not reference.startswith("#/$defs/") or "/" in reference[8:]:
        raise _Inexpressible
    return reference[8:]


def _resolved(root: Schema, schema: Schema, limit: int = 20) -> Schema:
    """What a chain of references ends at. Raises _Inexpressible where it leads nowhere."""
    while "$ref" in schema:
        found = (root.get("$defs") or {}).get(_definition_name(schema["$ref"]))
        limit -= 1
        if not isinstance(found, Mapping) or not limit:
            raise _Inexpressible
        schema = found
    return schema


def _takes_null(root: Schema, schema: Schema) -> bool:
    schema = _resolved(root, schema)
    if "null" in _kinds(schema) or None in schema.get("enum", ()) or ("const" in schema and schema["const"] is None):
        return True
    return any(_takes_null(root, branch) for key in ("anyOf", "oneOf") for branch in schema.get(key) or ())


def _restore(root: Schema, schema: Any, value: Any) -> Any:
    if not isinstance(schema, Mapping):
        return value
    schema = _resolved(root, schema)
    for branch in schema.get("anyOf") or schema.get("oneOf") or ():
        if _matches(root, branch, value):
            return _restore(root, branch, value)
    if isinstance(value, Mapping):
        properties = cast("Mapping[str, Any]", schema.get("properties") or {})
        required = schema.get("required") or ()
        return {
            name: _restore(root, properties.get(name), inner)
            for name, inner in value.items()
            if inner is not None or name in required or name not in properties
        }
    if isinstance(value, list):
        return [_restore(root, schema.get("items"), inner) for inner in value]
    return value


_PYTHON: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def _matches(root: Schema, schema: Any, value: Any) -> bool:
    """Whether `value` has the shape of `strict`'s writing of this branch: by type, constants and names of
    properties."""
    schema = _resolved(root, schema)
    if ("const" in schema and schema["const"] != value) or ("enum" in schema and value not in schema["enum"]):
        return False
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        return any(_matches(root, branch, value) for branch in branches)
    kinds = _kinds(schema)
    if kinds and not any(_is_a(kind, value) for kind in kinds):
        return False
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        required = schema.get("required") or ()
        return set(value) <= set(properties) and all(
            (inner is None and name not in required) or _matches(root, properties[name], inner)
            for name, inner in value.items()
        )
    if isinstance(value, list):
        return all(_matches(root, schema.get("items") or {}, inner) for inner in value)
    return True


def _is_a(kind: str, value: Any) -> bool:
    return isinstance(value, _PYTHON.get(kind, ())) and (kind == "boolean" or not isinstance(value, bool))

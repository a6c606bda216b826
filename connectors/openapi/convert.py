"""Schemas of a description turned into plain JSON Schema 2020-12. Runs in the child process.

What comes out holds only known keywords with well-formed values, so that later code may trust its shape.
Where a description is unsound the result is looser, never stricter, than what was written: a keyword that
cannot be used is dropped and counted. Three readings differ from the letter on purpose, because descriptions
mean them so: `oneOf` becomes `anyOf` (branches overlap in practice), `nullable` also admits null beside
`enum` and `$ref`, and `readOnly` properties are not required of a request (OpenAPI 3.0.3 § 4.7.24.2).
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from connectors.openapi.bounds import MAX_ANNOTATION, MAX_DESCRIPTION, MAX_PATTERNS
from connectors.openapi.document import Document
from connectors.openapi.patterns import usable

Schema = Any
TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_SUBSCHEMA = ("propertyNames", "contains")
_COUNTS = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
    "minContains", "maxContains",
)  # fmt: skip
_FLAGS = ("uniqueItems", "readOnly", "writeOnly", "deprecated")
_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_COMPONENT = "#/components/schemas/"


def is_number(value: Any) -> bool:
    """Whether it is a JSON number that can bound something."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class Converter:
    """Converts schemas, and every component they reach once. `counts` says what was dropped."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._defs: dict[str, tuple[Schema, tuple[str, ...], int]] = {}
        self._patterns: dict[str, bool] = {}
        self._pending: list[tuple[str, Any]] = []
        self.counts: Counter[str] = Counter()

    def convert(self, node: Any) -> tuple[Schema, tuple[str, ...]]:
        """The schema and the names of the components it refers to directly."""
        refs: dict[str, None] = {}
        return self._node(node, refs), tuple(refs)

    def closure(self, names: tuple[str, ...], limit: int) -> dict[str, Schema] | None:
        """The named components and all they reach, sorted by name; None when over `limit` bytes."""
        found: dict[str, Schema] = {}
        waiting = list(names)
        size = 0
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            schema, refs, length = self._defs[name]
            found[name] = schema
            size += length
            if size > limit:
                return None
            waiting.extend(refs)
        return dict(sorted(found.items()))

    def _define(self, ref: str) -> str | None:
        """The name under which a reference's target is kept; None where the reference dangles."""
        if ref in self._names:
            return self._names[ref]
        target = self._document.lookup(ref)
        if not isinstance(target, (dict, bool)):
            self.counts["dangling_references"] += 1
            return None
        base = ref[len(_COMPONENT) :] if ref.startswith(_COMPONENT) else ref[2:]
        name = base = _UNSAFE_NAME.sub("_", base)[:80] or "schema"
        suffix = 2
        while name in self._taken:
            name = f"{base}-{suffix}"
            suffix += 1
        self._taken.add(name)
        self._names[ref] = name
        self._defs[name] = (True, (), 4)  # a target that refers to itself finds its name
        self._pending.append((name, target))
        return name

    def finish(self) -> None:
        """Converts every component named so far. Call before `closure`."""
        while self._pending:
            name, target = self._pending.pop()
            schema, refs = self.convert(target)
            self._defs[name] = (schema, refs, len(orjson.dumps(schema)))

    def _node(self, node: Any, refs: dict[str, None]) -> Schema:
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            self.counts["malformed_schemas"] += 1
            return {}
        if isinstance(node.get("$ref"), str):
            return self._reference(node, refs)
        out: dict[str, Any] = {}
        self._type(node, out)
        self._values(node, out)
        self._numbers(node, out)
        self._text(node, out)
        self._object(node, out, refs)
        self._array(node, out, refs)
        self._combined(node, out, refs)
        self._notes(node, out)
        return _nullable(out) if node.get("nullable") is True else out

    def _reference(self, node: dict[str, Any], refs: dict[str, None]) -> Schema:
        name = self._define(node["$ref"])
        out: dict[str, Any] = {}
        if name is not None:
            refs[name] = None
            out["$ref"] = f"#/$defs/{name}"
        if self._document.minor > 0:  # from 3.1 on, what stands beside a reference counts too
            siblings = self._node({key: value for key, value in node.items() if key != "$ref"}, refs)
            return {**out, **siblings}
        self._notes(node, out)
        return _nullable(out) if node.get("nullable") is True else out

    def _type(self, node: dict[str, Any], out: dict[str, Any]) -> None:
        declared = node.get("type")
        if isinstance(declared, str) and declared in TYPES:
            out["type"] = declared
        elif isinstance(declared, list):
            kept = [t for t in dict.fromkeys(map(str, declared)) if t in TYPES]
            if len(kept) == len(declared) and kept:
                out["type"] = kept if len(kept) > 1 else kept[0]
        elif declared is not None:
            self.counts["malformed_keywords"] += 1

    def _values(self, node: dict[str, Any], out: dict[str, Any]) -> None:
        values = node.get("enum")
        if isinstance(values, list) and values:
            out["enum"] = values
        if "const" in node:
            out["const"] = node["const"]

    def _numbers(self, node: dict[str, Any], out: dict[str, Any]) -> None:
        for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if is_number(node.get(bound)):
                out[bound] = node[bound]
            if node.get(strict) is True and bound in out:  # OpenAPI 3.0's boolean form
                out[strict] = out.pop(bound)
            elif is_number(node.get(strict)):
                out[strict] = node[strict]
        if is_number(node.get("multipleOf")) and node["multipleOf"] > 0:
            out["multipleOf"] = node["multipleOf"]
        for key in _COUNTS:
            if is_number(node.get(key)) and node[key] >= 0 and node[key] == int(node[key]):
                out[key] = int(node[key])

    def _text(self, node: dict[str, Any], out: dict[str, Any]) -> None:
        if isinstance(node.get("pattern"), str) and self._usable(node["pattern"]):
            out["pattern"] = node["pattern"]
        if isinstance(node.get("format"), str) and len(node["format"]) <= 64:
            out["format"] = node["format"]

    def _usable(self, pattern: str) -> bool:
        known = self._patterns.get(pattern)
        if known is None:
            known = len(self._patterns) < MAX_PATTERNS and usable(pattern)
            if len(self._patterns) < MAX_PATTERNS:
                self._patterns[pattern] = known
            if not known:
                self.counts["dropped_patterns"] += 1
        return known

    def _object(self, node: dict[str, Any], out: dict[str, Any], refs: dict[str, None]) -> None:
        properties = node.get("properties")
        if isinstance(properties, dict):
            out["properties"] = {name: self._node(schema, refs) for name, schema in properties.items()}
        required = node.get("required")
        if isinstance(required, list):
            names = [
                n for n in dict.fromkeys(r for r in required if isinstance(r, str)) if not self._read_only(node, n)
            ]
            if names:
                out["required"] = names
        closed = node.get("additionalProperties")
        if isinstance(closed, (dict, bool)):
            out["additionalProperties"] = self._node(closed, refs)
        by_pattern = node.get("patternProperties")
        if isinstance(by_pattern, dict):
            kept = {p: s for p, s in by_pattern.items() if self._usable(p)}
            out["patternProperties"] = {pattern: self._node(schema, refs) for pattern, schema in kept.items()}
            if len(kept) < len(by_pattern):
                out.pop("additionalProperties", None)
        depends = node.get("dependentRequired")
        if isinstance(depends, dict):
            lists = {k: [n for n in v if isinstance(n, str)] for k, v in depends.items() if isinstance(v, list)}
            out["dependentRequired"] = lists

    def _read_only(self, node: dict[str, Any], name: str) -> bool:
        properties = node.get("properties")
        waiting = [properties.get(name)] if isinstance(properties, dict) else []
        for _ in range(8):
            if not waiting:
                return False
            schema = waiting.pop()
            if not isinstance(schema, dict):
                continue
            if schema.get("readOnly") is True:
                return True
            if isinstance(schema.get("$ref"), str):
                waiting.append(self._document.lookup(schema["$ref"]))
            if isinstance(schema.get("allOf"), list):
                waiting.extend(schema["allOf"])
        return False

    def _array(self, node: dict[str, Any], out: dict[str, Any], refs: dict[str, None]) -> None:
        prefix = node.get("prefixItems")
        if isinstance(prefix, list) and prefix:
            out["prefixItems"] = [self._node(schema, refs) for schema in prefix]
        if isinstance(node.get("items"), (dict, bool)):
            out["items"] = self._node(node["items"], refs)

    def _combined(self, node: dict[str, Any], out: dict[str, Any], refs: dict[str, None]) -> None:
        every = node.get("allOf")
        all_of = [self._node(schema, refs) for schema in every] if isinstance(every, list) else []
        for key in ("anyOf", "oneOf"):
            branches = node.get(key)
            if isinstance(branches, list) and branches:
                converted = [self._node(schema, refs) for schema in branches]
                if "anyOf" in out:
                    all_of.append({"anyOf": converted})
                else:
                    out["anyOf"] = converted
        if all_of:
            out["allOf"] = all_of
        for key in _SUBSCHEMA:
            if isinstance(node.get(key), (dict, bool)):
                out[key] = self._node(node[key], refs)
        if "not" in node:
            self._exactly(node["not"], lambda schema: out.__setitem__("not", schema))
        if "if" in node:
            self._exactly(node["if"], lambda schema: out.__setitem__("if", schema))
            for key in ("then", "else") if "if" in out else ():
                if isinstance(node.get(key), (dict, bool)):
                    out[key] = self._node(node[key], refs)

    def _exactly(self, node: Any, keep: Callable[[Schema], None]) -> None:
        """Keeps a schema whose loosening would tighten the whole, if all of it is here and was understood."""
        refs: dict[str, None] = {}
        before = self.counts.total()
        schema = self._node(node, refs)
        if not refs and self.counts.total() == before:
            keep(schema)
        else:
            self.counts["dropped_conditions"] += 1

    def _notes(self, node: dict[str, Any], out: dict[str, Any]) -> None:
        for key in _FLAGS:
            if node.get(key) is True:
                out[key] = True
        text = node.get("description")
        if isinstance(text, str) and text.strip():
            out["description"] = cut(text, MAX_DESCRIPTION)
        if "default" in node and _small(node["default"]):
            out["default"] = node["default"]
        examples = node.get("examples") if isinstance(node.get("examples"), list) else []
        shown = [e for e in [*([node["example"]] if "example" in node else []), *(examples or [])] if _small(e)]
        if shown:
            out["examples"] = shown[:2]


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    declared = schema.get("type")
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    narrow = {"$ref", "anyOf", "allOf", "not", "if", "const"}
    if isinstance(declared, str) and not narrow & schema.keys():
        schema["type"] = declared if declared == "null" else [declared, "null"]
        return schema
    if declared is None and not narrow & schema.keys():
        return schema
    notes = {key: schema.pop(key) for key in ("description", "default", "examples", *_FLAGS) if key in schema}
    return {"anyOf": [schema, {"type": "null"}], **notes}


def cut(text: str, limit: int) -> str:
    """`text` in at most `limit` characters, ending in … where something is missing."""
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _small(value: Any) -> bool:
    return len(orjson.dumps(value)) <= MAX_ANNOTATION

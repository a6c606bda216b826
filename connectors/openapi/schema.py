"""The input schema of a typed tool: one operation's parameters and body as one flat, self-contained JSON
Schema.

Path and query parameters stand at the top under their own names, the body under `body`. A name that is taken
twice (or is `body`) is prefixed with where it belongs: `path_id`, `query_id`. References are written out and
deep parts are cut to a note, so the schema is bounded and every client can read it; what was cut is still
judged when the tool is called.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from connectors.errors import FieldProblem, InvalidInput
from connectors.openapi.body import FORM, MULTIPART
from connectors.openapi.bounds import MAX_PROBLEMS, MAX_TOOL_SCHEMA
from connectors.openapi.model import ABSENT, Absent, Json, OperationDetails, Parameter
from connectors.openapi.validate import is_json, is_structured
from connectors.openapi.values import near

_DEPTHS = (16, 10, 8, 6, 5, 4, 3, 2, 1)
_CUT_NOTE = "not shown here: see the upstream's own documentation"
_LISTS = ("anyOf", "allOf", "prefixItems")
_SINGLES = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_MAPS = ("properties", "patternProperties")
_FILE_HINT = 'a file is {"$file": {"text" or "base64": "…", "filename"?: "…", "content_type"?: "…"}}'
_BINARY_HINT = 'text as a string, or {"$binary": {"base64": "…", "media_type"?: "…"}}'


class _TooLarge(Exception):
    """This depth does not fit the bound."""


def input_schema(
    details: OperationDetails, *, rename: Mapping[str, str] | None = None, max_bytes: int = MAX_TOOL_SCHEMA
) -> dict[str, Any]:
    """The JSON Schema 2020-12 of the operation's input, deterministic, at most `max_bytes` (32 KiB) of JSON.

    `rename` gives other names to properties, by the name they would have.
    """
    for depth in _DEPTHS:
        try:
            return _at_depth(details, rename or {}, depth, max_bytes)
        except _TooLarge:
            continue
    bare: dict[str, Any] = {name: {} for name in _places(details, rename or {})}
    return {"type": "object", "properties": bare, "additionalProperties": False}


def schema_hash(schema: Mapping[str, Any]) -> str:
    """16 hex digits of the SHA-256 of the schema's canonical JSON (sorted keys)."""
    return hashlib.sha256(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def split_input(
    details: OperationDetails, tool_input: Mapping[str, Json], *, rename: Mapping[str, str] | None = None
) -> tuple[dict[str, Json], dict[str, Json], Json | Absent]:
    """(path_params, query, body) of a typed tool's input; the body is `ABSENT` where none is given.

    Raises InvalidInput naming every unknown property.
    """
    places = _places(details, rename or {})
    path: dict[str, Json] = {}
    query: dict[str, Json] = {}
    body: Json | Absent = ABSENT
    wrong: list[FieldProblem] = []
    for name, value in tool_input.items():
        parameter = places.get(name, ABSENT)
        if isinstance(parameter, Absent):
            wrong.append(FieldProblem(name[:100], "is not a known field" + near(name, places), unknown=True))
            if len(wrong) >= MAX_PROBLEMS:
                break
        elif parameter is None:
            body = value
        else:
            (path if parameter.location == "path" else query)[parameter.name] = value
    if wrong:
        raise InvalidInput(wrong[:MAX_PROBLEMS])
    return path, query, body


def _places(details: OperationDetails, rename: Mapping[str, str]) -> dict[str, Parameter | None]:
    """Every property of the tool's input and the parameter it stands for; None for the body."""
    path, query = details.located("path"), details.located("query")
    places: dict[str, Parameter | None] = {}
    has_body = bool(details.bodies)
    for mine, other, prefix in ((path, query, "path_"), (query, path, "query_")):
        for name, parameter in mine.items():
            flat = prefix + name if name in other or name == "body" else name
            flat = rename.get(flat, flat)
            while flat in places:
                flat = prefix + flat
            places[flat] = parameter
    if has_body:
        name = rename.get("body", "body")
        while name in places:
            name = "request_" + name
        places[name] = None
    return places


def _at_depth(details: OperationDetails, rename: Mapping[str, str], depth: int, limit: int) -> dict[str, Any]:
    inliner = _Inliner(details.defs, limit)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, parameter in _places(details, rename).items():
        if parameter is None:
            properties[name] = _body(details, inliner, depth)
            if details.body_required:
                required.append(name)
            continue
        schema = inliner.write(parameter.schema, depth)
        if parameter.description and isinstance(schema, dict):
            schema = {**schema, "description": parameter.description}
        properties[name] = schema
        if parameter.required:
            required.append(name)
    out: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        out["required"] = required
    if len(orjson.dumps(out)) > limit:
        raise _TooLarge
    return out


def _body(details: OperationDetails, inliner: "_Inliner", depth: int) -> dict[str, Any]:
    media = next((m for m in details.bodies if is_json(m)), None)
    media = media or next((m for m in (MULTIPART, FORM) if m in details.bodies), None) or next(iter(details.bodies))
    if not is_structured(media):
        return {"description": f"Sent as {media}: {_BINARY_HINT}"}
    written = inliner.write(details.bodies[media].schema, depth, request=True)
    schema = written if isinstance(written, dict) else {}
    if media == MULTIPART:
        note = f"Sent as {media}, one part per field; {_FILE_HINT}"
        return {**_loose_files(schema), "description": f"{schema.get('description', '')} {note}".strip()}
    return schema


def _loose_files(schema: dict[str, Any]) -> dict[str, Any]:
    """Binary parts take a file object, which their declared type (string) would refuse."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return schema
    loose = {
        name: {k: v for k, v in part.items() if k == "description"}
        if isinstance(part, dict) and part.get("format") == "binary"
        else part
        for name, part in properties.items()
    }
    return {**schema, "properties": loose}


class _Inliner:
    """Writes schemas without references, cutting below a depth; gives up once the bound is surely passed."""

    def __init__(self, defs: Mapping[str, Any], limit: int) -> None:
        self._defs = defs
        self._left = limit // 4  # a schema node takes more than four bytes

    def write(self, schema: Any, depth: int, *, request: bool = False) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _TooLarge
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            target = self._defs.get(schema["$ref"][8:], {})
            siblings = {key: value for key, value in schema.items() if key != "$ref"}
            if not isinstance(target, dict):
                return target
            if depth <= 0:
                return self._cut({**target, **siblings})
            if siblings.keys() & target.keys() - {"description", "default", "examples"}:
                both = [target, siblings]
                return {"allOf": [self.write(part, depth - 1, request=request) for part in both]}
            return self.write({**target, **siblings}, depth - 1, request=request)
        if depth <= 0 and not schema.keys().isdisjoint((*_LISTS, *_SINGLES, *_MAPS)):
            return self._cut(schema)
        return self._copy(schema, depth - 1, request)

    def _copy(self, schema: Mapping[str, Any], depth: int, request: bool) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _MAPS:
                shown = {n: s for n, s in value.items() if not (request and _read_only(s))}
                out[key] = {name: self.write(part, depth, request=request) for name, part in shown.items()}
            elif key in _LISTS:
                out[key] = [self.write(part, depth, request=request) for part in value]
            elif key in _SINGLES:
                out[key] = self.write(value, depth, request=request)
            elif key not in ("readOnly", "writeOnly"):
                out[key] = value
        return out

    def _cut(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: schema[key] for key in ("type",) if key in schema}
        note = schema.get("description", "")
        return {**kept, "description": f"{note[:120]} ({_CUT_NOTE})".strip()}


def _read_only(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("readOnly") is True

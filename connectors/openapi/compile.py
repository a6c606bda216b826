"""A raw description compiled into an artifact: the blocking, pure core.

Run it in the child process (`load`).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from connectors.errors import SpecError
from connectors.openapi import artifact, bounds
from connectors.openapi.convert import Converter, cut
from connectors.openapi.document import Document
from connectors.openapi.template import Template, TemplateError, parse

METHODS = ("get", "put", "post", "delete", "patch", "head")
_ID = re.compile(r"[\x21-\x7e]{1,200}")
_SLUG = re.compile(r"[^A-Za-z0-9]+")
_MEDIA = re.compile(r"[A-Za-z0-9!#$&^_.+*-]+/[A-Za-z0-9!#$&^_.+*-]+")
_STYLES = {
    "path": ("simple",),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
}


def compile_spec(raw: bytes) -> bytes:
    """The artifact of a description (JSON, at most 32 MiB). Deterministic.

    Raises SpecError, whose text is safe to show: it holds no more of the input than a short, quoted piece.
    """
    document = Document(raw)
    return _Compiler(document, hashlib.sha256(raw).hexdigest()).run()


class _Compiler:
    def __init__(self, document: Document, digest: str) -> None:
        self._document = document
        self._digest = digest
        self._converter = Converter(document)
        self._skipped: Counter[str] = Counter()

    def run(self) -> bytes:
        found = list(self._operations())
        ids = _unique_ids([(op.get("operationId"), method, template.text) for method, template, _, op in found])
        rows: list[list[Any]] = []
        blobs: list[bytes] = []
        at = total = 0
        for (method, template, shared, operation), name in zip(found, ids, strict=True):
            detail = self._detail(template, shared, operation)
            total += len(detail)
            if total > bounds.MAX_ALL_DETAILS:
                raise SpecError("the description's operations are too large altogether")
            blob = artifact.deflate(detail)
            rows.append([name, method.upper(), template.text, *_labels(operation), at, len(blob)])
            blobs.append(blob)
            at += len(blob)
        encoded = orjson.dumps(rows)
        if len(encoded) > bounds.MAX_ROWS_BYTES:
            raise SpecError("the description's table of operations is too large")
        meta = {
            "digest": self._digest,
            "base_path": _base_path(self._document.root),
            "title": _title(self._document.root),
            "counts": dict(sorted((self._converter.counts + self._skipped).items())),
        }
        return artifact.pack(artifact.Sections(orjson.dumps(meta), encoded, b"".join(blobs)))

    def _operations(self) -> Iterator[tuple[str, Template, list[Any], Mapping[str, Any]]]:
        paths = self._document.root.get("paths")
        if not isinstance(paths, dict):
            raise SpecError("the description has no `paths`")
        count = 0
        for path, item in paths.items():
            item = self._document.resolve(item)
            if not isinstance(item, dict):
                continue
            try:
                template = parse(path)
            except TemplateError:
                self._skipped["skipped_paths"] += 1
                continue
            shared = item.get("parameters")
            for method in METHODS:
                operation = item.get(method)
                if isinstance(operation, dict):
                    count += 1
                    if count > bounds.MAX_OPERATIONS:
                        raise SpecError(f"the description has more than {bounds.MAX_OPERATIONS:,} operations")
                    yield method, template, shared if isinstance(shared, list) else [], operation

    def _detail(self, template: Template, shared: list[Any], operation: Mapping[str, Any]) -> bytes:
        refs: dict[str, None] = {}
        parameters = self._parameters(template, shared, operation, refs)
        bodies, required, body_refs = self._bodies(operation)
        self._converter.finish()
        defs = self._converter.closure((*refs, *body_refs), bounds.MAX_BODY_SCHEMA)
        if defs is None:  # the bodies go unchecked rather than the operation away
            self._skipped["oversized_bodies"] += 1
            for body in bodies.values():
                body["schema"] = {}
            defs = self._converter.closure(tuple(refs), bounds.MAX_BODY_SCHEMA)
        if defs is None:
            raise SpecError(f"the parameters of {template.text[:100]!r} have schemas that are too large")
        detail = {
            "parameters": parameters,
            "bodies": bodies,
            "body_required": required,
            "responses": self._responses(operation),
            "defs": defs,
            "description": _text(operation.get("description"), bounds.MAX_OPERATION_DESCRIPTION),
        }
        encoded = orjson.dumps(detail)
        if len(encoded) > bounds.MAX_DETAIL:
            raise SpecError(f"an operation of {template.text[:100]!r} is larger than {bounds.MAX_DETAIL:,} bytes")
        return encoded

    def _parameters(
        self, template: Template, shared: list[Any], operation: Mapping[str, Any], refs: dict[str, None]
    ) -> list[dict[str, Any]]:
        own = operation.get("parameters")
        listed = [*shared, *(own if isinstance(own, list) else [])]
        if len(listed) > bounds.MAX_PARAMETERS:
            raise SpecError(f"an operation of {template.text[:100]!r} has over {bounds.MAX_PARAMETERS} parameters")
        merged: dict[tuple[str, str], dict[str, Any]] = {}
        for entry in listed:
            parameter = self._parameter(self._document.resolve(entry), refs)
            if parameter is not None:
                merged[parameter["in"], parameter["name"]] = parameter
        names = set(template.names)
        kept = [p for (where, name), p in merged.items() if where != "path" or name in names]
        declared = {p["name"] for p in kept if p["in"] == "path"}
        kept.extend(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "style": "simple"}
            for name in template.names
            if name not in declared
        )
        return kept

    def _parameter(self, node: Any, refs: dict[str, None]) -> dict[str, Any] | None:
        if not isinstance(node, dict):
            self._skipped["skipped_parameters"] += 1
            return None
        where, name = node.get("in"), node.get("name")
        usable = isinstance(name, str) and 0 < len(name) <= bounds.MAX_NAME and name.isprintable()
        if where not in ("path", "query", "header") or not isinstance(name, str) or not usable:
            self._skipped["skipped_parameters"] += 1
            return None
        content = node.get("content")
        as_json = "schema" not in node and isinstance(content, dict) and bool(content)
        source = next(iter(content.values())) if as_json and isinstance(content, dict) else node
        schema, direct = self._converter.convert(source.get("schema", {}) if isinstance(source, dict) else {})
        refs.update(dict.fromkeys(direct))
        style = node.get("style") if node.get("style") in _STYLES[where] else _STYLES[where][0]
        explode = node["explode"] if isinstance(node.get("explode"), bool) else style == "form"
        out = {
            "name": name.rstrip("+*") if where == "path" else name,
            "in": where,
            "required": where == "path" or node.get("required") is True,
            "schema": schema,
            "style": style,
            "explode": explode,
            "json": as_json,
            "description": _text(node.get("description"), bounds.MAX_DESCRIPTION),
        }
        return {key: value for key, value in out.items() if key == "schema" or value not in (False, "")}

    def _bodies(self, operation: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], bool, tuple[str, ...]]:
        request = self._document.resolve(operation.get("requestBody"))
        content = request.get("content") if isinstance(request, dict) else None
        bodies: dict[str, dict[str, Any]] = {}
        refs: dict[str, None] = {}
        for media, entry in content.items() if isinstance(content, dict) else ():
            media = media.split(";")[0].strip().lower()
            if not _MEDIA.fullmatch(media) or not isinstance(entry, dict) or len(bodies) >= 16:
                self._skipped["skipped_media_types"] += 1
                continue
            schema, direct = self._converter.convert(entry.get("schema", {}))
            refs.update(dict.fromkeys(direct))
            bodies[media] = {"schema": schema, "parts": _part_types(entry.get("encoding"))}
        required = isinstance(request, dict) and request.get("required") is True
        return bodies, required, tuple(refs)

    def _responses(self, operation: Mapping[str, Any]) -> dict[str, list[str]]:
        declared = operation.get("responses")
        out: dict[str, list[str]] = {}
        for status, entry in list(declared.items())[:64] if isinstance(declared, dict) else ():
            entry = self._document.resolve(entry)
            content = entry.get("content") if isinstance(entry, dict) else None
            types = [m.lower() for m in content if _MEDIA.fullmatch(m)] if isinstance(content, dict) else []
            out[status[:8]] = types[:16]
        return out


def _unique_ids(found: list[tuple[Any, str, str]]) -> list[str]:
    """An id for every operation. One that is missing, unusable or shared becomes a slug of method and path.

    All bearers of a shared id lose it, so that a grant naming it covers none rather than the wrong one.
    """
    given = Counter(name for name, _, _ in found if isinstance(name, str))
    taken = {name for name, count in given.items() if count == 1}
    out: list[str] = []
    for name, method, path in found:
        if isinstance(name, str) and given[name] == 1 and _ID.fullmatch(name):
            out.append(name)
            continue
        base = slug = f"{method}_{_SLUG.sub('_', path).strip('_')}"[: bounds.MAX_NAME - 8]
        suffix = 2
        while slug in taken:
            slug = f"{base}_{suffix}"
            suffix += 1
        taken.add(slug)
        out.append(slug)
    return out


def _labels(operation: Mapping[str, Any]) -> tuple[str, list[str], bool, list[str] | None, list[str]]:
    summary = _text(operation.get("summary"), bounds.MAX_SUMMARY)
    tags = _strings(operation.get("tags"))[:16]
    groups = _strings(_extension(operation, "x-api-token-group"))
    required = _strings(_extension(operation, "x-cfPermissionsRequired"))
    return summary, tags, operation.get("deprecated") is True, groups or None, required


def _extension(operation: Mapping[str, Any], key: str) -> Any:
    """An extension of the operation itself, or of one of its other `x-` objects."""
    if key in operation:
        return operation[key]
    for name, value in operation.items():
        if name.startswith("x-") and isinstance(value, dict) and key in value:
            return value[key]
    return None


def _strings(value: Any, depth: int = 0) -> list[str]:
    """The strings of a value, however it nests them, each at most 200 characters."""
    if isinstance(value, str):
        return [value[: bounds.MAX_NAME]] if value.strip() else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [s for item in inner if depth < 4 for s in _strings(item, depth + 1)]
    return list(dict.fromkeys(found))[: bounds.MAX_LABELS]


def _part_types(encoding: Any) -> dict[str, str]:
    if not isinstance(encoding, dict):
        return {}
    types = {name: e.get("contentType") for name, e in encoding.items() if isinstance(e, dict)}
    return {n: t for n, t in types.items() if isinstance(t, str) and _MEDIA.fullmatch(t)}


def _base_path(root: Mapping[str, Any]) -> str:
    """The path of the first server, "" where there is none. Its host is never read."""
    servers = root.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else None
    url = first.get("url") if isinstance(first, dict) else None
    if not isinstance(url, str) or len(url) > bounds.MAX_TEMPLATE:
        return ""
    try:
        path = urlsplit(url).path.rstrip("/")
        return parse(path).text if path and "{" not in path else ""
    except (TemplateError, ValueError):
        return ""


def _title(root: Mapping[str, Any]) -> str:
    info = root.get("info")
    return _text(info.get("title"), 100) if isinstance(info, dict) else ""


def _text(value: Any, limit: int) -> str:
    return cut(value, limit) if isinstance(value, str) else ""

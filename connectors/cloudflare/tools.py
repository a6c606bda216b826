"""The tools of a Cloudflare connection: `NAME_search` and `NAME_execute` (programs.py), `NAME_call`, and a typed
tool per operation listed in `config.tools`.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from connectors.base import ConnectionView, Json, Tool
from connectors.cloudflare.call import index_of
from connectors.cloudflare.operations import operation_of
from connectors.cloudflare.programs import execute_tool, search_tool
from connectors.errors import UnknownOperation
from connectors.openapi.index import SpecIndex
from connectors.openapi.model import OperationRow
from connectors.openapi.schema import input_schema, schema_hash

MAX_NAME: Final = 60
RESERVED: Final = frozenset({"call", "search", "execute"})

_OTHER = re.compile(r"(?:[^A-Za-z0-9_-]|-)+")  # also runs of hyphens

CALL_DESCRIPTION: Final = (
    "Run one Cloudflare API operation as the signed-in engineer. `operation` is an operation id "
    '("dns-records-for-a-zone-list-dns-records") or a method and path template '
    '("GET /zones/{zone_id}/dns_records"), never a path with ids in it: those go in `path_params`. '
    'A zone\'s id comes from `GET /zones` with query {"name": "example.com"}. '
    "The answer is Cloudflare's own {success, errors, result}; page with query page and per_page. "
    'GraphQL analytics: operation "graphql", body {query, variables}. '
    'Uploads: body is an object of parts, a file being {"$file": {"text" or "base64", "content_type"}}. '
    'Binary bodies: {"$binary": {"base64"}}.'
)

CALL_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {
        "operation": {
            "type": "string",
            "description": 'Operation id, "METHOD /path/{template}", or "graphql".',
            "minLength": 1,
            "maxLength": 300,
        },
        "path_params": {
            "type": "object",
            "description": "Values for the template's {names}; raw, not URL-encoded.",
            "additionalProperties": True,
        },
        "query": {"type": "object", "description": "Query parameters.", "additionalProperties": True},
        "body": {"description": "Request body: JSON, or as the operation's media type needs."},
        "account_id": {
            "type": "string",
            "description": "Fills the path's account id.",
            "maxLength": 64,
        },
        "content_type": {
            "type": "string",
            "description": "Which of the operation's body types to send, where it has several.",
            "maxLength": 100,
        },
        "headers": {
            "type": "object",
            "description": "Header parameters that the operation declares, such as If-Match.",
            "additionalProperties": {"type": "string"},
        },
    },
    "required": ["operation"],
    "additionalProperties": False,
}
_CALL_HASH: Final = schema_hash(CALL_SCHEMA)

OUTPUT_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {"result": {}, "result_info": {}, "success": {}, "errors": {}, "messages": {}},
}
"""Cloudflare's envelope. No types: GraphQL, stored values and binary bodies answer objects of other kinds."""


@dataclass(frozen=True, slots=True)
class _Typed:
    """The typed tools of one configuration over one description: operations by tool name."""

    rows: Mapping[str, OperationRow]


_typed: WeakKeyDictionary[SpecIndex, dict[tuple[str, tuple[str, ...]], _Typed]] = WeakKeyDictionary()


def tools(connection: ConnectionView) -> Sequence[Tool]:
    """Every tool: the call tool first, those for programs, then the typed ones in the configuration's order."""
    found = [_call_tool(connection.name)]
    if connection.spec is not None:
        found += [search_tool(connection.name), execute_tool(connection.name, several_accounts=True)]
    found.extend(_typed_tool(connection, name, row) for name, row in typed_rows(connection).items())
    return found


def typed_rows(connection: ConnectionView) -> Mapping[str, OperationRow]:
    """Typed tool names and their operations. One that the pinned description no longer has is left out."""
    listed = tuple(connection.config.get("tools") or ())
    if not listed:
        return {}
    index = index_of(connection)
    kept = _typed.setdefault(index, {})
    key = (connection.name, listed)
    found = kept.get(key)
    if found is None:
        if len(kept) >= 256:
            kept.clear()
        found = kept[key] = _Typed(_rows(connection.name, listed, index))
    return found.rows


def missing_tools(connection: ConnectionView) -> tuple[str, ...]:
    """The entries of `config.tools` that name no operation of the pinned description."""
    index = index_of(connection)
    return tuple(ref for ref in connection.config.get("tools") or () if _find(index, ref) is None)


def tool_name(connection_name: str, operation_id: str) -> str:
    """`NAME_` and the operation id in tool-name characters; a long one is cut and gets a stable hash."""
    slug = _OTHER.sub("-", operation_id).strip("-_") or "operation"
    digest = hashlib.sha256(operation_id.encode()).hexdigest()[:8]
    if slug in RESERVED:
        slug = f"{slug}-{digest}"
    room = MAX_NAME - len(connection_name) - 1
    if len(slug) > room:
        slug = f"{slug[: room - 9].rstrip('-_')}-{digest}"
    return f"{connection_name}_{slug}"


def _rows(name: str, listed: tuple[str, ...], index: SpecIndex) -> dict[str, OperationRow]:
    rows: dict[str, OperationRow] = {}
    for ref in listed:
        row = _find(index, ref)
        if row is None or row in rows.values():
            continue
        tool = tool_name(name, row.id)
        if tool in rows:  # two ids with one slug
            tool = tool_name(name, f"{row.id}-{hashlib.sha256(row.ref.encode()).hexdigest()[:8]}")
        rows[tool] = row
    return rows


def _find(index: SpecIndex, ref: str) -> OperationRow | None:
    try:
        return index.find(ref)
    except UnknownOperation:
        return None


def _call_tool(name: str) -> Tool:
    return Tool(
        name=f"{name}_call",
        description=CALL_DESCRIPTION,
        input_schema=CALL_SCHEMA,
        effect="read",
        annotations={
            "title": "Call one Cloudflare operation",
            "readOnlyHint": False,
            "destructiveHint": True,
            "idempotentHint": False,
            "openWorldHint": True,
        },
        schema_hash=_CALL_HASH,
        output_schema=OUTPUT_SCHEMA,
    )


def _typed_tool(connection: ConnectionView, name: str, row: OperationRow) -> Tool:
    details = index_of(connection).details(row)
    operation = operation_of(row)
    schema = input_schema(details)
    text = row.summary or row.ref
    if details.description and details.description != row.summary:
        text = f"{text.rstrip('.')}. {details.description}"
    description = f"{text[:500]} ({row.ref})"
    return Tool(
        name=name,
        description=description,
        input_schema=schema,
        effect=operation.effect,
        annotations={
            "title": row.summary[:100] or row.id[:100],
            "readOnlyHint": operation.effect == "read",
            "destructiveHint": operation.effect == "destructive",
            "idempotentHint": row.method in ("GET", "HEAD", "PUT", "DELETE"),
            "openWorldHint": True,
        },
        schema_hash=schema_hash(schema),
        operation=operation,
        output_schema=OUTPUT_SCHEMA,
    )

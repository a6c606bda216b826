"""`?discover=1`: two tools in place of all, for clients that show a model every definition. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.errors import invalid

FIND: Final = "find_tools"
CALL: Final = "call_tool"
MOST: Final = 50
_DEFAULT: Final = 8
_MAX_QUERY: Final = 500

_HINTS = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}

TOOLS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": CALL,
        "title": "Call a tool",
        "description": "Runs a tool that find_tools showed, with arguments after its inputSchema.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 60},
                "arguments": {"type": "object", "additionalProperties": True},
            },
            "required": ["name"],
            "additionalProperties": False,
        },
        "annotations": {**_HINTS, "title": "Call a tool", "readOnlyHint": False, "destructiveHint": True,
                        "idempotentHint": False, "openWorldHint": True},
    },
    {
        "name": FIND,
        "title": "Find tools",
        "description": "Finds by words the tools you may use: name, description, inputSchema; and what is unavailable.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "maxLength": _MAX_QUERY, "description": "Words; empty shows the first."},
                "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": _DEFAULT},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "tools": {"type": "array", "items": {"type": "object", "required": ["name", "inputSchema"]}},
                "matching": {"type": "integer"},
                "all": {"type": "integer"},
                "unavailable": {"type": "array"},
            },
            "required": ["tools", "matching", "all"],
        },
        "annotations": {**_HINTS, "title": "Find tools"},
    },
)  # fmt: skip


def find(
    tools: Sequence[Mapping[str, Any]], unavailable: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """The tools that fit best, and how many fit at all. Raises Problem `invalid_input`."""
    query, limit = arguments.get("query"), arguments.get("limit", _DEFAULT)
    if not isinstance(query, str) or len(query) > _MAX_QUERY:
        raise invalid("query", f"must be a text of at most {_MAX_QUERY} characters")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise invalid("limit", f"must be a whole number from 1 to {MOST}")
    unknown = sorted(set(arguments) - {"query", "limit"})
    if unknown:
        raise invalid(unknown[0][:100], "is not a field here; leave it out")
    words = query.casefold().replace("_", " ").split()[:20]
    ranked = [(_score(tool, words), tool) for tool in tools]
    fitting = [pair for pair in ranked if pair[0] > 0 or not words]
    fitting.sort(key=lambda pair: (-pair[0], str(pair[1]["name"])))
    shown = [{k: tool[k] for k in ("name", "description", "inputSchema", "annotations")} for _, tool in fitting[:limit]]
    found: dict[str, Any] = {"tools": shown, "matching": len(fitting), "all": len(tools)}
    if unavailable:
        found["unavailable"] = list(unavailable)[:MOST]
    return found


def read_call(arguments: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The tool that `call_tool` is to run, and its arguments. Raises Problem `invalid_input`."""
    name, inner = arguments.get("name"), arguments.get("arguments")
    if not isinstance(name, str) or not 0 < len(name) <= 60:
        raise invalid("name", "must be the name of a tool that find_tools showed")
    if inner is not None and not isinstance(inner, dict):
        raise invalid("arguments", "must be an object")
    unknown = sorted(set(arguments) - {"name", "arguments"})
    if unknown:
        raise invalid(unknown[0][:100], "is not a field here; a tool's own input goes into `arguments`")
    return name, inner or {}


def _score(tool: Mapping[str, Any], words: Sequence[str]) -> int:
    name = str(tool["name"]).casefold()
    title = str(tool.get("title", "")).casefold()
    description = str(tool["description"]).casefold()
    return sum(4 * (word in name) + 2 * (word in title) + (word in description) for word in words)

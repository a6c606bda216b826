"""`?codemode=search_and_execute`: the definitions of its two tools, which stand in place of all others. Pure.

A model pays for them at each turn, and for nothing else: however many connections and tools there are, they are looked
up by `search`. Together they cost at most 600 tokens (o200k; a test counts).
"""

from collections.abc import Mapping
from typing import Any, Final

MAX_CODE: Final = 262_144

SEARCH_DESCRIPTION: Final = (
    "Find what you can do, on all connections. `query`: ranked tools and API operations. `code`: JavaScript "
    "`async () => {…}` over codemode.tools() = [{name, connection, description, inputSchema, annotations, available, "
    'reason?}], codemode.tool(name), and per API connection, all awaited: connections["NAME"].find(words, {method, '
    'product, limit}), .operation("GET /path" or id), .operations({product}), .products(), .whoami(). Return little.'
)
EXECUTE_DESCRIPTION: Final = (
    "Run JavaScript `async () => {…}` with your tools; no credentials needed. `await codemode.<tool>(args)` calls a "
    'tool (also codemode["name-with-dash"]), JSON comes parsed. `await connections["NAME"].request({method, path, '
    "query, body, contentType, rawBody})` calls that API: {success, result, result_info, status}; "
    '`for await (const item of connections["NAME"].paginate(path, {query, limit}))`. Promise.all runs 8 at once. '
    "Failures throw {message, code, status, hint, retryAfter}. `await previous(execution_id)` is an earlier answer in "
    "full. console.log is returned. dry_run stops at the first write and shows it. Return only what is needed."
)

_CODE: Final[Mapping[str, Any]] = {"type": "string", "minLength": 1, "maxLength": MAX_CODE}
OUTPUT_SCHEMA: Final[Mapping[str, Any]] = {"type": "object", "description": "`result` holds what is no object."}

TOOLS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": "execute",
        "title": "Run code with your tools",
        "description": EXECUTE_DESCRIPTION,
        "inputSchema": {
            "type": "object",
            "properties": {
                "code": _CODE,
                "dry_run": {"type": "boolean"},
                "intent": {"type": "string", "maxLength": 500, "description": "Why, in one sentence."},
            },
            "required": ["code"],
            "additionalProperties": False,
        },
        "outputSchema": OUTPUT_SCHEMA,
        "annotations": {"readOnlyHint": False, "destructiveHint": True, "openWorldHint": True},
    },
    {
        "name": "search",
        "title": "Search tools and APIs",
        "description": SEARCH_DESCRIPTION,
        "inputSchema": {
            "type": "object",
            "properties": {"code": _CODE, "query": {"type": "string", "minLength": 1, "maxLength": 300}},
            "additionalProperties": False,
        },
        "outputSchema": OUTPUT_SCHEMA,
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
)

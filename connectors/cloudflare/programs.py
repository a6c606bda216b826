"""`NAME_search` and `NAME_execute`: what a model is told of Code Mode, and what a credential's policies say of accounts
and zones. Every word is paid for at each turn of a conversation: both definitions together stay within 1,000 tokens.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from connectors.base import Json, Permissions, Tool
from connectors.openapi.schema import schema_hash

MAX_CODE: Final = 262_144
MAX_NAMED: Final = 50
"""So many accounts or zones are worth naming to a program."""

_ACCOUNT: Final = "com.cloudflare.api.account."
_ZONE: Final = "com.cloudflare.api.account.zone."

SEARCH_DESCRIPTION: Final = (
    "Find Cloudflare API operations. Give exactly one of: `query` (ranked operations for words), `operation` (one "
    "operation's parameters, body and an example), `code`. `code` is JavaScript `async () => {…}` over "
    "spec.paths[path][method] = {summary, description, tags (product first), operationId, parameters, requestBody, "
    "responses, permissions, effect}, all $refs resolved; op.$text is its JSON in lower case. Helpers: "
    'find(words, {method, tag, product, limit}), operation(id or "GET /path"), products(), whoami() (identity, '
    "accounts, zones, access, budget). Only what you may use is there; `hidden` counts the rest. Return little: "
    '`async () => find("list dns records").map(o => o.method + " " + o.path)`.'
)

EXECUTE_DESCRIPTION: Final = (
    "Run JavaScript against the Cloudflare API as the signed-in engineer. No credential is needed. "
    "`await cloudflare.request({method, path, query, body, contentType, rawBody, headers})`, path without host, "
    "such as `/zones/${zoneId}/dns_records`; resolves to {success, result, result_info, status}. "
    "`for await (const item of cloudflare.paginate(path, {query, limit}))` walks pages. Promise.all runs 8 at once. "
    'GraphQL: POST "/graphql", body {query, variables}. Binary bodies are Uint8Array; for a Worker upload pass the '
    "multipart text with contentType and rawBody: true. Failures throw CloudflareError {status, errors, code, hint, "
    "retryAfter, ray}. `accountId` is set when one account is known. `await previous(execution_id)` is an earlier "
    "answer of yours in full. console.log is returned. Return only what is needed, e.g. `async () => (await "
    'cloudflare.request({path: "/zones"})).result.map(z => [z.id, z.name])`.'
)

SEARCH_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "maxLength": MAX_CODE},
        "query": {"type": "string", "minLength": 1, "maxLength": 300, "description": "Such as: purge cache by url"},
        "operation": {"type": "string", "minLength": 1, "maxLength": 300, "description": "An id or METHOD /path"},
    },
    "additionalProperties": False,
}
EXECUTE_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "minLength": 1, "maxLength": MAX_CODE, "description": "async () => {…}"},
        "intent": {"type": "string", "maxLength": 500, "description": "Why, in one sentence; for the audit."},
    },
    "required": ["code"],
    "additionalProperties": False,
}
ACCOUNT_PROPERTY: Final[Mapping[str, Json]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "description": "Sets `accountId`.",
}


OUTPUT_SCHEMA: Final[Mapping[str, Json]] = {"type": "object"}
"""True of every answer: of what else there is, nothing is promised."""


def search_tool(connection_name: str) -> Tool:
    return Tool(
        name=f"{connection_name}_search",
        description=SEARCH_DESCRIPTION,
        input_schema=SEARCH_SCHEMA,
        effect="read",
        annotations={"title": "Search the Cloudflare API", "readOnlyHint": True, "openWorldHint": False},
        schema_hash=schema_hash(SEARCH_SCHEMA),
        kind="search",
        output_schema=OUTPUT_SCHEMA,
    )


def execute_tool(connection_name: str, *, several_accounts: bool) -> Tool:
    """`account_id` is in the schema only where it has a meaning: the credential may reach several accounts."""
    schema = EXECUTE_SCHEMA
    if several_accounts:
        schema = {**schema, "properties": {**schema["properties"], "account_id": ACCOUNT_PROPERTY}}
    return Tool(
        name=f"{connection_name}_execute",
        description=EXECUTE_DESCRIPTION,
        input_schema=schema,
        effect="read",
        annotations={"title": "Run code against Cloudflare", "idempotentHint": False, "openWorldHint": True},
        schema_hash=schema_hash(schema),
        kind="execute",
        output_schema=OUTPUT_SCHEMA,
    )


def reachable(permissions: Permissions, kind: Literal["accounts", "zones"]) -> tuple[str, ...] | None:
    """The ids of a kind that the policies name, None where they may reach any, or are not known."""
    if permissions.source != "policies" or not permissions.policies:
        return None
    found: dict[str, None] = {}
    for policy in permissions.policies:
        if policy.get("effect") == "deny":
            continue
        ids = _ids(policy.get("resources"), kind)
        if ids is None:
            return None
        found.update(dict.fromkeys(ids))
    return tuple(found)[:MAX_NAMED]


def _ids(resources: Any, kind: str) -> Iterable[str] | None:
    """Of one policy; None: any."""
    if not isinstance(resources, dict):
        return None
    found: list[str] = []
    for key, value in resources.items():
        nested = value if isinstance(value, dict) else {}
        if key.startswith(_ZONE):
            found += [key[len(_ZONE) :]] if kind == "zones" else []
        elif key.startswith(_ACCOUNT) and kind == "accounts":
            found.append(key[len(_ACCOUNT) :])
        elif key.startswith(_ACCOUNT):
            within = [k[len(_ZONE) :] for k in nested if k.startswith(_ZONE)]
            found += within if within or nested else ["*"]
        elif key == "*":
            return None
    return None if "*" in found else found

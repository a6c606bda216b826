"""Programs' tools as one caller is offered them. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from broker.accounts.views import View
from broker.domain import Account
from broker.policy.reach import Reach
from broker.tools.codemode.searching import known_account
from connectors.base import Permissions, Tool
from connectors.openapi.schema import schema_hash

ACCOUNT = "account_id"


def is_search(tool_name: str) -> bool:
    """Whether a tool of this name can be one that searches a description."""
    return tool_name.partition("_")[2] == "search"


def offered(tool: Tool, view: View, account: Account | None, permissions: Permissions) -> Tool:
    """The tool as this caller may use it: `account_id` only where the credential may reach several accounts."""
    if tool.kind == "execute" and known_account(view, account, permissions) is not None:
        return without_account(tool)
    return tool


def without_account(tool: Tool) -> Tool:
    """The tool for a credential of one account."""
    schema = dict(tool.input_schema)
    properties: Mapping[str, Any] = schema.get("properties", {})
    if ACCOUNT not in properties:
        return tool
    schema["properties"] = {name: value for name, value in properties.items() if name != ACCOUNT}
    return replace(tool, input_schema=schema, schema_hash=schema_hash(schema))


def annotations(tool: Tool, reach: Reach) -> dict[str, Any]:
    """MCP tool annotations, as true for this caller: a reader's programs read only, whatever they try."""
    if tool.kind == "search":
        return dict(tool.annotations)
    return {
        **tool.annotations,
        "readOnlyHint": reach.access == "read",
        "destructiveHint": reach.access == "destructive",
    }

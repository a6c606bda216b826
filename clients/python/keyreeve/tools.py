"""The requests of tools, executions and sessions. Pure."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from keyreeve.ask import Ask, get, segment, send, wrong
from keyreeve.models import Tool, ToolList, ToolResult, Unavailable
from keyreeve.records import ConnectLink, Execution, MadeSession
from keyreeve.wire import encode

EXECUTE = "/v1/tools/execute"
PAGE = 1000


class _Definition(Struct, frozen=True):
    description: str = ""
    input_schema: dict[str, Any] = {}
    annotations: dict[str, Any] = {}


class _Scoped(Struct, frozen=True, kw_only=True):
    name: str
    connection_name: str
    connected_account_id: str | None = None
    effect: str = "destructive"
    schema_hash: str = ""
    definition: _Definition = _Definition()


class ScopedPage(Struct, frozen=True):
    """One page of `list_scoped_tools` as it travels."""

    tools: list[_Scoped] = []
    unavailable: list[Unavailable] = []
    next_page_token: str | None = None


def scoped(identifier: str | None, connection_name: str | None, page_token: str | None) -> Ask[ScopedPage]:
    """One page of the tools."""
    query = {"identifier": identifier, "connection_name": connection_name, "page_token": page_token}
    return get("/v1/tools/scoped", ScopedPage, **query, page_size=PAGE)


def joined(pages: Sequence[ScopedPage]) -> ToolList:
    """All pages as one list."""
    return ToolList(
        tools=tuple(_tool(tool) for page in pages for tool in page.tools),
        unavailable=tuple(missing for page in pages for missing in page.unavailable),
    )


def _tool(found: _Scoped) -> Tool:
    return Tool(
        name=found.name,
        connection_name=found.connection_name,
        connected_account_id=found.connected_account_id,
        effect=found.effect,
        schema_hash=found.schema_hash,
        description=found.definition.description,
        input_schema=found.definition.input_schema,
        annotations=found.definition.annotations,
    )


def execute(
    tool_name: str, tool_input: Mapping[str, Any] | None, *, dry_run: bool, as_content: bool, **fields: Any
) -> Ask[ToolResult]:
    """One `execute_tool`. `fields` are the request's other members; None leaves one out. Raises InvalidInput."""
    body: dict[str, Any] = {"tool_name": tool_name, "tool_input": {} if tool_input is None else tool_input}
    body.update({name: value for name, value in fields.items() if value is not None})
    if dry_run:
        body["dry_run"] = True
    if as_content:
        body["as"] = "content"
    key = fields.get("idempotency_key")
    if key == "":
        raise wrong("idempotency_key", "must not be empty")
    return Ask("POST", EXECUTE, ToolResult, encode(body), key is not None or dry_run, key)


def chosen_key(given: str | None, make_one: bool) -> str | None:
    """The idempotency key given, else one of the client's own where it is to make one."""
    return new_idempotency_key() if given is None and make_one else given


def new_idempotency_key() -> str:
    """A fresh key for one intended call: sent again with the same key, it still runs once."""
    return os.urandom(16).hex()


def execution(execution_id: str) -> Ask[Execution]:
    """What became of an execution."""
    return get(f"/v1/executions/{segment('execution_id', execution_id)}", Execution)


def mint(
    identifier: str | None, connections: Sequence[str] | None, access: str | None, ttl_seconds: int | None
) -> Ask[MadeSession]:
    """A new session."""
    body = {"identifier": identifier, "connections": connections, "access": access, "ttl_seconds": ttl_seconds}
    return send("POST", "/v1/sessions", MadeSession, body)


def connect_link(connection_name: str, identifier: str | None) -> Ask[ConnectLink]:
    """A page on which an engineer deposits a credential."""
    return send(
        "POST", "/v1/connect_links", ConnectLink, {"connection_name": connection_name, "identifier": identifier}
    )

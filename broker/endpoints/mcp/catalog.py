"""`tools/list`: the caller's own tools in MCP's words, encoded once for each state of what they are made of.

The key of a kept list is everything a listing depends on, as one look-up has just read it: there is nothing to
invalidate, and a list costs that look-up.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from broker.domain import Resolved
from broker.endpoints.mcp import discovery, portal_tools
from broker.endpoints.mcp.answers import listing
from broker.endpoints.mcp.connecting import SUFFIX, connect_tool, connectable
from broker.endpoints.mcp.message import Message
from broker.endpoints.mcp.rpc import INVALID_PARAMS, Refused
from broker.endpoints.mcp.visit import Visit

if TYPE_CHECKING:
    from broker.services import Services

PAGE: Final = 250
"""Tools in one answer. Most clients read no second page well; few callers have that many."""

MAX_TOOLS: Final = 5000
MAX_STATES: Final = 20_000
MAX_PARTS: Final = 200_000
"""Connections, accounts, grants with their lists, and named tools in the keys of all states, about 250 bytes each: a
key holds on to them, and whoever may ask can make as many keys as there are URLs."""
KEPT_BYTES: Final = 64 * 1024 * 1024
"""Of contents, estimated with what stands beside the encoded form."""

Tool = Mapping[str, Any]
_Key = tuple[Any, ...]
_INSTEAD: Final[Mapping[str, Sequence[Tool]]] = {"discover": discovery.TOOLS, "codemode": portal_tools.TOOLS}
"""What a shape lists in place of the tools themselves."""


@dataclass(slots=True, eq=False)
class Listed:
    """A caller's tools, by name, and what stands in the way of others. Equal lists of different callers are one."""

    tools: tuple[Tool, ...]
    unavailable: tuple[Mapping[str, Any], ...]
    by_name: Mapping[str, Tool]
    size: int
    pages: dict[tuple[str | None, bool, str], bytes] = field(default_factory=dict)


class Catalog:
    """The lists kept in this process: which content each state has, and the contents, within `KEPT_BYTES`."""

    def __init__(self, services: "Services") -> None:
        self._services = services
        self._states: OrderedDict[_Key, tuple[bytes, datetime | None]] = OrderedDict()
        self._contents: OrderedDict[bytes, Listed] = OrderedDict()
        self._bytes = 0
        self._parts = 0

    async def listed(self, visit: Visit, resolved: Resolved) -> Listed:
        """What the caller may use through this URL. `resolved` is a look-up of now, for the place's connection.

        Raises Problem: those of listing.
        """
        caller = resolved.caller
        key = (
            caller.tenant_id,
            caller.policy_version,
            None if caller.identity is None else caller.identity.id,
            caller.bearer.restrictions,
            resolved.connections,
            resolved.accounts,
            resolved.grants,
            visit.place.connection,
            visit.options,
        )
        digest, until = self._states.get(key, (b"", None))
        kept = self._contents.get(digest)
        if kept is not None and (until is None or until > caller.now):
            self._states.move_to_end(key)
            self._contents.move_to_end(digest)
            return kept
        digest, made = await self._make(visit, resolved, alone=await self._alone(visit, resolved))
        self._remember(key, digest, _until(resolved))
        return self._keep(digest, made)

    def _remember(self, key: _Key, digest: bytes, until: datetime | None) -> None:
        if key not in self._states:
            self._parts += _parts(key)
        self._states[key] = digest, until
        while len(self._states) > 1 and (len(self._states) > MAX_STATES or self._parts > MAX_PARTS):
            gone, _ = self._states.popitem(last=False)
            self._parts -= _parts(gone)

    def page(self, listed: Listed, message: Message, *, shape: str) -> bytes:
        """One page of it, encoded. Raises Refused for a cursor that is not one of ours."""
        cursor = message.params.get("cursor")
        if cursor is not None and not isinstance(cursor, str):
            raise Refused(INVALID_PARAMS, "cursor must be a string")
        key = (cursor, message.modern, shape)
        found = listed.pages.get(key)
        if found is None:
            tools, unavailable = _INSTEAD.get(shape, listed.tools), listed.unavailable
            found = _page(tools, () if shape == "codemode" else unavailable, message, cursor)
            # Cursors are the client's words: only those that a full list needs are worth keeping.
            if len(listed.pages) <= MAX_TOOLS // PAGE:
                listed.pages[key] = found
        return found

    async def _alone(self, visit: Visit, resolved: Resolved) -> bool:
        """Whether the place's connection wants its tools called as its server calls them."""
        for connection in resolved.connections:
            if connection.name == visit.place.connection and connection.connector == "mcp":
                view = await self._services.views.connection(resolved.caller.tenant_id, connection)
                return view.config.get("prefix") is False
        return False

    async def _make(self, visit: Visit, resolved: Resolved, *, alone: bool) -> tuple[bytes, Listed]:
        asked = visit.asked(visit.place.connection)
        tools: list[Tool] = []
        unavailable: list[Mapping[str, Any]] = []
        token = None
        while len(tools) < MAX_TOOLS:
            raw = await self._services.listing.list_scoped_tools(visit.token, asked, page_size=1000, page_token=token)
            found = orjson.loads(raw)
            outputs = self._outputs(resolved)  # of views that the listing has just read
            tools += [_tool(t, outputs.get(t["name"])) for t in found["tools"]]
            unavailable += found["unavailable"]
            token = found["next_page_token"]
            if token is None:
                break
        tools += [connect_tool(u) for u in unavailable if connectable(u)]
        tools = [t for t in tools if shows(visit, t["name"])]
        if alone:
            tools = [{**t, "name": short_name(visit, t["name"])} for t in tools]
        shown = tuple(sorted(tools, key=lambda t: str(t["name"])))
        encoded = orjson.dumps([shown, unavailable])
        listed = Listed(shown, tuple(unavailable), {str(t["name"]): t for t in shown}, len(encoded) * 6)
        return hashlib.sha256(encoded).digest(), listed

    def _outputs(self, resolved: Resolved) -> dict[str, Mapping[str, Any]]:
        """What is known of the tools' structured content, by name."""
        views = [self._services.views.peek_connection(connection) for connection in resolved.connections]
        tools = (tool for view in views if view is not None for tool in view.tools)
        return {tool.name: tool.output_schema for tool in tools if tool.output_schema is not None}

    def _keep(self, digest: bytes, made: Listed) -> Listed:
        kept = self._contents.get(digest)
        if kept is not None:
            return kept
        self._contents[digest] = made
        self._bytes += made.size
        while self._bytes > KEPT_BYTES and len(self._contents) > 1:
            _, gone = self._contents.popitem(last=False)
            self._bytes -= gone.size
        return made


def shows(visit: Visit, tool_name: str) -> bool:
    """Whether the URL leaves this tool: it is of the place's connection and, where tools are named, among them or the
    way to an account for one of them."""
    connection, _, tool = tool_name.partition("_")
    if visit.place.connection not in (None, connection):
        return False
    tools = visit.options.tools
    if tools is None or tool_name in tools:
        return True
    return f"_{tool}" == SUFFIX and any(name.startswith(f"{connection}_") for name in tools)


def short_name(visit: Visit, tool_name: str) -> str:
    """A tool's name without its connection's, where that still says which one is meant."""
    before = f"{visit.place.connection}_"
    short = tool_name.removeprefix(before)
    return tool_name if short.startswith(before) or f"_{short}" == SUFFIX else short


def full_name(visit: Visit, tool_name: str) -> str:
    """A tool's name with its connection's: where the URL names the connection, a call may leave that out."""
    before = f"{visit.place.connection}_"
    return tool_name if visit.place.connection is None or tool_name.startswith(before) else before + tool_name


def _parts(key: _Key) -> int:
    """How much a key holds on to."""
    *_, connections, accounts, grants, _, options = key
    lists = sum(len(x or ()) for g in grants for x in (g.tools, g.operations, g.accounts, g.zones))
    return 1 + len(connections) + len(accounts) + len(grants) + lists + len(options.tools or ())


def _until(resolved: Resolved) -> datetime | None:
    now = resolved.caller.now
    return min((g.expires_at for g in resolved.grants if g.expires_at is not None and g.expires_at > now), default=None)


def _tool(scoped: Mapping[str, Any], output: Mapping[str, Any] | None) -> Tool:
    """A scoped tool in MCP's words. Where several accounts fit, the model may say which."""
    definition = scoped["definition"]
    annotations = definition["annotations"]
    schema = definition["input_schema"]
    if scoped["connected_account_id"] is None:
        account = {"type": "string", "description": "Which connected account to use; an error lists them."}
        schema = {**schema, "properties": {**schema.get("properties", {}), "connected_account_id": account}}
    tool = {
        "name": definition["name"],
        "title": annotations.get("title", definition["name"]),
        "description": definition["description"],
        "inputSchema": schema,
        "annotations": annotations,
    }
    if output is not None:
        tool["outputSchema"] = output
    return tool


def _page(
    tools: Sequence[Tool], unavailable: Sequence[Mapping[str, Any]], message: Message, cursor: str | None
) -> bytes:
    start = 0
    if cursor is not None:
        # The cursor is the name it goes on after: it means the same in a list that has changed since.
        if not 0 < len(cursor) <= 100:
            raise Refused(INVALID_PARAMS, "cursor is not one that this server gave")
        start = next((n for n, tool in enumerate(tools) if str(tool["name"]) > cursor), len(tools))
    shown = tools[start : start + PAGE]
    result: dict[str, Any] = {"tools": list(shown)}
    if start + PAGE < len(tools):
        result["nextCursor"] = shown[-1]["name"]
    if unavailable and cursor is None:
        result["_meta"] = {"keyreeve/unavailable": list(unavailable)}
    return listing(message, result)

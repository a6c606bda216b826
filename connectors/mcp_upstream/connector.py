"""The MCP connector: implements `connectors.base.Connector` with the parts beside it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, Final
from weakref import WeakKeyDictionary

import orjson

from connectors.auth import headers_for
from connectors.base import (
    Answer,
    ConnectionView,
    CredentialKind,
    Effect,
    HttpSender,
    Json,
    Meter,
    Operation,
    Perform,
    Permissions,
    Permit,
    Prepared,
    Tool,
    UpstreamIdentity,
)
from connectors.errors import (
    FieldProblem,
    InvalidInput,
    PayloadTooLarge,
    UnknownOperation,
)
from connectors.mcp_upstream import config as settings
from connectors.mcp_upstream import dialogue, fetching, passing, rounds, wire
from connectors.mcp_upstream.answer import clean, read_answer
from connectors.mcp_upstream.config import split_url
from connectors.mcp_upstream.definitions import Definition, Definitions, Pinned
from connectors.mcp_upstream.fetching import METER
from connectors.mcp_upstream.line import Line
from connectors.mcp_upstream.naming import EXTRAS
from connectors.mcp_upstream.oauth import renewal
from connectors.mcp_upstream.sessions import Client, Sessions
from connectors.mcp_upstream.streams import LISTENER, AnswerWatch
from vault.secret import Secret

MAX_REQUEST: Final = 1_048_576  # bytes of one message
LARGE_ANSWER: Final = 256 * 1024  # bytes; reading more would hold up every other call
CHANGED: Final = "its definition has changed at the server, or its text was flagged; an admin must accept it first"

PERMISSIONS_HELP: Final = "What the server's documentation says its tools need; Keyreeve cannot read it from the token."


class McpConnector:
    """One instance serves every connection. Its only state are the sessions of older servers."""

    name: str = "mcp"
    title: str = "MCP server"
    # Budgets are never merged across tenants, and no rate of the installation's own is kept towards any of them.
    official_origins: tuple[str, ...] = ()
    kinds: tuple[CredentialKind, ...] = settings.KINDS
    meters: tuple[Meter, ...] = (METER,)
    needs_spec: bool = False
    config_help: Mapping[str, str] = settings.CONFIG_HELP
    permissions_help: str = PERMISSIONS_HELP

    def __init__(self) -> None:
        self._sessions = Sessions()
        self._ids = count(1)
        self._named: WeakKeyDictionary[Definitions, dict[str, Mapping[str, Definition]]] = WeakKeyDictionary()

    def check_config(self, config: Mapping[str, Json]) -> Mapping[str, Json]:
        return settings.check_config(config)

    def origins(self, config: Mapping[str, Json]) -> tuple[str, ...]:
        return (split_url(config["url"]).origin,)

    def check_credential(self, credential: Mapping[str, Json]) -> tuple[str, bytes, tuple[str, ...]]:
        return settings.check_credential(credential)

    async def verify(
        self,
        connection: ConnectionView,
        kind: str,  # noqa: ARG002 - every kind is tried in the same way
        credential: Mapping[str, Json],  # noqa: ARG002
        perform: Perform,
    ) -> UpstreamIdentity:
        """A server does not say whose credential it is: all accounts of the connection count as one principal, and
        their budget is the connection's."""
        server = split_url(connection.config["url"])
        await fetching.check(server, perform)
        return UpstreamIdentity(principal=f"connection:{connection.name}", display=server.origin.partition("://")[2])

    async def fetch(self, connection: ConnectionView, perform: Perform) -> Definitions:
        """The server's definitions as they are now. Raises UpstreamFault, SpecError."""
        return await fetching.fetch(split_url(connection.config["url"]), perform)

    def tools(self, connection: ConnectionView) -> Sequence[Tool]:
        pinned = _pinned(connection)
        if pinned is None:
            return ()
        return [
            _tool(name, definition, connection.config, held=definition.name in pinned.held)
            for name, definition in self._by_name(connection, pinned).items()
        ]

    def unlisted(self, connection: ConnectionView) -> Sequence[Tool]:
        """The tools that no list shows: prompts, resources and completions run under them."""
        pinned = _pinned(connection)
        return () if pinned is None else passing.unlisted(connection, pinned)

    def missing_tools(self, connection: ConnectionView) -> tuple[str, ...]:  # noqa: ARG002
        """None: which tools there are is known only once somebody has connected an account."""
        return ()

    def prepare(self, connection: ConnectionView, tool_name: str, tool_input: Mapping[str, Json]) -> Prepared:
        pinned = _pinned(connection)
        definition = None if pinned is None else self._by_name(connection, pinned).get(tool_name)
        kind = tool_name.removeprefix(f"{connection.name}_")
        if pinned is not None and definition is None and kind in EXTRAS:
            return self._prepared(connection, pinned, tool_name, *passing.asked(pinned, kind, tool_input))
        if pinned is None or definition is None:
            raise InvalidInput([FieldProblem("tool_name", "is not a tool of this connection")])
        if definition.name in pinned.held:
            raise InvalidInput([FieldProblem("tool_name", CHANGED)])
        params = {"name": definition.name, "arguments": dict(tool_input)}
        mirrored = _mirrored(definition, tool_input) if wire.modern(pinned.definitions.version) else ()
        operation = _operation(definition, connection.config)
        return self._prepared(
            connection, pinned, tool_name, operation, "tools/call", params, definition.name, headers=mirrored
        )

    def _prepared(
        self,
        connection: ConnectionView,
        pinned: Pinned,
        tool_name: str,
        operation: Operation,
        method: str,
        params: Mapping[str, Json],
        name: str | None,
        *,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Prepared:
        """One request, in the round that is under way for this tool, if any."""
        server = split_url(connection.config["url"])
        version = pinned.definitions.version
        round_ = rounds.round_for(tool_name)
        meta = None if round_ is None else rounds.meta(round_, connection.config, modern=wire.modern(version))
        if round_ is not None and round_.passed:
            params = {**params, **rounds.answers(round_)}
        try:
            shown, body = wire.request(version, method, params, name=name, meta=meta)
        except orjson.JSONEncodeError:
            raise InvalidInput([FieldProblem("", "holds a number or a text that JSON cannot carry")]) from None
        if len(body) > MAX_REQUEST:
            raise PayloadTooLarge(MAX_REQUEST)
        if round_ is not None:
            round_.sent = body
        called = method == "tools/call"
        return Prepared(
            operation=operation,
            method="POST",
            origin=server.origin,
            path=server.path,
            query=server.query,
            headers=(*shown, *headers),
            body=body,
            meters=(METER,),
            summary={"tool": name} if called else passing.summary(operation, params),
        )

    def operation(self, connection: ConnectionView, ref: str) -> Operation:
        pinned = _pinned(connection)
        for definition in () if pinned is None else pinned.definitions.tools:
            found = _operation(definition, connection.config)
            if ref.strip() in (found.id, found.ref):
                return found
        raise UnknownOperation(ref)

    def nearest(self, connection: ConnectionView, asked: str, allow: Callable[[Operation], bool]) -> Sequence[str]:  # noqa: ARG002
        """None: every operation is a tool, and the nearest tools are told already."""
        return ()

    def permit(self, prepared: Prepared, permissions: Permissions) -> Permit:  # noqa: ARG002
        return Permit("unknown")

    def lacks(self, operation: Operation, permissions: Permissions) -> str | None:  # noqa: ARG002
        return None

    async def send(
        self,
        http: HttpSender,
        prepared: Prepared,
        kind: str,
        secret: Secret,
        *,
        allowed_origins: Sequence[str],
        timeout_seconds: float,
    ) -> Answer:
        """Sends it, once. Towards an older server a handshake may come before it, within the same deadline."""
        if prepared.operation.id in (renewal.REFRESH, renewal.REVOKE):
            return await renewal.send(http, prepared, secret)
        authorisation = headers_for(kind, secret)
        line = Line(http, prepared, authorisation, allowed_origins, monotonic() + timeout_seconds)
        cleaned = partial(clean, needles=authorisation.needles)
        listener = LISTENER.get()
        heard = None if listener is None else lambda message: listener(cleaned(message))
        body = prepared.body or b""
        if wire.modern(dict(prepared.headers).get("MCP-Protocol-Version", wire.MODERN)):
            id_ = next(self._ids)
            raw = await line.post(prepared.headers, wire.with_id(body, id_), AnswerWatch(id_, heard))
        else:
            round_ = rounds.round_of(prepared)
            client = Client(round_.passed, round_.client) if round_ is not None and round_.passed else Client()
            ask = partial(dialogue.ask, line=line, heard=heard, clean=cleaned, round_=round_)
            raw, id_ = await self._sessions.send(line, client, body, ask)
        if len(raw.body) > LARGE_ANSWER:
            return await asyncio.to_thread(read_answer, prepared, raw, id_, authorisation.needles)
        return read_answer(prepared, raw, id_, authorisation.needles)

    def learn(self, prepared: Prepared, answer: Answer) -> str | None:  # noqa: ARG002
        return None

    def _by_name(self, connection: ConnectionView, pinned: Pinned) -> Mapping[str, Definition]:
        kept = self._named.setdefault(pinned.definitions, {})
        found = kept.get(connection.name)
        if found is None:
            found = kept[connection.name] = pinned.definitions.named(connection.name)
        return found


def _pinned(connection: ConnectionView) -> Pinned | None:
    spec: Any = connection.spec
    return spec if isinstance(spec, Pinned) else None


def _effect(definition: Definition, config: Mapping[str, Json]) -> Effect:
    """An admin's word makes a tool a read; the server's own can only make it worse than a write."""
    reads = config["read_tools"]
    if reads != "annotated" and definition.name in reads:
        return "read"
    if definition.annotations.get("readOnlyHint") is True and reads == "annotated":
        return "read"
    return "destructive" if definition.annotations.get("destructiveHint") is True else "write"


def _operation(definition: Definition, config: Mapping[str, Json]) -> Operation:
    # `annotated`: whoever grants writes on such a connection grants tools that an admin has accepted one by one.
    return Operation(
        id=f"tool:{definition.name}",
        method="POST",
        path=f"/tools/{definition.name.replace('/', '~')}",
        effect=_effect(definition, config),
        summary=definition.title,
        annotated=True,
    )


def _tool(name: str, definition: Definition, config: Mapping[str, Json], *, held: bool) -> Tool:
    operation = _operation(definition, config)
    title = definition.title or definition.name
    hints = {k: v for k, v in definition.annotations.items() if k in ("idempotentHint", "openWorldHint")}
    return Tool(
        name=name,
        description=definition.description or title,
        input_schema=definition.input_schema,
        effect=operation.effect,
        annotations={
            "title": title,
            "readOnlyHint": operation.effect == "read",
            "destructiveHint": operation.effect == "destructive",
            **hints,
        },
        schema_hash=definition.digest[:16],
        operation=operation,
        held=CHANGED if held else None,
        output_schema=definition.output_schema,
    )


def _mirrored(definition: Definition, tool_input: Mapping[str, Json]) -> list[tuple[str, str]]:
    """The arguments that the server wants in headers too (2026-07-28, transports, `Mcp-Param-…`)."""
    found = []
    for name, header in definition.headers.items():
        value = tool_input.get(name)
        if isinstance(value, bool):
            value = "true" if value else "false"
        if isinstance(value, int | str):
            found.append((f"Mcp-Param-{header}", wire.header_value(str(value)[:4_096])))
    return found

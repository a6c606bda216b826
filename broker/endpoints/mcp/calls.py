"""`tools/call`: the one `ToolRunner` that REST uses, in MCP's words.

Whatever goes wrong once the caller is known is a result with `isError`, for the model to read; only a tool that is not
there, and a message that breaks the protocol, are JSON-RPC errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.domain import CONNECTION_NAME, Caller, Resolved
from broker.endpoints.mcp import challenge, discovery, portal, rounds
from broker.endpoints.mcp.answers import Json, complete, plain, refusal, text_block, tool_result
from broker.endpoints.mcp.catalog import Catalog, Listed, full_name, shows
from broker.endpoints.mcp.connecting import CODES, SUFFIX, answered, asks_in_browser, connectable, question
from broker.endpoints.mcp.recording import record
from broker.endpoints.mcp.relay import Relay
from broker.endpoints.mcp.rounds import Brought, brought, wanted
from broker.endpoints.mcp.rpc import INVALID_PARAMS, Refused
from broker.endpoints.mcp.visit import META_DEADLINE, META_IDEMPOTENCY, META_INTENT, Visit, seconds_of, text_of
from broker.endpoints.rest.problems import fault
from broker.errors import Problem, invalid
from broker.ids import parse_id
from broker.tools.request import TOOL_NAME, ExecuteRequest
from broker.tools.results import Result, dumps

if TYPE_CHECKING:
    from broker.services import Services

MAX_WAIT_SECONDS: Final = 10.0
"""How long a call queues for budget before it is told to wait."""


def told_of(problem: Problem) -> str:
    """A refusal in one line."""
    return problem.detail if problem.hint is None else f"{problem.detail}; {problem.hint}"


class NotThere(Exception):
    """The caller has no such tool."""

    def __init__(self, told: str) -> None:
        self.told = told
        super().__init__(told)


def connection_asked(name: str) -> str:
    """The connection that a tool's name begins with, or what asks for none."""
    connection, underscore, rest = name.partition("_")
    return connection if underscore and rest and CONNECTION_NAME.match(connection) else ""


def read_params(params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The tool's name and its arguments. Raises Refused."""
    name, arguments = params.get("name"), params.get("arguments")
    if not isinstance(name, str) or not 0 < len(name) <= 128:
        raise Refused(INVALID_PARAMS, "params.name must be the name of a tool")
    if arguments is not None and not isinstance(arguments, dict):
        raise Refused(INVALID_PARAMS, "params.arguments must be an object")
    return name, arguments or {}


@dataclass(frozen=True, slots=True)
class _Made:
    """What a call comes with besides its arguments."""

    caller: Caller
    back: Brought | None
    relay: Relay


def _check_asked(visit: Visit, resolved: Resolved, back: Brought | None) -> None:
    """Raises Refused for answers where nothing can have been asked: only servers behind us ask without a state."""
    if back is None or back.ours:
        return
    others = resolved.connections and all(c.connector != "mcp" for c in resolved.connections)
    if visit.options.shape == "codemode" or others:
        raise Refused(INVALID_PARAMS, "inputResponses: nothing was asked in this call")


class Calls:
    """Runs tools for callers of MCP."""

    def __init__(self, services: "Services", catalog: Catalog) -> None:
        self._services = services
        self._catalog = catalog
        self._carried = services.carried

    async def call(
        self, visit: Visit, resolved: Resolved, name: str, arguments: Mapping[str, Any], relay: Relay
    ) -> bytes:
        """The encoded result. `resolved` says who calls; `relay` hears how far the call is. Raises Refused; Problem
        only where the caller turns out not to be authenticated after all, or its sign-in too narrow."""
        back = brought(visit, resolved.caller, self._carried)
        _check_asked(visit, resolved, back)
        action = answered(back) if back is not None and back.ours else None
        made = _Made(resolved.caller, back, relay)
        try:
            if visit.options.shape == "discover":
                result = await self._discover(visit, made, name, arguments)
            elif visit.options.shape == "codemode":
                result = await self._portal(visit, name, arguments)
            else:
                result = await self._run(visit, made, name, arguments)
        except NotThere as missing:
            raise Refused(INVALID_PARAMS, missing.told) from None
        except Problem as problem:
            named = full_name(visit, name)
            connection_name = connection_asked(named) or None
            await record(
                self._services, resolved.caller, problem, tool_name=named[:100], connection_name=connection_name
            )
            return self._problem(visit, resolved.caller, problem, action)
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 - logged by `fault`, and answered as every failure is
            return complete(visit.message, refusal(fault(error, visit.place.path)))
        return dumps(result) if result.get("resultType") == "input_required" else complete(visit.message, result)

    def _problem(self, visit: Visit, caller: Caller, problem: Problem, action: str | None) -> bytes:
        if problem.kind.status == 401:
            raise problem
        challenge.check_width(problem, caller, narrowed=visit.options.access is not None)
        # Asked once: whoever has answered and is still not connected reads why.
        if (
            problem.code in CODES
            and "connect_url" in problem.extra
            and action is None
            and asks_in_browser(visit.message)
        ):
            return dumps(question(visit, caller, self._carried, problem))
        return complete(visit.message, refusal(problem))

    async def _discover(self, visit: Visit, made: "_Made", name: str, arguments: Mapping[str, Any]) -> Json:
        if name == discovery.FIND:
            listed = await self._listed(visit)
            found = discovery.find(listed.tools, listed.unavailable, arguments)
            return plain([text_block(dumps(found).decode())], structured=found)
        if name != discovery.CALL:
            raise NotThere(f"no tool {name!r} here: find_tools and call_tool lead to all")
        inner, inside = discovery.read_call(arguments)
        try:
            return await self._run(visit, made, inner, inside)
        except NotThere as missing:
            raise Problem("unknown_tool", missing.told, hint="take a name that find_tools shows") from None

    async def _portal(self, visit: Visit, name: str, arguments: Mapping[str, Any]) -> Json:
        kind = portal.kind_of(name)
        if kind is None:
            raise NotThere(f"no tool {name!r} here: call it in `execute`, as codemode.<tool>(args)")
        return await portal.call(self._services, self._catalog, visit, kind, arguments)

    async def _run(self, visit: Visit, made: "_Made", name: str, arguments: Mapping[str, Any]) -> Json:
        asked, name = name, full_name(visit, name)
        if not TOOL_NAME.match(name) or not connection_asked(name) or not shows(visit, name):
            raise NotThere(f"no tool {asked!r} here")
        if name.endswith(SUFFIX):
            stated = await self._connect(visit, name)
            if stated is not None:
                return stated
        request = self._request(visit, name, arguments)

        async def execute() -> Result:
            return await self._services.tools.execute(visit.token, visit.asked(request.connection), request)

        try:
            result = await rounds.run(visit, made.caller, name, made.back, made.relay, execute)
        except Problem as problem:
            if problem.code in ("unknown_tool", "unknown_connection"):
                raise NotThere(told_of(problem)) from None
            raise
        asking = wanted(visit, made.caller, self._carried, result, request.connection)
        if asking is not None:
            return asking
        return tool_result(result, None if visit.place.connection is not None else request.connection)

    async def _connect(self, visit: Visit, name: str) -> Json | None:
        """What `NAME_connect` says; None where it is a tool of the connection's own. Raises Problem where there is
        still no account."""
        listed = await self._listed(visit)
        connection = connection_asked(name)
        for entry in listed.unavailable:
            if entry["connection_name"] == connection and connectable(entry):
                hint = "show the person the link; once the account is connected, list the tools again"
                raise Problem(
                    entry["reason"],
                    f"there is no usable account on {connection} for this identity",
                    hint=hint,
                    extra={"connect_url": entry["connect_url"]} if entry.get("connect_url") else None,
                )
        listed_as = {full_name(visit, tool) for tool in listed.by_name}
        if name in listed_as or not any(tool.startswith(f"{connection}_") for tool in listed_as):
            return None
        return plain([text_block(f"{connection} is connected. List the tools again to see its own.")])

    async def _listed(self, visit: Visit) -> Listed:
        asked = visit.asked(visit.place.connection)
        resolved = await self._services.authenticator.resolve(visit.token, asked, self._services.clock.now())
        return await self._catalog.listed(visit, resolved)

    def _request(self, visit: Visit, name: str, arguments: Mapping[str, Any]) -> ExecuteRequest:
        meta, limits = visit.message.meta, self._services.settings.limits
        given = dict(arguments)
        account = None
        if "connected_account_id" in given:
            text = given.pop("connected_account_id")
            account = parse_id(text) if isinstance(text, str) else None
            if account is None:
                raise invalid("connected_account_id", "must be one of the ids that the error lists")
        return ExecuteRequest(
            tool_name=name,
            tool_input=given,
            connected_account_id=account,
            run_id=None,
            intent=text_of(meta, META_INTENT, 500),
            idempotency_key=text_of(meta, META_IDEMPOTENCY, 200),
            deadline_seconds=seconds_of(meta, META_DEADLINE, limits.call_seconds, limits.call_seconds_max),
            max_wait_seconds=MAX_WAIT_SECONDS,
            as_content=True,
        )

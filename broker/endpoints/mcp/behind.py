"""The MCP servers behind a caller: which of them offer prompts or resources to it, and one request to one of them.

Every request is an execution like a tool's (`connectors/mcp_upstream/passing.py` says under which names): judged,
counted against the budget, audited, scrubbed and bounded. A refusal is a JSON-RPC error here, for these methods have no
result that could say so; its data is the error object that a tool result would hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from broker.accounts.views import View
from broker.domain import Caller, Connection, Resolved
from broker.endpoints.mcp import rounds
from broker.endpoints.mcp.answers import Json
from broker.endpoints.mcp.catalog import shows
from broker.endpoints.mcp.recording import on_record
from broker.endpoints.mcp.relay import Relay
from broker.endpoints.mcp.rounds import brought, wanted
from broker.endpoints.mcp.rpc import INTERNAL_ERROR, INVALID_PARAMS, Refused
from broker.endpoints.mcp.visit import META_DEADLINE, META_INTENT, Visit, problem_object, seconds_of, text_of
from broker.errors import Problem
from broker.logs import redact
from broker.policy.reach import reach_of_tool
from broker.tools.choose import choose_account
from broker.tools.request import ExecuteRequest
from broker.tools.results import Result
from connectors.base import Operation
from connectors.mcp_upstream.config import WAITING
from connectors.mcp_upstream.definitions import Pinned

if TYPE_CHECKING:
    from broker.services import Services

MAX_WAIT_SECONDS: Final = 10.0
_MODEL: Final = frozenset({"unknown_tool", "unknown_connection", "invalid_input"})


class Asking(Exception):
    """The server wants something of the client first: `result` asks for it."""

    def __init__(self, result: Json) -> None:
        self.result = result
        super().__init__("the server asks the client first")


@dataclass(frozen=True, slots=True)
class Server:
    """One connection that the caller reaches, with what is pinned for it."""

    connection: Connection
    view: View
    pinned: Pinned
    resolved: Resolved

    @property
    def name(self) -> str:
        """The connection's name."""
        return self.connection.name

    def covers(self, kind: str, operation: Operation | None) -> bool:
        """Whether the caller's grants reach an operation of this kind with the account that it would use."""
        resolved, connection = self.resolved, self.connection
        try:
            account = choose_account(connection, resolved.accounts, resolved.grants, None)
        except Problem as problem:
            if problem.code != "ambiguous_account":
                return False
            account = None
        now = resolved.caller.now
        return reach_of_tool(resolved, connection, account, f"{self.name}_{kind}", operation, now) is not None


class Behind:
    """One per process."""

    def __init__(self, services: "Services") -> None:
        self._services = services

    async def reached(self, visit: Visit, resolved: Resolved, kind: str) -> list[Server]:
        """The servers that have anything of a kind for the caller, through this URL, in the order of their names."""
        found: list[Server] = []
        for connection in _servers(resolved):
            name = connection.name
            if not shows(visit, f"{name}_{kind}"):
                continue
            view = await self._view(resolved, connection)
            tool, pinned = view.tool(f"{name}_{kind}"), view.spec
            if tool is None or not isinstance(pinned, Pinned):
                continue
            server = Server(connection, view, pinned, resolved)
            if server.covers(kind, tool.operation):
                found.append(server)
        return found

    async def asks_while_waiting(self, resolved: Resolved) -> bool:
        """Whether any of the caller's servers may ask a client of the older eras."""
        for connection in _servers(resolved):
            if (await self._view(resolved, connection)).config.get(WAITING) is True:
                return True
        return False

    async def _view(self, resolved: Resolved, connection: Connection) -> View:
        views = self._services.views
        return views.peek_connection(connection) or await views.connection(resolved.caller.tenant_id, connection)

    async def ask(
        self, visit: Visit, caller: Caller, server: Server, kind: str, given: Mapping[str, Any], relay: Relay
    ) -> Result:
        """One request, with the client taking part. Raises Asking, Refused; Problem where the caller is not
        authenticated after all."""
        carried = self._services.carried
        back = brought(visit, caller, carried)
        try:
            result = await rounds.run(
                visit, caller, f"{server.name}_{kind}", back, relay, lambda: self.run(visit, server, kind, given)
            )
        except Problem as problem:
            raise self.refused(problem) from None
        asking = wanted(visit, caller, carried, result, server.name)
        if asking is not None:
            raise Asking(asking)
        return result

    async def run(self, visit: Visit, server: Server, kind: str, given: Mapping[str, Any]) -> Result:
        """One request. Raises Problem for every refusal, which is on record; the server's own error is in the
        result."""
        caller, tool_name = server.resolved.caller, f"{server.name}_{kind}"
        async with on_record(self._services, caller, tool_name=tool_name, connection_name=server.name):
            return await self._run(visit, server, kind, given)

    async def _run(self, visit: Visit, server: Server, kind: str, given: Mapping[str, Any]) -> Result:
        meta, limits = visit.message.meta, self._services.settings.limits
        request = ExecuteRequest(
            tool_name=f"{server.name}_{kind}",
            tool_input=given,
            intent=text_of(meta, META_INTENT, 500),
            deadline_seconds=seconds_of(meta, META_DEADLINE, limits.call_seconds, limits.call_seconds_max),
            max_wait_seconds=MAX_WAIT_SECONDS,
            as_content=True,
        )
        return await self._services.tools.execute(visit.token, visit.asked(server.name), request)

    def refused(self, problem: Problem) -> Exception:
        """A refusal as the protocol says it: of the model's making, or not."""
        if problem.kind.status == 401:
            return problem
        # A detail may repeat a name that was asked for, and models paste tokens where names belong.
        error = orjson.loads(redact(orjson.dumps(problem_object(problem)).decode()))
        refused = Refused(INVALID_PARAMS if problem.code in _MODEL else INTERNAL_ERROR, error["detail"], data=error)
        refused.reason = None  # `run` has written it down
        return refused


def _servers(resolved: Resolved) -> list[Connection]:
    """The connections with MCP servers that the bearer may use, in the order of their names."""
    allowed = resolved.caller.bearer.restrictions.connections
    named = [c for c in resolved.connections if c.connector == "mcp" and c.status == "active"]
    return sorted((c for c in named if allowed is None or c.name in allowed), key=lambda c: c.name)


def failed(result: Result) -> Refused:
    """The server's own error, told on."""
    error = dict(result.error or {})
    return Refused(INTERNAL_ERROR, str(error.get("detail", "the server answered with an error")), data=error)


def code_of(result: Result) -> int:
    """The JSON-RPC code of the server's own error; 0 where it gave none."""
    errors = (result.error or {}).get("errors") or ()
    first = errors[0] if errors else {}
    code = first.get("code") if isinstance(first, Mapping) else None
    return code if type(code) is int else 0


def result_meta(result: Result, *, cut: bool) -> Json:
    """What is told beside an answer."""
    meta: Json = {"keyreeve/execution_id": str(result.execution_id)}
    if cut or result.truncated:
        meta["keyreeve/truncated"] = True
    return meta

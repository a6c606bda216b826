"""Near-name hints. Only names that the caller may use are ever shown: a hint must not be a directory."""

from difflib import get_close_matches

from broker.accounts.views import View
from broker.domain import Connection, Resolved
from broker.errors import Problem
from broker.identity.authenticate import Authenticator
from broker.policy.reach import reach_of_tool
from connectors.base import Operation
from connectors.errors import UnknownOperation


class Hints:
    """Makes `unknown_…` problems that say what was probably meant."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def unknown_connection(self, resolved: Resolved, name: str) -> Problem:
        """`unknown_connection`, with the names of connections on which the caller has a grant."""
        usable = await self._authenticator.usable_connections(resolved.caller)
        return Problem(
            "unknown_connection",
            f"no connection {name!r} that this identity may use",
            hint=_near(name, usable),
        )

    def unknown_tool(self, tool_name: str, view: View, resolved: Resolved, connection: Connection) -> Problem:
        """`unknown_tool`, with the connection's tools that some grant covers."""
        now = resolved.caller.now
        usable = [
            t.name
            for t in view.tools
            if reach_of_tool(resolved, connection, None, t.name, t.operation, now) is not None
        ]
        return Problem(
            "unknown_tool", f"no tool {tool_name!r} that this identity may use", hint=_near(tool_name, usable)
        )

    def unknown_operation(
        self, error: UnknownOperation, view: View, resolved: Resolved, connection: Connection, *, tool: str = "call"
    ) -> Problem:
        """`unknown_operation`, with operations of the pinned description that some grant covers for this tool."""
        now = resolved.caller.now
        tool_name = f"{connection.name}_{tool}"

        def allow(operation: Operation) -> bool:
            return reach_of_tool(resolved, connection, None, tool_name, operation, now) is not None

        near = view.connector.nearest(view, error.asked, allow)
        hint = (
            "did you mean " + " or ".join(f"`{n}`" for n in near) + "?"
            if near
            else "name an operation id or `METHOD /path/{of}/the/template`"
        )
        return Problem(
            "unknown_operation",
            f"the description of {connection.name} has no operation {error.asked!r}",
            hint=hint,
        )


def _near(name: str, usable: list[str]) -> str | None:
    near = get_close_matches(name[:100], usable, n=3, cutoff=0.4) or usable[:3]
    return "you may use " + ", ".join(f"`{n}`" for n in near) if near else None

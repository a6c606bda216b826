"""What a program of the portal may name: the tools that its caller's URL lists, by the connections they belong to."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final
from uuid import UUID

import orjson

from broker.accounts.views import View, Views
from broker.domain import Connection, Resolved
from broker.errors import Problem
from broker.tools.codemode.portal.asked import Shown
from broker.tools.codemode.standing import fingerprint

DEFINITIONS_BYTES: Final = 1_000_000
"""Of definitions given to a program at its start; where they are more, they come without schemas."""
_SCHEMAS: Final = ("inputSchema", "outputSchema")


@dataclass(frozen=True, slots=True)
class Api:
    """A connection whose API can be programmed, and which of its programs' tools the caller has."""

    name: str
    execute: bool = False
    search: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """`tools`: one call each, by the names programs use. `unavailable`: what stands in the way of others."""

    tools: Mapping[str, Shown]
    apis: Mapping[str, Api]
    unavailable: tuple[Mapping[str, Any], ...]
    programs: Mapping[str, str] = field(default_factory=dict)
    """Tools that are programs themselves, and their connection: here they are `connections[…]`."""

    def tool(self, name: str) -> Shown:
        """The tool called `name`. Raises Problem `unknown_tool`, with what was probably meant."""
        found = self.tools.get(name)
        if found is not None:
            return found
        shown = name[:80]
        if name in self.programs:
            hint = f'use connections["{self.programs[name]}"]: request(…), paginate(…), find(…), operation(…)'
            raise Problem("unknown_tool", f"{shown} is a program of its own, not to be called by another", hint=hint)
        near = get_close_matches(shown, self.tools, n=3, cutoff=0.5) or _alike(shown, self.tools)
        told = (
            "did you mean " + " or ".join(f"`{one}`" for one in near) + "?" if near else "codemode.tools() lists them"
        )
        raise Problem("unknown_tool", f"there is no tool {shown!r} here", hint=told, extra=self.instead(name))

    def api(self, name: str | None, *, to: str) -> Api:
        """The API of a connection, `to` "execute" or "search" it; with None the only one. Raises Problem
        `unknown_connection`, `not_granted`."""
        names = [api.name for api in self.apis.values() if getattr(api, to)]
        if name is None:
            if len(names) != 1:
                told = f"name the connection: {_some(names)}" if names else "no connection has an API here"
                raise Problem("unknown_connection", told, hint='as in connections["NAME"].request({…})')
            return self.apis[names[0]]
        found = self.apis.get(name)
        if found is None:
            told = f"no connection {name[:60]!r} with an API here"
            hint = f"there are {_some(names)}" if names else None
            raise Problem("unknown_connection", told, hint=hint, extra=self.instead(f"{name}_"))
        if not getattr(found, to):
            raise Problem("not_granted", f"{name}_{to} is not among your tools, so that API is closed to programs here")
        return found

    def instead(self, tool_name: str) -> dict[str, Any]:
        """Where the person could connect the account that is missing."""
        name = tool_name.partition("_")[0]
        for entry in self.unavailable:
            if entry["connection_name"] == name and entry.get("connect_url"):
                return {"connect_url": entry["connect_url"]}
        return {}


def _alike(name: str, known: Mapping[str, Shown]) -> list[str]:
    """Tools whose own part, after the connection's, is what was asked for."""
    plain = name.replace("-", "_").rpartition("_")[2].lower()
    return [one for one in known if plain and one.replace("-", "_").lower().endswith(plain)][:3]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) or "none"


async def scope_of(
    views: Views, resolved: Resolved, shown: Sequence[Shown], unavailable: Sequence[Mapping[str, Any]]
) -> Scope:
    """The scope of what a URL lists. A tool that is of no connection's own (`NAME_connect`) is no part of it."""
    by_name = {connection.name: connection for connection in resolved.connections}
    tools: dict[str, Shown] = {}
    apis: dict[str, Api] = {}
    programs: dict[str, str] = {}
    seen: dict[str, View] = {}
    for one in shown:
        name = one.full_name.partition("_")[0]
        connection = by_name.get(name)
        if connection is None:
            continue
        view = seen.get(name) or await view_of(views, resolved, connection)
        seen[name] = view
        tool = view.tool(one.full_name)
        if tool is None:
            continue
        if tool.kind == "call":
            tools[one.name] = one
            continue
        before = apis.get(name) or Api(name)
        apis[name] = Api(name, before.execute or tool.kind == "execute", before.search or tool.kind == "search")
        programs[one.name] = name
    return Scope(tools, apis, tuple(unavailable), programs)


async def view_of(views: Views, resolved: Resolved, connection: Connection) -> View:
    """The view of a connection. Raises Problem."""
    return views.peek_connection(connection) or await views.connection(resolved.caller.tenant_id, connection)


def told(scope: Scope, *, definitions: bool) -> dict[str, Any]:
    """What a program is told of its scope. Without `definitions`, the names alone."""
    names = [{"name": name, "connection": one.full_name.partition("_")[0]} for name, one in scope.tools.items()]
    context: dict[str, Any] = {"tools": names, "unavailable": [], "apis": []}
    if definitions:
        context["tools"] = _within(names, scope)
        context["unavailable"] = [_unavailable(entry) for entry in scope.unavailable][:200]
    return context


def _within(names: Sequence[Mapping[str, str]], scope: Scope) -> list[Any]:
    whole = [{**one, **words(scope.tools[one["name"]])} for one in names]
    if len(orjson.dumps(whole)) <= DEFINITIONS_BYTES:
        return whole
    light = [{name: value for name, value in one.items() if name not in _SCHEMAS} for one in whole]
    if len(orjson.dumps(light)) <= DEFINITIONS_BYTES:
        return light
    each = max(40, DEFINITIONS_BYTES // (2 * len(light)))
    return [
        {**one, "description": names_.get("description", "")[:each]} for one, names_ in zip(names, light, strict=True)
    ]


def words(shown: Shown) -> dict[str, Any]:
    """A tool's definition for a program: its words, less the name, which stands beside them."""
    kept = ("title", "description", *_SCHEMAS, "annotations")
    return {name: shown.definition[name] for name in kept if name in shown.definition}


def _unavailable(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in entry.items() if name != "connection_name"}
    return {"connection": entry["connection_name"], "available": False, **kept}


def place_of(narrowed: str) -> UUID:
    """What stands for a connection where a kept result came through several: it is shown to no other URL."""
    return UUID(bytes=hashlib.sha256(b"portal\n" + narrowed.encode()).digest()[:16])


def stands_on(resolved: Resolved) -> set[str]:
    """Everything that a program may have read by: the grants that count, and the accounts they are used with. With any
    of it gone or narrowed, its result is shown no more."""
    now = resolved.caller.now
    active = {connection.id for connection in resolved.connections if connection.status == "active"}
    grants = (g for g in resolved.grants if g.connection_id in active and (g.expires_at is None or g.expires_at > now))
    accounts = (a for a in resolved.accounts if a.connection_id in active and a.status == "active")
    return {fingerprint(grant) for grant in grants} | {f"account:{account.id}" for account in accounts}

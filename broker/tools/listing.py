"""`list_scoped_tools`: what this identity's agent may do now, and what stands in the way of the rest. Mints nothing."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import orjson

from broker.accounts.views import View, Views
from broker.clock import Clock
from broker.domain import Account, Connection, Resolved
from broker.errors import Field, Problem, invalid
from broker.identity.authenticate import Asked, Authenticator
from broker.identity.tokens import ParsedToken
from broker.policy.reach import Reach, reach_of_tool
from broker.tools.choose import choose_account
from broker.tools.codemode.offered import annotations, offered
from broker.tools.connect_url import ConnectUrl, add_connect_url
from broker.tools.hints import Hints
from connectors.base import Permissions, Tool

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""The form of an entry's key: a tool's name, or a connection's and `_`."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the listing, in the order it is shown."""

    key: str
    tool: dict[str, Any] | None
    unavailable: dict[str, Any] | None


class Listing:
    """Lists tools for authenticated callers."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        views: Views,
        clock: Clock,
        connect_url: ConnectUrl | None = None,
    ) -> None:
        self._connect_url = connect_url
        self._authenticator = authenticator
        self._hints = Hints(authenticator)
        self._views = views
        self._clock = clock

    async def list_scoped_tools(
        self, token: ParsedToken, asked: Asked, *, page_size: int, page_token: str | None
    ) -> bytes:
        """The JSON answer. Raises Problem: those of authentication, `invalid_input`, `unknown_connection`."""
        now = self._clock.now()
        resolved = await self._authenticator.resolve(token, asked, now)
        if resolved.caller.identity is None:
            told = "is required with an agent key or an operator key"
            raise Problem("invalid_input", f"identifier: {told}", fields=[Field("identifier", told)])
        after = _read_page_token(page_token)
        entries: list[_Entry] = []
        for connection in sorted(resolved.connections, key=lambda c: c.name):
            entries.extend(await self._connection(resolved, connection, now, _wider(resolved, asked)))
        if asked.connection is not None and not entries:
            raise await self._hints.unknown_connection(resolved, asked.connection)
        return _page([e for e in entries if after is None or e.key > after], page_size)

    async def _connection(
        self, resolved: Resolved, connection: Connection, now: datetime, wider: Resolved | None
    ) -> list[_Entry]:
        grants = [
            g
            for g in resolved.grants
            if g.connection_id == connection.id and (g.expires_at is None or g.expires_at > now)
        ]
        allowed = resolved.caller.bearer.restrictions.connections
        if not grants or (allowed is not None and connection.name not in allowed):
            return []
        if connection.status != "active":
            problem = Problem("forbidden", f"connection {connection.name} is {connection.status}")
            return [_unavailable(connection, problem)]
        tenant_id = resolved.caller.tenant_id
        account: Account | None = None
        try:
            account = choose_account(
                connection,
                resolved.accounts,
                resolved.grants,
                None,
            )
        except Problem as problem:
            if problem.code != "ambiguous_account":
                add_connect_url(problem, self._connect_url, resolved.caller.tenant_name, connection.name)
                return [_unavailable(connection, problem)]
            note = [_unavailable(connection, problem)]
        else:
            note = []
        try:
            view = self._views.peek_connection(connection) or await self._views.connection(tenant_id, connection)
        except Problem as problem:
            return [_unavailable(connection, problem)]
        permissions = Permissions("unknown")
        if account is not None:
            permissions = await self._views.permissions(tenant_id, account)
        found = note + _tools(resolved, connection, view, account, permissions, now)
        if wider is not None:
            shown = {entry.key for entry in found}
            more = _tools(wider, connection, view, account, permissions, now)
            found += [_asking_more(entry) for entry in more if entry.key not in shown]
        return found


def _wider(resolved: Resolved, asked: Asked) -> Resolved | None:
    """The same caller, had the person allowed more when they signed in; None where nobody signs in for the bearer, or
    the request itself narrows it. What only that caller may use is listed too: a client that calls it is told which
    sign-in it needs (403), which it could not be of what it does not know."""
    bearer = resolved.caller.bearer
    if bearer.audience is None or bearer.restrictions.access is None or asked.access is not None:
        return None
    widened = replace(bearer, restrictions=replace(bearer.restrictions, access=None, access_by=None))
    return replace(resolved, caller=replace(resolved.caller, bearer=widened))


def _asking_more(entry: _Entry) -> _Entry:
    if entry.tool is None:
        return entry
    definition = entry.tool["definition"]
    told = f"{definition['description']} (Needs a sign-in that allows {entry.tool['effect']}; calling it asks for one.)"
    return replace(entry, tool={**entry.tool, "definition": {**definition, "description": told}})


def _tools(
    resolved: Resolved,
    connection: Connection,
    view: View,
    account: Account | None,
    permissions: Permissions,
    now: datetime,
) -> list[_Entry]:
    entries: list[_Entry] = []
    for tool in view.tools:
        reach = reach_of_tool(resolved, connection, account, tool.name, tool.operation, now)
        if reach is None:
            continue
        if tool.held is not None:
            entries.append(_unavailable(connection, Problem("schema_changed", tool.held, fix="admin"), tool.name))
            continue
        if tool.kind != "call":
            entries.append(_entry(connection, account, offered(tool, view, account, permissions), reach))
            continue
        if tool.operation is not None and view.config.get("permission_check") != "advise":
            missing = view.connector.lacks(tool.operation, permissions)
            if missing is not None:
                told = f"the credential lacks the permission {missing}"
                problem = Problem("not_permitted_upstream", told, hint=f"deposit a token that has {missing}")
                entries.append(_unavailable(connection, problem, tool.name))
                continue
        entries.append(_entry(connection, account, tool, reach))
    return entries


def _entry(connection: Connection, account: Account | None, tool: Tool, reach: Reach) -> _Entry:
    shown = {
        "name": tool.name,
        "connection_name": connection.name,
        "connected_account_id": None if account is None else str(account.id),
        "effect": tool.effect if tool.operation is not None or tool.kind == "search" else reach.access,
        "schema_hash": tool.schema_hash,
        "definition": {
            "name": tool.name,
            "description": f"{tool.description} {reach.sentence}" if _varies(tool) else tool.description,
            "input_schema": tool.input_schema,
            "annotations": annotations(tool, reach) if _varies(tool) else dict(tool.annotations),
        },
    }
    return _Entry(tool.name, shown, None)


def _varies(tool: Tool) -> bool:
    """Whether what the tool does depends on who uses it."""
    return tool.operation is None and tool.kind != "search"


def _unavailable(connection: Connection, problem: Problem, name: str | None = None) -> _Entry:
    shown: dict[str, Any] = {
        "connection_name": connection.name,
        "reason": problem.code,
        "hint": problem.hint or problem.detail,
        "fix": problem.fix,
    }
    if "connect_url" in problem.extra:
        shown["connect_url"] = problem.extra["connect_url"]
    if name is not None:
        shown["name"] = name
    return _Entry(name or f"{connection.name}_", None, shown)


def _page(entries: Sequence[_Entry], page_size: int) -> bytes:
    shown = sorted(entries, key=lambda e: e.key)[:page_size]
    more = len(entries) > page_size
    return orjson.dumps(
        {
            "tools": [e.tool for e in shown if e.tool is not None],
            "unavailable": [e.unavailable for e in shown if e.unavailable is not None],
            "next_page_token": _page_token(shown[-1].key) if more and shown else None,
        }
    )


def _page_token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _read_page_token(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        key = ""
    if not _KEY.fullmatch(key):
        raise invalid("page_token", "is not one that this server gave", hint="start again without it")
    return key

"""What a program of the portal can reach: tools, the requests of APIs, what those offer, and its own earlier results.

Everything that arrives here was written by hostile code. A call is looked up in the program's scope, prepared by its
connector, judged, admitted under locks, recorded and settled exactly as if it had been made alone; the execution's id
and one row of numbers hold the calls together, whichever connections they go to.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from broker.accounts.views import View, Views
from broker.audit.events import RefusalFacts
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.domain import Account, Connection, Resolved
from broker.errors import Problem
from broker.gate.perform import Gate
from broker.gate.types import BudgetView, CallRecord, CallRequest, Performed, Reload
from broker.identity.sandbox import SandboxRule
from broker.ids import parse_id
from broker.logs import log_call
from broker.tools.choose import choose_account
from broker.tools.codemode import requesting
from broker.tools.codemode.keeping import Keeping, Owner
from broker.tools.codemode.portal.answers import value_of
from broker.tools.codemode.portal.asked import Wanted
from broker.tools.codemode.portal.looking import Looking
from broker.tools.codemode.portal.scope import Scope, stands_on, view_of, words
from broker.tools.codemode.reporting import Failures
from broker.tools.codemode.sandbox.errors import HostError
from broker.tools.hints import Hints
from broker.tools.lines import call_line
from broker.tools.results import dumps
from connectors.base import Permissions, Prepared, Programmable

FRESH_SECONDS: Final = 1.0
"""Calls start from a look-up at most so old; admission judges all of it anew, under locks."""

ACCOUNT: Final = "connected_account_id"

_OFFERS: Final = frozenset({"find", "operation", "operations", "products", "whoami"})
_CALLS: Final = frozenset({"tool", "via", "request", "previous"})
_KEPT: Final = frozenset({"forbidden", "not_granted"})
"""Refusals that the audit holds, also where a program met them before the gate."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A connection as one call finds it."""

    resolved: Resolved
    connection: Connection
    view: View
    account: Account
    permissions: Permissions


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of the portal. `owner` says whose its result is; `resolved` is a look-up of `looked_up_at` (of the
    monotonic clock), `reload` looks up again; `rule` is what the tenant is held to."""

    execution_id: UUID
    wanted: Wanted
    scope: Scope
    resolved: Resolved
    owner: Owner
    deadline: datetime
    max_wait_seconds: float
    looked_up_at: float
    reload: Reload
    rule: SandboxRule


@dataclass(frozen=True, slots=True)
class Parts:
    """What answers host calls: the services of the process."""

    gate: Gate
    views: Views
    hints: Hints
    keeping: Keeping
    looking: Looking
    trail: AuditTrail
    clock: Clock


class Host:
    """Answers the host calls of one program. Afterwards `calls`, `budget`, `warnings` and `would` tell what happened,
    `grants` what it stood on."""

    def __init__(self, run: Run, parts: Parts, *, before_write: Callable[[], Awaitable[None]]) -> None:
        self._run = run
        self._parts = parts
        self._before_write = before_write
        self._resolved = run.resolved
        self.grants = stands_on(run.resolved)
        self._at = run.looked_up_at
        self._looking_up = asyncio.Lock()
        self._made: dict[int, CallRecord] = {}
        self._begun = 0
        self.failures = Failures()
        self.budget: tuple[str, BudgetView] | None = None
        self.warnings: list[str] = []
        self.would: dict[str, Any] | None = None

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """Every call that reached the gate, in the order in which the program made them."""
        return tuple(self._made[n] for n in sorted(self._made))

    async def __call__(self, name: str, argument: bytes) -> bytes:
        """Answers one host call with JSON. Raises HostError."""
        try:
            given = await requesting.read(argument, dict)
            if name == "definition":
                return self._definition(given)
            if name in _OFFERS:
                return await self._offer(name, given)
            if name not in _CALLS:
                raise Problem("not_found", f"there is no {name[:60]!r} to call here")
            if self._run.wanted.kind == "search":
                raise Problem("invalid_input", "search sends nothing: call tools with `execute`")
            return await self._called(name, given)
        except Problem as problem:
            if problem.code in _KEPT and not problem.recorded:
                await self._refused(problem)
            raise HostError(self.failures.problem(problem)) from None

    async def _refused(self, problem: Problem) -> None:
        """A refusal before the gate is in the audit too."""
        run = self._run
        facts = RefusalFacts(
            reason=problem.code, tool_name=run.wanted.kind, execution_id=run.execution_id, detail=problem.detail[:300]
        )
        await self._parts.trail.refusal(run.resolved.caller, facts)
        problem.recorded = True

    async def _called(self, name: str, given: Mapping[str, Any]) -> bytes:
        if name == "tool":
            return await self._tool(given)
        if name == "previous":
            return await self._previous(given)
        if name == "request":
            return await self._request(None, given)
        inside = given.get("request")
        if not isinstance(inside, dict):
            raise Problem("invalid_input", "a request is an object")
        return await self._request(requesting.text(given, "connection", 60), inside)

    def _definition(self, given: Mapping[str, Any]) -> bytes:
        name = requesting.text(given, "name", 128)
        shown = self._run.scope.tool(name)
        connection = shown.full_name.partition("_")[0]
        return dumps({"value": {"name": name, "connection": connection, **words(shown)}})

    async def _tool(self, given: Mapping[str, Any]) -> bytes:
        """One call of a tool. Raises Problem, HostError."""
        shown = self._run.scope.tool(requesting.text(given, "name", 128))
        arguments = dict(requesting.objects(given, "args"))
        named = None
        if ACCOUNT in arguments:
            asked = arguments.pop(ACCOUNT)
            named = parse_id(asked) if isinstance(asked, str) else None
            if named is None:
                raise Problem("invalid_input", f"{ACCOUNT} must be one of the ids that the error lists")
        tool_name = shown.full_name
        reached = await self._reach(tool_name.partition("_")[0], named)
        prepared = requesting.tool_call(
            self._parts.hints, reached.view, reached.resolved, reached.connection, tool_name, arguments
        )
        performed = await self._perform(prepared, reached, tool_name)
        return dumps({"value": value_of(performed.answer)})

    async def _request(self, name: str | None, given: Mapping[str, Any]) -> bytes:
        """One request of an API. Raises Problem, HostError."""
        api = self._run.scope.api(name, to="execute")
        reached = await self._reach(api.name, None)
        prepared = requesting.request(self._parts.hints, reached.view, reached.resolved, reached.connection, given)
        performed = await self._perform(prepared, reached, f"{api.name}_execute")
        return dumps({"status": performed.answer.status, "body": performed.answer.data})

    async def _reach(self, name: str, named: UUID | None) -> Reached:
        """The connection, and the account that the account rule chooses. Raises Problem."""
        resolved = await self._fresh()
        connection = next((one for one in resolved.connections if one.name == name), None)
        if connection is None or connection.status != "active":
            raise Problem("forbidden", f"connection {name} is not active any more", sent=False)
        try:
            account = choose_account(connection, resolved.accounts, resolved.grants, named)
        except Problem as problem:
            problem.extra |= self._run.scope.instead(f"{name}_")
            raise
        view = await view_of(self._parts.views, resolved, connection)
        permissions = await self._parts.views.permissions(resolved.caller.tenant_id, account)
        return Reached(resolved, connection, view, account, permissions)

    async def _fresh(self) -> Resolved:
        """The look-up to start from. Raises Problem where the caller may nothing any more."""
        async with self._looking_up:
            if time.monotonic() - self._at > FRESH_SECONDS:
                at = time.monotonic()
                self._resolved = await self._reload()
                self._at = at
            return self._resolved

    async def _reload(self) -> Resolved:
        """A fresh look-up; what its grants may allow from now on, the result stands on."""
        resolved = await self._run.reload()
        self.grants |= stands_on(resolved)
        return resolved

    async def _perform(self, prepared: Prepared, reached: Reached, tool_name: str) -> Performed:
        """The call, performed. Raises Problem; HostError for an upstream's own error and where a dry run ends."""
        run = self._run
        if run.wanted.dry_run and (self.would is not None or prepared.effect != "read"):
            raise self._would(prepared, reached, tool_name)
        if prepared.effect != "read":
            await self._before_write()
        self._begun += 1
        n = self._begun
        sent: Any = "unknown"
        status: int | None = None
        call = self._call(reached, tool_name, n)
        try:
            performed = await self._parts.gate.perform(call, prepared)
            sent, status = True, performed.answer.status
        except Problem as problem:
            sent = False if problem.sent is None else problem.sent
            raise
        finally:
            # Also when it was cut off: what may have been done must be seen.
            self._made[n] = CallRecord(n, prepared.method, _path(reached, prepared), status, prepared.effect, sent)
        log_call(call_line(call, prepared, performed))
        if performed.budget is not None:
            self.budget = reached.connection.name, performed.budget
        for warning in prepared.warnings:
            if warning not in self.warnings and len(self.warnings) < 20:
                self.warnings.append(warning)
        if performed.answer.is_error:
            raise HostError(self.failures.upstream(performed.answer))
        return performed

    def _call(self, reached: Reached, tool_name: str, n: int) -> CallRequest:
        config, run = reached.view.config, self._run
        return CallRequest(
            resolved=reached.resolved,
            reload=self._reload,
            connection=reached.connection,
            connector=reached.view.connector,
            permissions=reached.permissions,
            permission_check=config.get("permission_check", "refuse"),
            account=reached.account,
            tool_name=tool_name,
            execution_id=run.execution_id,
            n=n,
            deadline=run.deadline,
            max_wait_seconds=run.max_wait_seconds,
            reserve=int((config.get("budget") or {}).get("reserve", 0)),
            intent=run.wanted.intent,
        )

    def _would(self, prepared: Prepared, reached: Reached, tool_name: str) -> HostError:
        """A dry run has reached its first write: what it would be, and nothing is sent from here on."""
        if self.would is None:
            call = self._call(reached, tool_name, self._begun + 1)
            self.would = {"tool": tool_name, **requesting.described(prepared, self._parts.gate, call)}
        told = "this is a dry run: it ends at the first write, which was not made"
        return HostError({"message": told, "code": "dry_run"})

    async def _offer(self, name: str, given: Mapping[str, Any]) -> bytes:
        """A question about what an API offers. Raises Problem."""
        run, asked = self._run, given.get("connection")
        api = run.scope.api(asked if isinstance(asked, str) else None, to="search")
        resolved = await self._fresh()
        return await self._parts.looking.answer(run, resolved, api.name, name, given)

    async def _previous(self, given: Mapping[str, Any]) -> bytes:
        asked = given.get("execution_id")
        execution_id = parse_id(asked) if isinstance(asked, str) and len(asked) <= 36 else None
        if execution_id is None:
            raise Problem("invalid_input", "previous takes the execution_id of an earlier answer, a UUID")
        # Shown without an admission: whoever asks, and what is granted, is looked up now.
        resolved = await self._reload()
        owner, grants = self._run.owner, stands_on(resolved)
        return await self._parts.keeping.previous(resolved.caller.tenant_id, execution_id, owner, grants)


def _path(reached: Reached, prepared: Prepared) -> str:
    """What a call's record shows: the path, or of a server with one path for all its tools, the tool's."""
    return prepared.path if isinstance(reached.view.connector, Programmable) else prepared.operation.path

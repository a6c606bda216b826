"""`execute_tool`: the only orchestrator of a call. Everything it does is one of its collaborators' promises.

look up → choose the account → prepare (pure) → idempotency → gate.perform → result
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from broker.accounts.views import View, Views
from broker.audit.events import RefusalFacts
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.domain import Account, Connection, Resolved
from broker.errors import Field, Problem, misfit
from broker.gate.idempotency import Idempotency, Replay
from broker.gate.perform import KEPT_REFUSALS, Gate
from broker.gate.types import CallRequest, Performed, Reload
from broker.identity.authenticate import Asked, Authenticator
from broker.identity.tokens import ParsedToken
from broker.ids import new_id
from broker.logs import log_call
from broker.tools.choose import choose_account
from broker.tools.codemode.asked import Job
from broker.tools.codemode.offered import is_search, without_account
from broker.tools.codemode.programs import Programs
from broker.tools.connect_url import ConnectUrl, add_connect_url
from broker.tools.hints import Hints
from broker.tools.lines import call_line
from broker.tools.replay import replayed, stored
from broker.tools.request import ExecuteRequest
from broker.tools.results import Result, writes_first
from connectors.base import Permissions, Prepared, Tool
from connectors.errors import (
    EgressRefused,
    InvalidInput,
    PayloadTooLarge,
    SpecError,
    UnknownOperation,
)
from connectors.frozen import quick


@quick
@dataclass(frozen=True, slots=True)
class _Chosen:
    """Everything decided about a call before the gate: what will be sent, as whom, through which connection."""

    resolved: Resolved
    connection: Connection
    view: View
    account: Account
    permissions: Permissions
    prepared: Prepared


class ToolRunner:
    """Runs tools for authenticated callers. One per process."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        views: Views,
        gate: Gate,
        idempotency: Idempotency,
        trail: AuditTrail,
        hints: Hints,
        clock: Clock,
        connect_url: ConnectUrl | None = None,
        programs: Programs | None = None,
    ) -> None:
        self._programs = programs
        self._connect_url = connect_url
        self._authenticator = authenticator
        self._views = views
        self._gate = gate
        self._idempotency = idempotency
        self._trail = trail
        self._hints = hints
        self._clock = clock

    async def execute(self, token: ParsedToken, asked: Asked, request: ExecuteRequest) -> Result:
        """Runs one tool. Raises Problem for every refusal; an upstream's own error is a Result with `is_error`."""
        execution_id = new_id()
        now = self._clock.now()
        # A replay shows a result without an admission, and so does a search; a dry run has none: those start from a
        # look-up of now. A program that makes no call looks up again before it answers (codemode).
        admitted = request.idempotency_key is None and not request.dry_run and not is_search(request.tool_name)
        recent = self._authenticator.recent(token, asked, now) if admitted else None
        if recent is not None:
            try:
                return await self._execute(token, asked, request, recent, execution_id, recent=True)
            except Problem as problem:
                if problem.recorded or problem.sent not in (None, False) or problem.code in KEPT_REFUSALS:
                    problem.execution_id = problem.execution_id or str(execution_id)
                    raise
                # Refused from what may be a second old: said only if it is still so.
        resolved = await self._authenticator.resolve(token, asked, now)
        try:
            return await self._execute(token, asked, request, resolved, execution_id, recent=False)
        except Problem as problem:
            problem.execution_id = problem.execution_id or str(execution_id)
            add_connect_url(problem, self._connect_url, resolved.caller.tenant_name, request.connection)
            # A call that was admitted has its outcome in the audit instead.
            if not problem.recorded and problem.sent in (None, False) and resolved.caller.identity is not None:
                await self._record(resolved, request, execution_id, problem)
                problem.recorded = True
            raise

    async def _execute(
        self,
        token: ParsedToken,
        asked: Asked,
        request: ExecuteRequest,
        resolved: Resolved,
        execution_id: UUID,
        *,
        recent: bool,
    ) -> Result:
        if resolved.caller.identity is None:
            told = "is required with an agent key or an operator key"
            raise Problem("invalid_input", f"identifier: {told}", fields=[Field("identifier", told)])

        async def reload() -> Resolved:
            return await self._authenticator.resolve(token, asked, self._clock.now())

        connection, view = await self._locate(request, resolved)
        tool = self._tool(request, view, resolved, connection)
        if tool.kind != "call" and self._programs is not None:
            deadline = resolved.caller.now + timedelta(seconds=request.deadline_seconds)
            result = await self._programs.run(
                Job(request, resolved, connection, view, tool, execution_id, deadline, reload, recent)
            )
            if any(c.status == 403 for c in result.calls):
                self._authenticator.forget(token, asked)
            return result
        chosen = await self._choose(request, resolved, connection, view)
        call = self._call_request(request, chosen, execution_id, reload, recent=recent)
        if request.dry_run:
            return self._dry_run(chosen, call, execution_id)
        if request.idempotency_key is None:
            result = await self._perform(call, chosen.prepared, execution_id)
            if result.error is not None and result.error.get("status") == 403:
                self._authenticator.forget(token, asked)  # the refusal may have taught what the credential lacks
            return result
        return await self._once(request, call, chosen)

    async def _locate(self, request: ExecuteRequest, resolved: Resolved) -> tuple[Connection, View]:
        """The tool's connection. Raises Problem."""
        name = request.connection
        if request.connection_name not in (None, name):
            told = f"must be {name!r}, the connection of the tool, or left out"
            raise Problem("invalid_input", f"connection_name: {told}", fields=[Field("connection_name", told)])
        connection = next((c for c in resolved.connections if c.name == name), None)
        if connection is None:
            raise await self._hints.unknown_connection(resolved, name)
        if connection.status != "active":
            raise Problem("forbidden", f"connection {name} is {connection.status}")
        tenant_id = resolved.caller.tenant_id
        return connection, self._views.peek_connection(connection) or await self._views.connection(
            tenant_id, connection
        )

    async def _choose(self, request: ExecuteRequest, resolved: Resolved, connection: Connection, view: View) -> _Chosen:
        """What one call will be, and as whom. Raises Problem."""
        tenant_id = resolved.caller.tenant_id
        prepared = self._prepare(request, view, resolved, connection)
        account = choose_account(
            connection,
            resolved.accounts,
            resolved.grants,
            request.connected_account_id,
        )
        permissions = self._views.peek_permissions(account) or await self._views.permissions(tenant_id, account)
        return _Chosen(resolved, connection, view, account, permissions, prepared)

    def _tool(self, request: ExecuteRequest, view: View, resolved: Resolved, connection: Connection) -> Tool:
        """The tool, if it still is what the caller believes. Raises Problem."""
        tool = view.tool(request.tool_name)
        if tool is None:
            raise self._hints.unknown_tool(request.tool_name, view, resolved, connection)
        if tool.held is not None:
            raise Problem("schema_changed", f"{request.tool_name}: {tool.held}", fix="admin")
        expected = request.expected_schema_hash
        if expected not in (None, tool.schema_hash) and (
            tool.kind == "call" or expected != without_account(tool).schema_hash
        ):
            raise Problem(
                "schema_changed",
                f"{request.tool_name} has changed since its schema was read",
                hint="list the tools again and build the call from the new schema",
                extra={"schema_hash": tool.schema_hash},
            )
        return tool

    def _prepare(self, request: ExecuteRequest, view: View, resolved: Resolved, connection: Connection) -> Prepared:
        try:
            return view.connector.prepare(view, request.tool_name, request.tool_input)
        except UnknownOperation as error:
            raise self._hints.unknown_operation(error, view, resolved, connection) from None
        except PayloadTooLarge as error:
            raise Problem("payload_too_large", str(error)) from None
        except InvalidInput as error:
            root = "tool_input"
            fields = [Field(f"{root}.{f.path}" if f.path else root, f.problem, f.unknown) for f in error.fields]
            raise misfit(fields, str(error), hint=error.hint) from None
        except EgressRefused as error:
            raise Problem("egress_refused", error.reason) from None
        except SpecError as error:
            raise Problem("unavailable", str(error)) from None

    def _call_request(
        self,
        request: ExecuteRequest,
        chosen: _Chosen,
        execution_id: UUID,
        reload: Reload,
        *,
        recent: bool,
    ) -> CallRequest:
        config = chosen.view.config
        return CallRequest(
            resolved=chosen.resolved,
            reload=reload,
            connection=chosen.connection,
            connector=chosen.view.connector,
            permissions=chosen.permissions,
            permission_check=config.get("permission_check", "refuse"),
            account=chosen.account,
            tool_name=request.tool_name,
            execution_id=execution_id,
            n=1,
            deadline=chosen.resolved.caller.now + timedelta(seconds=request.deadline_seconds),
            max_wait_seconds=request.max_wait_seconds,
            reserve=int((config.get("budget") or {}).get("reserve", 0)),
            intent=request.intent,
            recent=recent,
        )

    async def _perform(self, call: CallRequest, prepared: Prepared, execution_id: UUID) -> Result:
        performed = await self._gate.perform(call, prepared)
        log_call(call_line(call, prepared, performed))
        return result_of(performed, prepared, execution_id)

    async def _once(self, request: ExecuteRequest, call: CallRequest, chosen: _Chosen) -> Result:
        """The call under an idempotency key: run once, replayed to whoever still may see it."""
        assert request.idempotency_key is not None  # noqa: S101 - the caller has looked
        # A replay shows a result, so it needs today's authority, not that of the day it was made.
        self._gate.authorize(call, chosen.prepared)
        claim = await self._idempotency.begin(call, chosen.prepared, request.idempotency_key)
        if isinstance(claim, Replay):
            return replayed(claim)
        try:
            result = await self._perform(call, chosen.prepared, call.execution_id)
        except Problem as problem:
            await asyncio.shield(self._idempotency.failed(claim, problem))
            raise
        except BaseException:
            await asyncio.shield(self._idempotency.unknown(claim))
            raise
        # The call is done: a client that leaves now must find its result, not a key that was cut off.
        await asyncio.shield(self._idempotency.finish(claim, stored(result)))
        return result

    def _dry_run(self, chosen: _Chosen, call: CallRequest, execution_id: UUID) -> Result:
        """What the call would be and whether policy would let it through. Nothing is sent, whatever its effect."""
        decision = self._gate.judge(call, chosen.prepared)
        prepared = chosen.prepared
        permit = chosen.view.connector.permit(prepared, chosen.permissions)
        data = {
            "dry_run": True,
            "method": prepared.method,
            "path": prepared.path,
            "query": prepared.query,
            "body_bytes": 0 if prepared.body is None else len(prepared.body),
            "effect": prepared.effect,
            "operation": prepared.operation.id,
            "permissions": list(prepared.operation.permissions),
            "permitted_upstream": permit.verdict,
            "verdict": {"allowed": decision.allowed, "reason": decision.reason, "hint": decision.hint},
        }
        return Result(execution_id, is_error=False, data=data, warnings=prepared.warnings)

    async def _record(self, resolved: Resolved, request: ExecuteRequest, execution_id: UUID, problem: Problem) -> None:
        facts = RefusalFacts(
            reason=problem.code,
            tool_name=request.tool_name,
            connection_name=request.tool_name.partition("_")[0][:24],
            execution_id=execution_id,
            detail=problem.detail[:300],
        )
        await self._trail.refusal(resolved.caller, facts)


def result_of(performed: Performed, prepared: Prepared, execution_id: UUID) -> Result:
    """A performed call as a Result. The upstream's own error answer is `is_error`, with what it said beside it."""
    answer = performed.answer
    error: dict[str, Any] | None = None
    if answer.is_error:
        given = dict(answer.error or {})
        fix = "wait" if answer.status == 429 or answer.status >= 500 else "model"
        detail = writes_first([], str(given.pop("detail", f"the upstream answered {answer.status}")))
        error = {"code": "upstream_error", "detail": detail, "fix": fix, "status": answer.status, **given}
    return Result(
        execution_id=execution_id,
        is_error=answer.is_error,
        data=answer.data,
        calls=(performed.call,),
        budget=performed.budget,
        error=error,
        warnings=prepared.warnings,
        media_type=answer.media_type,
    )

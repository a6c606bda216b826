"""`search` and `execute` over everything a caller has: one program or question, under one execution id, and its answer.

look up → read the input → scope → sandbox → shrink → write down → answer
"""

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson

from broker.audit.events import ExecutionDone, RefusalFacts
from broker.audit.rows import facts_of
from broker.domain import Caller, Resolved
from broker.errors import Field, Problem
from broker.gate.types import CallRecord
from broker.identity.authenticate import Asked, Authenticator
from broker.identity.restrictions import as_text
from broker.identity.sandbox import SandboxRules
from broker.identity.tokens import ParsedToken
from broker.ids import new_id
from broker.metrics import Metrics
from broker.settings import Limits
from broker.tools.choose import choose_account
from broker.tools.codemode.ending import SLACK_SECONDS
from broker.tools.codemode.keeping import Begun, Owner, digest_of
from broker.tools.codemode.on_record import OnRecord, may_write
from broker.tools.codemode.portal.asked import Ask, read
from broker.tools.codemode.portal.host import Host, Parts, Run
from broker.tools.codemode.portal.scope import place_of, scope_of, told, view_of
from broker.tools.codemode.ready import ReadySandbox
from broker.tools.codemode.reporting import error_of, tell_done
from broker.tools.codemode.run import RESULT_CHARS
from broker.tools.codemode.running import Running, shown
from broker.tools.codemode.sandbox.program import Outcome, Program
from broker.tools.codemode.searching import known_account
from broker.tools.results import Result, dumps


@dataclass(slots=True)
class _Written:
    """What the audit is to hold of a run: filled in as it goes on."""

    run: Run
    record: OnRecord | None = None
    cpu_ms: float = 0.0
    grants: Set[str] = frozenset()


class Portal:
    """Runs the portal's two tools for authenticated callers. One per process."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        ready: ReadySandbox,
        parts: Parts,
        rules: SandboxRules,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._authenticator = authenticator
        self._ready = ready
        self._parts = parts
        self._rules = rules
        self._running = Running(ready, limits, metrics)

    async def run(self, token: ParsedToken, asked: Asked, resolved: Resolved, ask: Ask) -> Result:
        """The answer; `resolved` is a look-up of now. What a program does wrong is a Result with `is_error`; raises
        Problem for every refusal, and where it could not be run or its end not be made durable."""
        execution_id, now = new_id(), resolved.caller.now

        async def reload() -> Resolved:
            return await self._authenticator.resolve(token, asked, self._parts.clock.now())

        try:
            wanted = read(ask)
            scope = await scope_of(self._parts.views, resolved, ask.tools, ask.unavailable)
            run = Run(
                execution_id=execution_id,
                wanted=wanted,
                scope=scope,
                resolved=resolved,
                owner=_owner(resolved, ask.narrowed),
                deadline=now + timedelta(seconds=ask.deadline_seconds),
                max_wait_seconds=ask.max_wait_seconds,
                looked_up_at=ask.looked_up_at,
                reload=reload,
                rule=await self._rules.of(resolved.caller),
            )
            result = await (self._found(run) if wanted.query is not None else self._ran(run))
        except Problem as problem:
            problem.execution_id = problem.execution_id or str(execution_id)
            if not problem.recorded and problem.sent in (None, False):
                await self._refused(resolved.caller, ask, execution_id, problem)
            raise
        if any(call.status == 403 for call in result.calls):
            self._authenticator.forget(token, asked)  # it may have taught what a credential lacks
        return result

    # words

    async def _found(self, run: Run) -> Result:
        """What fits the words of `query`."""
        written = _Written(run)
        query = run.wanted.query or ""
        try:
            found = await self._parts.looking.query(run, query)
        except asyncio.CancelledError:
            await asyncio.shield(self._write(written, (), "cancelled", None))
            raise
        data, truncated, _ = await shown(dumps(found), RESULT_CHARS, ())
        await asyncio.shield(self._write(written, (), "ok", None))
        return Result(run.execution_id, is_error=False, data=data, truncated=truncated)

    # programs

    async def _ran(self, run: Run) -> Result:
        wanted, caller = run.wanted, run.resolved.caller
        code = wanted.code or ""
        record = None
        if wanted.kind == "execute":
            record = OnRecord(
                self._parts.keeping, caller.tenant_id, run.execution_id, caller.now, code, lambda: self._begun(run)
            )
            if not wanted.dry_run and may_write(code):
                record.begin()
        written = _Written(run, record)

        async def nothing_written() -> None:
            raise Problem("invalid_input", "search sends nothing")

        host = Host(run, self._parts, before_write=record or nothing_written)
        try:
            image = await self._ready.execute_image()
            program = Program(image, code, orjson.dumps(await self._context(run, code)))
            ran = await self._in_sandbox(run, program, host)
        except asyncio.CancelledError:
            # The client is gone. Its calls are settled; what ran is written down all the same.
            await asyncio.shield(self._write(written, host.calls, "cancelled", None))
            raise
        except Exception as error:
            # Whatever ended it, what it had done by then is written down and told.
            if host.calls:
                if isinstance(error, Problem):
                    tell_done(error, host.calls)
                await asyncio.shield(self._write(written, host.calls, "failed", None))
            elif record is not None:
                await asyncio.shield(record.withdraw())
            raise
        written.cpu_ms, written.grants = ran.cpu_ms, host.grants
        return await self._answer(written, ran, host)

    async def _context(self, run: Run, code: str) -> dict[str, Any]:
        """What the program is told: definitions where it asks for tools at all, the account of each API where it is
        known and asked for."""
        portal = told(run.scope, definitions="tools" in code)
        portal["apis"] = [{"name": name} for name, api in run.scope.apis.items() if api.execute or api.search]
        context: dict[str, Any] = {"kind": "execute", "portal": portal}
        if "accountId" in code:
            for api in portal["apis"]:
                known = await self._account_of(run, api["name"])
                api |= {} if known is None else {"accountId": known}
            known_ones = [api["accountId"] for api in portal["apis"] if "accountId" in api]
            if len(portal["apis"]) == 1 and known_ones:
                context["accountId"] = known_ones[0]
        return context

    async def _account_of(self, run: Run, name: str) -> str | None:
        """The one upstream account that is meant by an API, where there is only one."""
        resolved = run.resolved
        connection = next(one for one in resolved.connections if one.name == name)
        try:
            account = choose_account(connection, resolved.accounts, resolved.grants, None)
        except Problem:  # told to whoever makes a request of it
            return None
        view = await view_of(self._parts.views, resolved, connection)
        permissions = await self._parts.views.permissions(resolved.caller.tenant_id, account)
        return known_account(view, account, permissions)

    async def _in_sandbox(self, run: Run, program: Program, host: Host) -> Outcome:
        return await self._running.run(
            program,
            host,
            kind=run.wanted.kind,
            tenant_id=run.resolved.caller.tenant_id,
            rule=run.rule,
            seconds_left=(run.deadline - self._parts.clock.now()).total_seconds(),
        )

    async def _answer(self, written: _Written, ran: Outcome, host: Host) -> Result:
        run, calls = written.run, host.calls
        warnings = list(host.warnings)
        warnings += [f"{ran.log_dropped} log entries were left out"] if ran.log_dropped else []
        data: Any = None
        error: dict[str, Any] | None = None
        truncated = False
        if host.would is None and not ran.ok:
            error = error_of(ran.error or {}, calls, host.failures)
        else:
            value = dumps({"would": host.would}) if host.would is not None else ran.value or b"null"
            try:
                data, truncated, error = await shown(value, RESULT_CHARS, calls)
            except asyncio.CancelledError:
                await asyncio.shield(self._write(written, calls, "cancelled", None))
                raise
            warnings += [_cut(run)] if truncated else []
            warnings += ["dry run: the program made no write"] if run.wanted.dry_run else []
        kept = ran.value if ran.ok and error is None and run.wanted.kind == "execute" else None
        outcome = "ok" if error is None else str(error["code"])
        try:
            await asyncio.shield(self._write(written, calls, outcome, kept))
        except Problem as problem:
            tell_done(problem, calls)
            raise
        return Result(
            execution_id=run.execution_id,
            is_error=error is not None,
            data=data,
            calls=calls,
            budget=None if host.budget is None else host.budget[1],
            error=error,
            warnings=tuple(warnings),
            logs=tuple({"level": line.level, "text": line.text} for line in ran.logs),
            truncated=truncated,
        )

    # the audit

    async def _write(self, written: _Written, calls: Sequence[CallRecord], outcome: str, kept: bytes | None) -> None:
        run, record = written.run, written.record
        if record is not None:
            await record.settled()
        event = _ended(run, calls, outcome, written.cpu_ms)
        text = None if record is not None and record.durable else run.wanted.code
        await self._parts.keeping.finish(event, text, kept, run.owner, written.grants)

    def _begun(self, run: Run) -> Begun:
        """An execution that began and whose end is to be written even where its process does not live to do it."""
        left = max(0.0, (run.deadline - self._parts.clock.now()).total_seconds())
        return Begun(facts_of(_ended(run, (), "ok", 0.0)), left + SLACK_SECONDS)

    async def _refused(self, caller: Caller, ask: Ask, execution_id: UUID, problem: Problem) -> None:
        facts = RefusalFacts(
            reason=problem.code,
            tool_name=ask.kind,
            execution_id=execution_id,
            detail=problem.detail[:300],
        )
        await self._parts.trail.refusal(caller, facts)
        problem.recorded = True


def _ended(run: Run, calls: Sequence[CallRecord], outcome: str, cpu_ms: float) -> ExecutionDone:
    """What the audit is told of an execution. `outcome` is `ok` or the error's code."""
    wanted, caller = run.wanted, run.resolved.caller
    writes = sum(call.effect != "read" and call.sent is not False for call in calls)
    summary: dict[str, Any] = {"cpu_ms": int(cpu_ms), "writes": writes, "portal": True}
    if wanted.query is not None:
        summary["query"] = wanted.query
    if outcome != "ok":
        summary["error"] = outcome
    if wanted.dry_run:
        summary["dry_run"] = True
    return ExecutionDone(
        caller=caller,
        at=caller.now,
        execution_id=run.execution_id,
        tool_name=wanted.kind,
        connection_name=None,
        outcome="ok" if outcome == "ok" else "error",
        calls=len(calls),
        summary=summary,
        intent=wanted.intent,
        code_digest=None if wanted.code is None else digest_of(wanted.code),
    )


def _owner(resolved: Resolved, narrowed: str) -> Owner:
    """Whose a kept result is. Raises Problem where no identity asks."""
    caller = resolved.caller
    if caller.identity is None:
        told_ = "is required with an agent key or an operator key"
        raise Problem("invalid_input", f"identifier: {told_}", fields=[Field("identifier", told_)])
    bearer = caller.bearer
    by = as_text(bearer.restrictions.access_by)
    # Access that differs by connection has no rank to compare by: the result is shown to the very same alone.
    place = place_of(narrowed if by is None else f"{narrowed}\n{by}")
    return Owner(caller.identity.id, bearer.root_id, place, None, bearer.restrictions.access)


def _cut(run: Run) -> str:
    if run.wanted.kind == "search":
        return "the result was summarised to fit: return less, such as names and paths"
    return (
        "the result was summarised to fit: narrow it with code, or in the next program start from "
        f'await previous("{run.execution_id}"), which is this result in full'
    )

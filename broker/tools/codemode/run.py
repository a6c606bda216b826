"""`NAME_search` and `NAME_execute`: one program, run under one execution id, and its answer.

look up → read the input → choose the account → sandbox → shrink → write down → answer

Whatever a program does, the answer carries its calls and its logs, and the audit holds one event for it beside those of
the calls; a program is on record before the first write that it makes.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from broker.accounts.views import Views
from broker.clock import Clock
from broker.domain import Account
from broker.errors import Problem, invalid
from broker.gate.perform import Gate
from broker.gate.types import CallRecord
from broker.identity.sandbox import NO_RULE, SandboxRule, SandboxRules
from broker.metrics import Metrics
from broker.policy.reach import Reach, reach_of_tool
from broker.settings import Limits
from broker.tools.choose import choose_account
from broker.tools.codemode.asked import Job, Wanted, read
from broker.tools.codemode.ending import begun, ended
from broker.tools.codemode.host import Requests, Standing
from broker.tools.codemode.keeping import Keeping, Owner
from broker.tools.codemode.on_record import OnRecord, may_write
from broker.tools.codemode.ready import ReadySandbox
from broker.tools.codemode.reporting import Failures, error_of, not_looked_up, tell_done
from broker.tools.codemode.running import Running, shown
from broker.tools.codemode.sandbox.errors import SandboxUnavailable
from broker.tools.codemode.sandbox.program import Host, Outcome, Program
from broker.tools.codemode.searching import Searching, hidden_sentence, known_account
from broker.tools.codemode.standing import stands_on
from broker.tools.hints import Hints
from broker.tools.results import Result, dumps
from connectors.base import Permissions

RESULT_CHARS: Final = 24_000
"""How long a result may be before it is summarised, unless configured."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Everything decided about a program before it runs. `rule` is what its tenant is held to; `grants` are the
    fingerprints of what its result will stand on, and grow with every look-up of the run."""

    job: Job
    wanted: Wanted
    account: Account | None
    permissions: Permissions
    reach: Reach
    owner: Owner
    rule: SandboxRule = NO_RULE
    grants: set[str] = field(default_factory=set)


class CodeMode:
    """Runs programs for authenticated callers. One per process."""

    def __init__(
        self,
        *,
        ready: ReadySandbox,
        searching: Searching,
        keeping: Keeping,
        views: Views,
        gate: Gate,
        hints: Hints,
        clock: Clock,
        limits: Limits,
        metrics: Metrics,
        rules: SandboxRules | None = None,
    ) -> None:
        self._ready = ready
        self._searching = searching
        self._keeping = keeping
        self._views = views
        self._gate = gate
        self._hints = hints
        self._clock = clock
        self._running = Running(ready, limits, metrics)
        self._rules = rules

    async def place(self, job: Job) -> Placed:
        """Judges whether the caller may run it at all. Raises Problem."""
        wanted = read(job.tool, job.request.tool_input, job.request.intent)
        caller = job.resolved.caller
        assert caller.identity is not None  # noqa: S101 - the orchestrator has looked
        allowed = caller.bearer.restrictions.connections
        if allowed is not None and job.connection.name not in allowed:
            raise Problem("forbidden", f"this {caller.bearer.kind} token is restricted to other connections")
        account = self._account(job)
        permissions = Permissions("unknown")
        if account is not None:
            permissions = await self._views.permissions(caller.tenant_id, account)
        now = self._clock.now()
        reach = reach_of_tool(job.resolved, job.connection, account, job.tool.name, None, now)
        if reach is None:
            who = caller.identity.identifier
            raise Problem(
                "not_granted",
                f"no grant of {who} covers the tool {job.tool.name}",
                hint=f"an admin can make one for tools [{job.tool.name!r}] on {job.connection.name}",
            )
        owner = Owner(
            caller.identity.id,
            caller.bearer.root_id,
            job.connection.id,
            None if account is None else account.id,
            caller.bearer.restrictions.access_at(job.connection.name),
        )
        rule = NO_RULE if self._rules is None else await self._rules.of(caller)
        grants = stands_on(job.resolved, job.connection, account, now)
        return Placed(job, wanted, account, permissions, reach, owner, rule, grants)

    @staticmethod
    def _account(job: Job) -> Account | None:
        """The account to use; None where a search may do with any of several."""
        try:
            return choose_account(
                job.connection, job.resolved.accounts, job.resolved.grants, job.request.connected_account_id
            )
        except Problem as problem:
            if problem.code == "ambiguous_account" and job.tool.kind == "search":
                return None
            raise

    async def run(self, placed: Placed) -> Result:
        """Runs the program. What it does wrong is a Result with `is_error`. Raises Problem where it could not be run,
        `unavailable` where its end could not be made durable."""
        return await (self._search(placed) if placed.wanted.kind == "search" else self._execute(placed))

    # search

    async def _search(self, placed: Placed) -> Result:
        job = placed.job
        found = await self._searching.prepare(
            job, placed.account, placed.permissions, placed.reach, whoami="whoami" in placed.wanted.code
        )
        image = await self._ready.search_image(found.described)

        async def nothing(name: str, _argument: bytes) -> bytes:
            raise SandboxUnavailable(f"a search has no host call {name[:60]!r}")

        program = Program(image, placed.wanted.code, found.context)
        try:
            ran = await self._in_sandbox(placed, program, nothing)
        except asyncio.CancelledError:
            await asyncio.shield(self._written(placed, (), "cancelled", 0.0, None))
            raise
        hidden = found.hidden if any(found.hidden.values()) else None
        if placed.wanted.text is None and ran.ok and ran.value is not None:
            key = "operations" if "query" in placed.wanted.words else "operation"
            told = {key: orjson.Fragment(ran.value)} | ({} if hidden is None else {"hidden": hidden})
            ran = replace(ran, value=orjson.dumps(told))
            hidden = None
        warnings = [] if hidden is None else [hidden_sentence(hidden)]
        return await self._answer(placed, ran, None, warnings)

    # execute

    async def _execute(self, placed: Placed) -> Result:
        job, wanted, account = placed.job, placed.wanted, placed.account
        assert account is not None  # noqa: S101 - `_account` lets only searches go without
        caller = job.resolved.caller
        record = OnRecord(
            self._keeping,
            caller.tenant_id,
            job.execution_id,
            caller.now,
            wanted.code,
            lambda: begun(job, wanted, account, self._clock.now()),
        )
        requests = Requests(
            job=job,
            standing=Standing(job.resolved, job.connection, account, placed.permissions, time.monotonic(), job.recent),
            intent=wanted.intent,
            gate=self._gate,
            views=self._views,
            hints=self._hints,
            keeping=self._keeping,
            owner=placed.owner,
            before_write=record,
            grants=placed.grants,
        )
        image = await self._ready.execute_image()
        program = Program(image, wanted.code, orjson.dumps(self._context(placed)))
        try:
            return await self._performed(placed, program, requests, record)
        except Problem as problem:
            # Once requests were made, nobody starts the program a second time on his own.
            if problem.sent in (None, False) and any(call.sent is not False for call in requests.calls):
                problem.sent = "unknown"
            raise

    async def _performed(self, placed: Placed, program: Program, requests: Requests, record: OnRecord) -> Result:
        """Runs a program that makes requests. Raises as `run`."""
        if not placed.job.request.dry_run and may_write(program.code):
            record.begin()
        try:
            ran = await self._in_sandbox(placed, program, requests)
            if requests.unconfirmed:
                await self._confirm(placed, requests)
        except asyncio.CancelledError:
            # The client is gone. Its calls are settled; what ran is written down all the same.
            await asyncio.shield(self._written(placed, requests.calls, "cancelled", 0.0, None, record))
            raise
        except Exception as error:
            # Whatever ended it, what it had done by then is written down and told.
            if requests.calls:
                if isinstance(error, Problem):
                    tell_done(error, requests.calls)
                await asyncio.shield(self._written(placed, requests.calls, "failed", 0.0, None, record))
            else:
                await asyncio.shield(record.withdraw())
            raise
        return await self._answer(placed, ran, requests, list(requests.warnings), record)

    async def _confirm(self, placed: Placed, requests: Requests) -> None:
        """Judges once more whether the caller may run it, where no admission has: nothing is shown on the strength of a
        look-up older than the execution. Raises Problem."""
        now = await requests.confirmed()
        again = await self.place(replace(placed.job, resolved=now.resolved, connection=now.connection, recent=False))
        placed.grants.update(again.grants)

    @staticmethod
    def _context(placed: Placed) -> dict[str, Any]:
        account = placed.account
        known = known_account(placed.job.view, account, placed.permissions)
        given = placed.wanted.account_id
        only = account.upstream_account_id if account is not None and account.kind == "account_token" else None
        if given is not None and only is not None and given != only:
            raise invalid("tool_input.account_id", f"this credential belongs to account {only}: leave account_id out")
        chosen = given or known
        return {"kind": "execute"} | ({} if chosen is None else {"accountId": chosen})

    # both

    async def _in_sandbox(self, placed: Placed, program: Program, host: Host) -> Outcome:
        return await self._running.run(
            program,
            host,
            kind=placed.wanted.kind,
            tenant_id=placed.job.resolved.caller.tenant_id,
            rule=placed.rule,
            seconds_left=(placed.job.deadline - self._clock.now()).total_seconds(),
        )

    async def _answer(
        self,
        placed: Placed,
        ran: Outcome,
        requests: Requests | None,
        warnings: list[str],
        record: OnRecord | None = None,
    ) -> Result:
        job = placed.job
        calls = () if requests is None else requests.calls
        most = int(job.view.config.get("result_chars", RESULT_CHARS))
        warnings += [f"{ran.log_dropped} log entries were left out"] if ran.log_dropped else []
        data, truncated, error = None, False, None
        if requests is not None and requests.would is not None:
            data, truncated, error = await shown(dumps({"would": requests.would}), most, calls)
        elif ran.ok:
            try:
                data, truncated, error = await shown(ran.value or b"null", most, calls)
            except asyncio.CancelledError:
                await asyncio.shield(self._written(placed, calls, "cancelled", ran.cpu_ms, None, record))
                raise
            if truncated:
                warnings.append(
                    f"the result was summarised to fit: narrow it with code, or in the next program start from "
                    f'await previous("{job.execution_id}"), which is this result in full'
                    if placed.wanted.kind == "execute"
                    else "the result was summarised to fit: return less, such as names and paths"
                )
            warnings += ["dry run: the program made no write"] if job.request.dry_run and requests is not None else []
        else:
            failures = Failures() if requests is None else requests.failures
            error = not_looked_up(placed.wanted.words, ran.error) or error_of(ran.error or {}, calls, failures)
        kept = ran.value if ran.ok and error is None and placed.wanted.kind == "execute" else None
        outcome = "ok" if error is None else str(error["code"])
        try:
            await asyncio.shield(self._written(placed, calls, outcome, ran.cpu_ms, kept, record))
        except Problem as problem:
            tell_done(problem, calls)
            raise
        return Result(
            execution_id=job.execution_id,
            is_error=error is not None,
            data=data,
            calls=calls,
            budget=None if requests is None else requests.budget,
            error=error,
            warnings=tuple(warnings),
            logs=tuple({"level": line.level, "text": line.text} for line in ran.logs),
            truncated=truncated,
        )

    async def _written(
        self,
        placed: Placed,
        calls: tuple[CallRecord, ...],
        outcome: str,
        cpu_ms: float,
        result: bytes | None,
        record: OnRecord | None = None,
    ) -> None:
        wanted = placed.wanted
        if record is not None:
            await record.settled()
        event = ended(placed.job, wanted, placed.account, calls, outcome, cpu_ms)
        text = None if record is not None and record.durable else wanted.text
        await self._keeping.finish(event, text, result, placed.owner, placed.grants)

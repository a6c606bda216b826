"""`Gate.perform`: decide → admit → open → send → settle, for one call of a tool."""

import dataclasses
from asyncio import sleep
from collections.abc import Awaitable, Callable
from datetime import datetime
from time import monotonic
from typing import Protocol
from uuid import UUID

from broker.audit.events import RefusalFacts
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.domain import Decision, Resolved
from broker.errors import Problem
from broker.gate import endings
from broker.gate.claims import Claim, Refused, hold_seconds, ordered
from broker.gate.dispatch import Dispatch, Ended, Order, Sendable
from broker.gate.inflight import InFlight
from broker.gate.types import BudgetView, CallRecord, CallRequest, Performed
from broker.gate.waiting import Lines
from broker.ids import new_id
from broker.policy.decide import AccessRequest, decide
from broker.settings import Limits
from connectors.base import Prepared

_REDECIDE = 3
"""How often a call is decided anew because policy changed while it was admitted."""


KEPT_REFUSALS = frozenset({"budget_exhausted", "rate_limited"})
"""Refusals that do not come from what was looked up: asking again would only make the caller wait twice."""


class Pace(Protocol):
    """Waits for a turn of this installation's own rate towards an official origin (egress_rate.py)."""

    async def turn(self, tenant_id: UUID, until: float) -> None: ...


Learned = Callable[[UUID, UUID, str, str], Awaitable[None]]
"""(tenant, account, operation id, missing permission): what a 403 proved."""


class Gate:
    """Performs calls. One per process."""

    def __init__(
        self,
        *,
        dispatch: Dispatch,
        trail: AuditTrail,
        clock: Clock,
        limits: Limits,
        in_flight: InFlight,
        pace: Pace | None = None,
        on_learned: Learned | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._trail = trail
        self._clock = clock
        self._limits = limits
        self._in_flight = in_flight
        self._pace = pace
        self._on_learned = on_learned
        self._lines = Lines()

    def judge(self, call: CallRequest, prepared: Prepared) -> Decision:
        """Policy's answer to a call. Pure but for the clock."""
        return decide(
            AccessRequest(
                caller=call.resolved.caller,
                connection=call.connection,
                account=call.account,
                tool_name=call.tool_name,
                operation=prepared.operation,
                resources=prepared.resources,
                grants=call.resolved.grants,
                permit=call.connector.permit(prepared, call.permissions),
                permission_check=call.permission_check,
                now=self._clock.now(),
            )
        )

    def authorize(self, call: CallRequest, prepared: Prepared) -> Decision:
        """The decision that allows a call. Raises Problem `not_granted`, `not_permitted_upstream`, `forbidden`; the
        refusal is not recorded yet."""
        decision = self.judge(call, prepared)
        if not decision.allowed:
            problem = endings.not_allowed(decision, str(call.execution_id))
            problem.reason, problem.needs = decision.reason, prepared.effect
            raise problem
        return decision

    async def perform(self, call: CallRequest, prepared: Prepared) -> Performed:
        """Performs one call and returns its answer; the upstream's own error is an answer too.

        Raises Problem for every refusal and for every call without a usable answer (settled). `recorded` says whether
        the audit holds it: only a refusal of a `recent` call, which is to be judged anew, does not stand there yet. On
        CancelledError the upstream request is given up and the call settled as `cancelled`.
        """
        caller = call.resolved.caller
        sendable: Sendable | None = None
        try:
            with self._in_flight.room(caller.tenant_id, None if caller.identity is None else caller.identity.id):
                sendable = await self._admit(call, prepared)
                ended = await self._dispatch.send(sendable)
        except Problem as problem:
            problem.execution_id = str(call.execution_id)
            if sendable is not None:
                # Admitted: the audit has its intent, and its outcome, by the sweeper at the latest.
                problem.recorded = True
            elif problem.sent is False and (not call.recent or problem.code in KEPT_REFUSALS):
                await self._record(call, prepared, problem)
            raise
        return self._performed(call, prepared, sendable, ended)

    async def _admit(self, call: CallRequest, prepared: Prepared) -> Sendable:
        """Waits for the egress turn and for budget, as long as the caller allows. Raises Problem."""
        started = monotonic()
        until = started + min(call.max_wait_seconds, self._limits.max_wait_seconds, self._seconds_left(call.deadline))
        if self._pace is not None and prepared.origin in call.connector.official_origins:
            try:
                await self._pace.turn(call.resolved.caller.tenant_id, max(until, started + 1.0))
            except TimeoutError:
                told = "this installation's own rate towards the upstream is used up"
                raise Problem("rate_limited", told, retry_after=1, sent=False) from None
        found, call = await self._try(call, prepared, started)
        if isinstance(found, Sendable):
            return found
        return await self._queue(call, prepared, found, started, until)

    async def _queue(
        self, call: CallRequest, prepared: Prepared, refused: Refused, started: float, until: float
    ) -> Sendable:
        """In line for budget. Authority is looked up afresh after every wait."""
        caller = call.resolved.caller
        again_at = monotonic() + refused.retry_seconds
        meter, principal = refused.meter or "", refused.principal or b""
        if again_at > until:
            raise endings.budget_exhausted(meter, refused.retry_seconds)
        sharer = caller.tenant_id if caller.identity is None else caller.identity.id
        try:
            async with self._lines.turn(principal, sharer, until):
                while True:
                    if again_at > until:
                        raise endings.budget_exhausted(meter, again_at - monotonic())
                    await sleep(max(0.0, again_at - monotonic()))
                    call = await self._reloaded(call)
                    found, call = await self._try(call, prepared, started)
                    if isinstance(found, Sendable):
                        return found
                    again_at = monotonic() + found.retry_seconds
        except TimeoutError:
            raise endings.budget_exhausted(meter, max(again_at - monotonic(), 1.0)) from None

    async def _try(
        self, call: CallRequest, prepared: Prepared, started: float
    ) -> tuple[Sendable | Refused, CallRequest]:
        """Decides and admits; decides anew where policy changed in between. A Refused is for want of budget."""
        for _ in range(_REDECIDE + 1):
            decision = self.authorize(call, prepared)
            timeout = min(self._seconds_left(call.deadline), self._limits.call_seconds_max)
            if timeout <= 0:
                raise endings.deadline_passed()
            order = _order(call, prepared, decision, timeout)
            found = await self._dispatch.admit(
                order, _claim(call, prepared, timeout), self._clock.now(), (monotonic() - started) * 1000
            )
            if isinstance(found, Sendable) or found.reason == "budget":
                return found, call
            if found.reason not in endings.CHANGED or call.recent:
                raise endings.refused(found.reason)
            call = await self._reloaded(call)
        raise endings.refused("policy_changed")

    async def _reloaded(self, call: CallRequest) -> CallRequest:
        """The same call as authority stands now. Raises Problem where it no longer can be made."""
        resolved: Resolved = await call.reload()
        connection = next((c for c in resolved.connections if c.id == call.connection.id), None)
        account = next((a for a in resolved.accounts if a.id == call.account.id), None)
        if connection is None or connection.status != "active":
            raise endings.refused("connection_inactive")
        if connection.version != call.connection.version:
            raise endings.refused("connection_changed")
        if account is None:
            raise endings.refused("account_revoked")
        if account.status != "active":
            raise endings.refused(f"account_{account.status}")
        return dataclasses.replace(call, resolved=resolved, connection=connection, account=account)

    def _seconds_left(self, deadline: datetime) -> float:
        return (deadline - self._clock.now()).total_seconds()

    def _performed(self, call: CallRequest, prepared: Prepared, sendable: Sendable, ended: Ended) -> Performed:
        if ended.answer is None:
            assert ended.ending.problem is not None  # noqa: S101 - an ending has an answer or a problem
            ended.ending.problem.execution_id = str(call.execution_id)
            ended.ending.problem.recorded = True
            raise ended.ending.problem
        answer = ended.answer
        if answer.status == 403 and self._on_learned is not None:
            missing = call.connector.learn(prepared, answer)
            if missing is not None:
                learned = self._on_learned(
                    call.resolved.caller.tenant_id, call.account.id, prepared.operation.id, missing
                )
                self._dispatch.spawn(_awaited(learned), "learning_failed")
        record = CallRecord(call.n, prepared.method, prepared.path, answer.status, prepared.effect, sent=True)
        return Performed(answer, record, _budget(call, sendable, ended), sendable.order.decision, ended.timings)

    async def _record(self, call: CallRequest, prepared: Prepared, problem: Problem) -> None:
        """Writes down a refusal. What was admitted has its outcome instead."""
        if problem.recorded:
            return
        would = problem.extra.get("would_grant")
        facts = RefusalFacts(
            reason=problem.code,
            tool_name=call.tool_name,
            connection_name=call.connection.name,
            account_id=call.account.id,
            execution_id=call.execution_id,
            operation=prepared.operation.id,
            method=prepared.method,
            path=prepared.path,
            effect=prepared.effect,
            code=problem.code,
            detail=problem.detail,
            summary={} if would is None else {"would_grant": would},
        )
        await self._trail.refusal(call.resolved.caller, facts)
        problem.recorded = True


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _order(call: CallRequest, prepared: Prepared, decision: Decision, timeout: float) -> Order:
    return Order(
        caller=call.resolved.caller,
        connection=call.connection,
        connector=call.connector,
        account_id=call.account.id,
        tool_name=call.tool_name,
        execution_id=call.execution_id,
        n=call.n,
        prepared=prepared,
        decision=decision,
        sentence=call.intent,
        timeout_seconds=timeout,
    )


def _claim(call: CallRequest, prepared: Prepared, timeout: float) -> Claim:
    caller = call.resolved.caller
    return Claim(
        tenant_id=caller.tenant_id,
        policy_version=caller.policy_version,
        identity_id=None if caller.identity is None else caller.identity.id,
        bearer_tenant_id=caller.bearer.tenant_id,
        bearer_id=caller.bearer.id,
        root_id=caller.bearer.root_id,
        connection_id=call.connection.id,
        connection_version=call.connection.version,
        account_id=call.account.id,
        account_version=call.account.version,
        meters=ordered(prepared.meters),
        reserve=call.reserve,
        hold_seconds=hold_seconds(timeout),
        call_id=new_id(),
        execution_id=call.execution_id,
    )


def _budget(call: CallRequest, sendable: Sendable, ended: Ended) -> BudgetView | None:
    """What is left, as of the settle; the reserve is not the caller's to spend."""
    meters = sendable.claim.meters
    if not meters:
        return None
    remaining = ended.settled.remaining
    reset = ended.settled.reset_seconds
    if remaining is None:
        remaining, reset = (sendable.admitted.remaining or 0) + call.reserve, sendable.admitted.reset_seconds
    meter = meters[0]
    return BudgetView(meter.name, meter.limit, max(remaining - call.reserve, 0), meter.window_seconds, reset)

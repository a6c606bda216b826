"""One call from its intent to its outcome: admit → open → send → settle. Who may make it is decided before.

Exactly two database round trips; none is held while the upstream answers. Once admit has said yes there is one way out:
through settle, whatever happens in between, the client's disconnect included.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Protocol
from uuid import UUID

import structlog

from broker import turns
from broker.audit.events import CallFacts, Event, Intent, Outcome
from broker.audit.rows import EventRow
from broker.audit.trail import AuditTrail
from broker.domain import Caller, Connection, Decision
from broker.errors import Problem
from broker.gate import endings
from broker.gate.admission import Admissions
from broker.gate.claims import (
    NO_HINT,
    AdmitBusy,
    AdmitLost,
    Admitted,
    Claim,
    Refused,
    Settled,
    SettleLost,
    Settlement,
    how_sent,
)
from broker.gate.endings import Ending
from broker.gate.inflight import InFlight
from broker.gate.types import Measure, Timings
from connectors.base import Answer, Connector, HttpSender, Prepared
from connectors.errors import ConnectorError
from connectors.frozen import quick
from vault.binding import CredentialBinding
from vault.errors import VaultError
from vault.secret import Secret
from vault.store import Vault

_log = structlog.get_logger(__name__)

_SLACK_SECONDS = 1.0
"""How much longer than its own timeout a connector may take to give up."""


class Observe(Protocol):
    """Where a finished call is counted."""

    def __call__(self, measure: Measure) -> None: ...


@quick
@dataclass(frozen=True, slots=True)
class Order:
    """A call that policy allows. `now` becomes the intent's time."""

    caller: Caller
    connection: Connection
    connector: Connector
    account_id: UUID
    tool_name: str
    execution_id: UUID
    n: int
    prepared: Prepared
    decision: Decision
    sentence: str | None
    timeout_seconds: float


@quick
@dataclass(frozen=True, slots=True)
class Sendable:
    """An order whose intent is durable. Must be sent or settled."""

    order: Order
    facts: CallFacts
    claim: Claim
    admitted: Admitted
    timings: Timings


@quick
@dataclass(frozen=True, slots=True)
class Ended:
    """A call with a durable outcome. `answer` None: `ending.problem` says why. `cause` is the connector's own error."""

    ending: Ending
    answer: Answer | None
    settled: Settled
    timings: Timings
    cause: ConnectorError | None = None


class Dispatch:
    """One per process."""

    def __init__(
        self,
        *,
        admissions: Admissions,
        vault_: Vault,
        trail: AuditTrail,
        http: HttpSender,
        in_flight: InFlight,
        observe: Observe | None = None,
    ) -> None:
        self._admissions = admissions
        self._vault = vault_
        self._trail = trail
        self._http = http
        self._in_flight = in_flight
        self._observe = observe
        self._tasks: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Waits for the settles that are still under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def admit(self, order: Order, claim: Claim, now: datetime, wait_ms: float) -> Sendable | Refused:
        """Books and writes the intent. Raises Problem `unavailable`; then nothing was or will be sent."""
        facts = CallFacts.of(
            order.caller,
            at=now,
            call_id=claim.call_id,
            execution_id=order.execution_id,
            n=order.n,
            connection_name=order.connection.name,
            account_id=order.account_id,
            tool_name=order.tool_name,
            operation=order.prepared.operation.id,
        )
        try:
            intent = await self._row(Intent(facts, order.caller, order.prepared, order.decision, order.sentence))
        except VaultError as error:
            told = "the audit key cannot be had; nothing is sent without a record"
            raise Problem("unavailable", told, sent=False) from error
        started = monotonic()
        try:
            admitted = await self._admissions.admit(claim, intent)
        except AdmitBusy:
            told = "a change of policy is under way"
            raise Problem("unavailable", told, fix="wait", retry_after=1, sent=False) from None
        except AdmitLost as lost:
            if lost.asked:
                self._abandon(claim, facts)
            raise Problem("unavailable", "the database is away", retry_after=2, sent=False) from None
        except asyncio.CancelledError:
            self._abandon(claim, facts)
            raise
        if isinstance(admitted, Refused):
            return admitted
        return Sendable(order, facts, claim, admitted, Timings(wait_ms, (monotonic() - started) * 1000))

    async def send(self, call: Sendable) -> Ended:
        """Sends an admitted call and settles it. Raises CancelledError when the client went away, and Problem
        `outcome_unknown` where the outcome could not be made durable."""
        started = monotonic()
        answer: Answer | None = None
        cause: ConnectorError | None = None
        cancelled: asyncio.CancelledError | None = None
        with self._in_flight.running(call.claim.call_id) as running:
            try:
                secret = await self._open(call)
                answer = await self._on_the_wire(call, secret)
                ending = endings.answered(answer)
            except VaultError as error:
                ending = _sealed(error)
            except ConnectorError as error:
                ending, cause = endings.failed(error, call.order.prepared.effect), error
            except TimeoutError:
                ending = Ending("timeout", "unknown", endings.timed_out("unknown"), "timeout")
            except asyncio.CancelledError as error:
                if running.caught():
                    ending = endings.stopped()
                else:
                    ending, cancelled = Ending("cancelled", "unknown", None, "client_gone"), error
            except Exception as error:  # noqa: BLE001 - see below
                # A fault of ours: the call may be out. Its outcome is written before anyone hears of the fault.
                _log.exception("send_failed", execution_id=str(call.order.execution_id))
                ending = Ending("unknown", "unknown", _internal(), type(error).__name__)
            upstream_ms = (monotonic() - started) * 1000
        settled, settle_ms = await self._finish(call, ending, answer, upstream_ms)
        if cancelled is not None:
            raise cancelled
        timings = Timings(call.timings.wait_ms, call.timings.admit_ms, upstream_ms, settle_ms)
        return Ended(ending, answer, settled, timings, cause)

    async def _on_the_wire(self, call: Sendable, secret: Secret) -> Answer:
        with turns.elsewhere():
            async with asyncio.timeout(call.order.timeout_seconds + _SLACK_SECONDS):
                return await call.order.connector.send(
                    self._http,
                    call.order.prepared,
                    call.admitted.kind,
                    secret,
                    allowed_origins=call.admitted.origins,
                    timeout_seconds=call.order.timeout_seconds,
                )

    async def _open(self, call: Sendable) -> Secret:
        admitted = call.admitted
        binding = CredentialBinding(
            call.claim.tenant_id,
            call.claim.account_id,
            admitted.credential_id,
            admitted.credential_version,
            admitted.kind,
            admitted.origins,
        )
        secret = self._vault.try_open(binding, admitted.sealed)
        return secret if secret is not None else await self._vault.open(binding, admitted.sealed)

    async def _finish(
        self, call: Sendable, ending: Ending, answer: Answer | None, upstream_ms: float
    ) -> tuple[Settled, float]:
        """Settles, also when the caller is cancelled meanwhile."""
        started = monotonic()
        outcome, settlement = self._outcome(call, ending, answer, upstream_ms)
        try:
            settled = await self._settle(settlement, outcome)
        except (SettleLost, VaultError):
            raise endings.unwritten(ending, None if answer is None else answer.status) from None
        settle_ms = (monotonic() - started) * 1000
        if self._observe is not None:
            timings = Timings(call.timings.wait_ms, call.timings.admit_ms, upstream_ms, settle_ms)
            status = None if answer is None else answer.status
            effect = call.order.prepared.effect
            self._observe(Measure(call.order.connector.name, effect, ending.outcome, status, timings))
        return settled, settle_ms

    async def _settle(self, settlement: Settlement, outcome: Outcome) -> Settled:
        """Writes the outcome in the caller's own task, which costs least. A caller who leaves meanwhile leaves it to
        another: settling the same row twice does what settling it once does, whichever comes first."""
        row = self._trail.try_row(outcome)
        if row is None:
            return await asyncio.shield(self._spawn(self._settle_slowly(settlement, outcome)))
        try:
            return await self._admissions.settle(settlement, row)
        except asyncio.CancelledError:
            self.spawn(self._settle_again(settlement, row), "abandoned_to_sweeper")
            raise

    async def _settle_again(self, settlement: Settlement, row: EventRow) -> None:
        await self._admissions.settle(settlement, row)

    async def _settle_slowly(self, settlement: Settlement, outcome: Outcome) -> Settled:
        """As `_settle`, where the key for the row is not at hand."""
        return await self._admissions.settle(settlement, await self._row(outcome))

    def _outcome(
        self, call: Sendable, ending: Ending, answer: Answer | None, upstream_ms: float
    ) -> tuple[Outcome, Settlement]:
        total_ms = upstream_ms + call.timings.admit_ms
        outcome = Outcome(
            facts=call.facts,
            outcome=ending.outcome,
            sent=ending.sent,
            upstream_status=None if answer is None else answer.status,
            upstream_ray=None if answer is None else answer.ray,
            latency_us=int(total_ms * 1000),
            upstream_us=int(upstream_ms * 1000),
            wait_us=int(call.timings.wait_ms * 1000),
            request_bytes=None if answer is None else answer.request_bytes,
            response_bytes=None if answer is None else answer.response_bytes,
            credential_id=call.admitted.credential_id,
            credential_version=call.admitted.credential_version,
            error=ending.error,
        )
        settlement = Settlement(
            tenant_id=call.claim.tenant_id,
            call_id=call.claim.call_id,
            account_id=call.claim.account_id,
            principal=call.admitted.principal,
            meters=[m.name for m in call.claim.meters],
            costs=[m.cost for m in call.claim.meters],
            how=how_sent(ending.sent),
            block_seconds=0 if answer is None else endings.stay_away(answer),
            rate=NO_HINT if answer is None else answer.rate,
        )
        return outcome, settlement

    def _abandon(self, claim: Claim, facts: CallFacts) -> None:
        """Nobody knows whether the intent was written; that nothing was sent is certain. Ends it so, if it is there."""

        async def end() -> None:
            settlement = Settlement(
                tenant_id=claim.tenant_id,
                call_id=claim.call_id,
                account_id=claim.account_id,
                principal=b"",
                meters=[m.name for m in claim.meters],
                costs=[m.cost for m in claim.meters],
                how="not_sent",
                only_open=True,
            )
            try:
                row = await self._row(Outcome(facts=facts, outcome="not_sent", sent=False, error="admit_lost"))
                await self._admissions.settle(settlement, row)
            except (SettleLost, VaultError) as error:
                _log.warning("abandoned_to_sweeper", error=type(error).__name__)

        self._spawn(end())

    def spawn(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """Runs something that the caller does not wait for; a failure is logged as `what`."""
        task = self._spawn(work)
        task.add_done_callback(_logged(what))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _row(self, event: Event) -> EventRow:
        return self._trail.try_row(event) or await self._trail.row(event)


def _logged(what: str) -> Callable[[asyncio.Task[Any]], None]:
    def done(task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error(what, error=type(task.exception()).__name__)

    return done


def _internal() -> Problem:
    return Problem("internal", "the call failed here; it may have reached the upstream", sent="unknown")


def _sealed(error: VaultError) -> Ending:
    told = "the account's credential could not be opened; nothing was sent"
    return Ending("not_sent", sent=False, problem=Problem("unavailable", told, sent=False), error=type(error).__name__)

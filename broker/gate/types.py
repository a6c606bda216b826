"""The values that pass through the gate. Frozen; nothing here reads or writes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from broker.audit.events import CallOutcome
from broker.domain import Account, Connection, Decision, Resolved
from connectors.base import Answer, Connector, Effect, Permissions
from connectors.errors import Sent
from connectors.frozen import quick

Reload = Callable[[], Awaitable[Resolved]]
"""Authenticates the same request afresh. Raises Problem."""


@quick
@dataclass(frozen=True, slots=True)
class CallRequest:
    """One call as its orchestrator understands it.

    `deadline` bounds everything, waiting included. `max_wait_seconds` (0..30) is how long it may queue for budget.
    `reserve` is how many slots of the budget are left to the human's own use. `intent` is the model's sentence, at most
    500 characters, kept in the audit. `reload` authenticates afresh: used when anything changed while the call waited.
    `recent`: `resolved` may be a second old, so a refusal is not final and not recorded; the orchestrator asks anew.
    """

    resolved: Resolved
    reload: Callable[[], Awaitable[Resolved]]
    connection: Connection
    connector: Connector
    permissions: Permissions
    permission_check: Literal["refuse", "advise"]
    account: Account
    tool_name: str
    execution_id: UUID
    n: int
    deadline: datetime
    max_wait_seconds: float = 0.0
    reserve: int = 0
    intent: str | None = None
    recent: bool = False


@quick
@dataclass(frozen=True, slots=True)
class CallRecord:
    """One upstream request as the answer's `calls` lists it. `status` None: no answer came."""

    n: int
    method: str
    path: str
    status: int | None
    effect: Effect
    sent: Sent


@quick
@dataclass(frozen=True, slots=True)
class BudgetView:
    """What is left after a call. `reset_seconds`: until the next slot frees, 0 while any is free."""

    meter: str
    limit: int
    remaining: int
    window_seconds: int
    reset_seconds: int


@quick
@dataclass(frozen=True, slots=True)
class Timings:
    """Where a call's time went, in milliseconds. `wait_ms` is the queueing for budget and egress."""

    wait_ms: float = 0.0
    admit_ms: float = 0.0
    upstream_ms: float = 0.0
    settle_ms: float = 0.0


@quick
@dataclass(frozen=True, slots=True)
class Performed:
    """A call that reached its outcome and is durable. `answer` may be the upstream's own error."""

    answer: Answer
    call: CallRecord
    budget: BudgetView | None
    decision: Decision
    timings: Timings = Timings()


@quick
@dataclass(frozen=True, slots=True)
class Measure:
    """What metrics learn of one settled call. Names no tenant."""

    connector: str
    effect: Effect
    outcome: CallOutcome
    status: int | None
    timings: Timings

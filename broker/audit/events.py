"""The typed events. Each is a frozen value that knows its columns; `trail.py` turns it into a row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from broker.domain import Caller, Decision
from connectors.base import Prepared
from connectors.errors import Sent
from connectors.frozen import quick

CallOutcome = Literal["ok", "upstream_error", "timeout", "cancelled", "not_sent", "unknown"]
"""Every intent ends in one of these (DESIGN.md, invariant 3). The latest outcome of a call is the true one.
"""

Kind = Literal["intent", "outcome", "refusal", "change", "execution"]


@quick
@dataclass(frozen=True, slots=True)
class CallFacts:
    """The columns that an intent and its outcomes share. `at` is when the intent was made, UTC."""

    tenant_id: UUID
    at: datetime
    call_id: UUID
    execution_id: UUID
    n: int
    actor: str
    on_behalf_of: str | None
    identifier: str | None
    bearer_id: UUID
    connection_name: str
    account_id: UUID
    tool_name: str
    operation: str
    run_id: str | None

    @classmethod
    def of(
        cls,
        caller: Caller,
        *,
        at: datetime,
        call_id: UUID,
        execution_id: UUID,
        n: int,
        connection_name: str,
        account_id: UUID,
        tool_name: str,
        operation: str,
    ) -> "CallFacts":
        """The facts of `caller`'s call. `operation` is the operation's id."""
        return cls(
            tenant_id=caller.tenant_id,
            at=at,
            call_id=call_id,
            execution_id=execution_id,
            n=n,
            actor=caller.actor,
            on_behalf_of=on_behalf_of(caller),
            identifier=None if caller.identity is None else caller.identity.identifier,
            bearer_id=caller.bearer.id,
            connection_name=connection_name,
            account_id=account_id,
            tool_name=tool_name,
            operation=operation,
            run_id=caller.run_id,
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "CallFacts":
        """The facts of an intent as stored: any mapping that holds the columns by name (an asyncpg Record
        does).
        """
        return cls(**{name: row[name] for name in cls.__slots__})


@quick
@dataclass(frozen=True, slots=True)
class Intent:
    """A call that was decided upon and is about to be sent. `sentence` is the model's own word for why."""

    facts: CallFacts
    caller: Caller
    prepared: Prepared
    decision: Decision
    sentence: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call. Times in whole microseconds: `latency_us` from intent to end, `upstream_us` on the
    wire, `wait_us` queueing for budget before the intent. `error` is our own word or sentence, never the
    upstream's body.
    """

    facts: CallFacts
    outcome: CallOutcome
    sent: Sent
    upstream_status: int | None = None
    upstream_ray: str | None = None
    latency_us: int | None = None
    upstream_us: int | None = None
    wait_us: int | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    credential_id: UUID | None = None
    credential_version: int | None = None
    error: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class RefusalFacts:
    """Why a caller was refused, and of what. `reason` is a Problem's code or policy's stable word: it keys
    the flood control, so it never holds a name or id.
    """

    reason: str
    tool_name: str | None = None
    connection_name: str | None = None
    account_id: UUID | None = None
    execution_id: UUID | None = None
    operation: str | None = None
    method: str | None = None
    path: str | None = None
    effect: str | None = None
    code: str | None = None
    detail: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal of an authenticated caller. `suppressed` > 0: this row stands for that many like it, between
    `since` and `at`."""

    caller: Caller
    at: datetime
    facts: RefusalFacts
    suppressed: int = 0
    since: datetime | None = None


@quick
@dataclass(frozen=True, slots=True)
class Change:
    """An administrative change that was made in the very transaction this is written in.

    `action` is noun.verb in the past tense: `grant.created`. `caller` None: the system, named by `actor`.
    """

    tenant_id: UUID
    at: datetime
    action: str
    caller: Caller | None
    actor: str
    identifier: str | None = None
    connection_name: str | None = None
    account_id: UUID | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class ExecutionDone:
    """An execution that made no call of its own (a Code Mode search), or the sum of one that made several."""

    caller: Caller
    at: datetime
    execution_id: UUID
    tool_name: str
    connection_name: str | None
    outcome: Literal["ok", "error"]
    calls: int = 0
    summary: Mapping[str, Any] = field(default_factory=dict)
    account_id: UUID | None = None
    intent: str | None = None
    code_digest: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class ExecutionLost:
    """An execution whose process went before it wrote the end. `facts` is `rows.facts_of` of its beginning; what it did
    is read from its calls. It ended `unknown`."""

    tenant_id: UUID
    facts: Mapping[str, Any]
    calls: int
    summary: Mapping[str, Any]


Event = Intent | Outcome | Refusal | Change | ExecutionDone | ExecutionLost


def on_behalf_of(caller: Caller) -> str | None:
    """The identifier an operator acts for, or None where nobody is impersonated."""
    return caller.identity.identifier if caller.on_behalf_of and caller.identity is not None else None

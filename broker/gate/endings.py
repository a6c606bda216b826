"""What a refusal of admit, or a failure on the wire, means to the caller. Pure."""

from dataclasses import dataclass

from broker.audit.events import CallOutcome
from broker.domain import Decision
from broker.errors import Problem
from connectors.base import Answer, Effect
from connectors.errors import (
    ConnectorError,
    EgressRefused,
    ResponseTooLarge,
    Sent,
    UpstreamFault,
    UpstreamTimeout,
)
from connectors.frozen import quick

CHANGED = frozenset({"policy_changed"})
"""Reasons after which the call is worth deciding anew."""

RETRY_AFTER_429 = 300
"""Seconds to stay away from a principal whose 429 doesn't say for how long."""


@quick
@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended. `problem` None: there is an answer. `error` is one word of ours for the audit."""

    outcome: CallOutcome
    sent: Sent
    problem: Problem | None = None
    error: str | None = None


_REASONS: dict[str, tuple[str, str]] = {
    "tenant_inactive": ("forbidden", "the tenant is not active"),
    "bearer_revoked": ("unauthenticated", "the key or token was revoked"),
    "bearer_expired": ("session_expired", "the session token or key has expired"),
    "identity_disabled": ("identity_disabled", "the identity is disabled"),
    "account_revoked": ("revoked", "the connected account was revoked"),
    "account_pending": ("not_connected", "the connected account is not verified yet"),
    "account_needs_reauth": ("needs_reauth", "the account must be connected again"),
    "credential_expired": ("needs_reauth", "the connected credential has expired upstream"),
    "connection_inactive": ("forbidden", "the connection is not active"),
}


def refused(reason: str) -> Problem:
    """The Problem that a word of admit's judgement amounts to. Nothing was sent."""
    if reason in ("connection_changed", "policy_changed"):
        return Problem(
            "unavailable",
            "the connection or its policy was changed while the call was being admitted",
            hint="repeat the call",
            fix="wait",
            retry_after=1,
            sent=False,
        )
    code, detail = _REASONS[reason]
    return Problem(code, detail, sent=False)


def not_allowed(decision: Decision, execution_id: str) -> Problem:
    """The Problem of a decision against a call."""
    hint = decision.hint
    extra = {}
    if decision.would_grant is not None:
        hint = f"an admin can make the grant that would cover it: `keyreeve allow {execution_id}`"
        extra["would_grant"] = dict(decision.would_grant)
    return Problem(
        decision.code or "not_granted",
        decision.detail or decision.reason,
        hint=hint,
        sent=False,
        execution_id=execution_id,
        extra=extra,
    )


def budget_exhausted(meter: str, retry_seconds: float) -> Problem:
    """Too few slots free, and none in time."""
    wait = max(1, -(-int(retry_seconds * 1000) // 1000))
    return Problem(
        "budget_exhausted",
        f"the upstream principal's budget ({meter}) is used up for {wait} s",
        hint="sleep retry_after and repeat, or pass max_wait_seconds to queue",
        retry_after=wait,
        sent=False,
    )


def answered(answer: Answer) -> Ending:
    """An answer came: the upstream's own error is one too."""
    return Ending("upstream_error" if answer.is_error else "ok", sent=True)


def stay_away(answer: Answer) -> int:
    """Seconds for which the upstream told this principal to stay away; 0: it didn't."""
    if answer.status != 429:
        return 0
    told = answer.rate.retry_after_seconds
    return RETRY_AFTER_429 if told is None else max(1, min(told, 600))


def failed(error: ConnectorError, effect: Effect) -> Ending:
    """No usable answer came."""
    word = type(error).__name__
    if isinstance(error, EgressRefused):
        return Ending("not_sent", sent=False, problem=Problem("egress_refused", error.reason, sent=False), error=word)
    if isinstance(error, ResponseTooLarge):
        told = Problem("payload_too_large", str(error), hint="ask for less, or for one page at a time", sent=True)
        return Ending("unknown", sent=True, problem=told, error=word)
    sent: Sent = error.sent if isinstance(error, UpstreamFault) else "unknown"
    if sent is False:
        return Ending(
            "not_sent", sent=False, problem=Problem("upstream_unreachable", str(error), sent=False), error=word
        )
    if isinstance(error, UpstreamTimeout):
        return Ending("timeout", sent, timed_out(sent), word)
    code = "upstream_unreachable" if effect == "read" else "outcome_unknown"
    return Ending("unknown", sent, Problem(code, str(error), hint=_look(effect), sent=sent), word)


def timed_out(sent: Sent) -> Problem:
    """The deadline passed."""
    return Problem("upstream_timeout", "the upstream did not answer in time", hint=_look("write"), sent=sent)


def deadline_passed() -> Problem:
    """The deadline passed before anything was sent."""
    return Problem(
        "upstream_timeout",
        "the deadline passed before the call was sent",
        hint="allow more deadline_seconds",
        sent=False,
    )


def stopped() -> Ending:
    """Its authority was taken away while it ran."""
    told = Problem(
        "revoked", "the call was stopped: what it was allowed by has been revoked", hint=_look("write"), sent="unknown"
    )
    return Ending("cancelled", "unknown", told, "revoked")


def unwritten(ending: Ending, status: int | None) -> Problem:
    """The call ended, but its outcome could not be made durable: the caller gets no success that the audit lacks."""
    said = "" if status is None else f"; the upstream answered {status}"
    return Problem(
        "outcome_unknown",
        f"the outcome could not be written to the audit{said}",
        hint="look at the upstream before repeating a write",
        sent=ending.sent,
    )


def _look(effect: Effect) -> str | None:
    return None if effect == "read" else "it may have been done: look before repeating it"

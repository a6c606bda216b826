"""Every refusal and failure Keyreeve answers with: one class, one table of codes (API.md, Errors).

`Problem` is raised anywhere below the endpoints and turned into `application/problem+json` in one place
(`endpoints/rest/problems.py`) or into an error object in a tool result. Its texts are written for whoever reads them
and never hold a secret.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Access = Literal["read", "write", "destructive"]
Fix = Literal["model", "user", "admin", "wait", "operator"]


@dataclass(frozen=True, slots=True)
class Code:
    """What a code always means: HTTP status, who can mend it, and a short title."""

    status: int
    fix: Fix
    title: str


CODES: Mapping[str, Code] = {
    "unauthenticated": Code(401, "user", "Not authenticated"),
    "session_expired": Code(401, "user", "The session has expired"),
    "forbidden": Code(403, "admin", "This key may not do that"),
    "not_granted": Code(403, "admin", "No grant covers this"),
    "not_permitted_upstream": Code(403, "user", "The credential's own permissions do not allow this"),
    "identity_disabled": Code(403, "admin", "The identity is disabled"),
    "not_found": Code(404, "model", "Not found"),
    "unknown_connection": Code(404, "model", "Unknown connection"),
    "unknown_identity": Code(404, "model", "Unknown identity"),
    "unknown_tool": Code(404, "model", "Unknown tool"),
    "unknown_operation": Code(404, "model", "Unknown operation"),
    "method_not_allowed": Code(405, "model", "Method not allowed"),
    "not_connected": Code(409, "user", "No account is connected"),
    "needs_reauth": Code(409, "user", "The account must be connected again"),
    "revoked": Code(409, "user", "The account was revoked"),
    "ambiguous_account": Code(409, "model", "Several accounts fit"),
    "already_exists": Code(409, "admin", "It already exists"),
    "version_conflict": Code(409, "admin", "It was changed meanwhile"),
    "principal_changed": Code(409, "admin", "The credential belongs to another upstream principal"),
    "approval_required": Code(409, "user", "An approval is needed"),
    "idempotency_conflict": Code(409, "model", "The idempotency key was used for another call"),
    "idempotency_in_progress": Code(409, "wait", "The same call is still running"),
    "schema_changed": Code(409, "model", "The tool's schema has changed"),
    "payload_too_large": Code(413, "model", "Too large"),
    "unsupported_media_type": Code(415, "model", "Unsupported media type"),
    "invalid_input": Code(422, "model", "Invalid input"),
    "unknown_field": Code(422, "model", "Unknown field"),
    "egress_refused": Code(422, "admin", "That destination is not allowed"),
    "budget_exhausted": Code(429, "wait", "The upstream budget is used up"),
    "rate_limited": Code(429, "wait", "Too many requests"),
    "internal": Code(500, "operator", "Internal error"),
    "upstream_unreachable": Code(502, "wait", "The upstream could not be reached"),
    "outcome_unknown": Code(502, "wait", "The outcome is unknown"),
    "unavailable": Code(503, "operator", "Not available"),
    "upstream_timeout": Code(504, "wait", "The upstream did not answer in time"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One wrong field: `path` dotted from the body's root, `problem` what is wrong and what would be right.
    `unknown`: there is no such field, rather than a wrong value in it.
    """

    path: str
    problem: str
    unknown: bool = False


class Problem(Exception):
    """A refusal or failure with a stable code.

    `detail` says what happened, `hint` what to do next. `retry_after` is in whole seconds. `extra` adds the wire fields
    some codes carry (`connect_url`, `approval`, `accounts`). `fix` overrides the code's own where it differs.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        hint: str | None = None,
        fields: Sequence[Field] = (),
        retry_after: int | None = None,
        sent: Literal[True, False, "unknown"] | None = None,
        execution_id: str | None = None,
        fix: Fix | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.kind = CODES[code]
        self.detail = detail
        self.hint = hint
        self.fields = tuple(fields)
        self.retry_after = retry_after
        self.sent = sent
        self.execution_id = execution_id
        self.fix: Fix = fix or self.kind.fix
        self.extra = dict(extra or {})
        self.reason: str | None = None
        """Policy's reason code, where a decision refused it; `needs` is the access it asked for. Not on the wire."""
        self.needs: Access | None = None
        self.recorded = False
        """Whether the audit already holds this refusal (set by whoever wrote it down)."""
        super().__init__(f"{code}: {detail}")

    def as_wire(self) -> dict[str, Any]:
        """The problem+json members (RFC 9457), without those that have nothing to say."""
        wire: dict[str, Any] = {
            "type": f"urn:keyreeve:problem:{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "code": self.code,
            "detail": self.detail,
            "fix": self.fix,
        }
        if self.hint:
            wire["hint"] = self.hint
        if self.execution_id:
            wire["execution_id"] = self.execution_id
        if self.sent is not None:
            wire["sent"] = self.sent
        if self.retry_after is not None:
            wire["retry_after"] = self.retry_after
        if self.fields:
            wire["fields"] = [{"path": f.path, "problem": f.problem} for f in self.fields]
        return wire | self.extra


def invalid(path: str, problem: str, *, hint: str | None = None) -> Problem:
    """The commonest refusal: one field is wrong."""
    return Problem("invalid_input", f"{path}: {problem}", fields=[Field(path, problem)], hint=hint)


def misfit(fields: Sequence[Field], detail: str | None = None, *, hint: str | None = None) -> Problem:
    """These fields are wrong: `unknown_field` where one of them does not exist (what else is missing was often meant
    by it), else `invalid_input`. `detail` is what they say, unless given."""
    code = "unknown_field" if any(field.unknown for field in fields) else "invalid_input"
    told = "; ".join(f"{field.path}: {field.problem}" for field in fields) if detail is None else detail
    return Problem(code, told[:1000], fields=fields, hint=hint)

"""What can go wrong, as one tree.

`KeyreeveError`
  `ApiError`: the server refused. One class for each problem code; `code`, `fix`, `hint`, `retry_after` and `sent` say
  what to do. A code this version does not know is an `ApiError` itself. Four bases group them by who can usually mend
  them (`NeedsModel`, `NeedsUser`, `NeedsAdmin`, `Retryable`); `fix` of the very answer is what counts.
  `TransportError`: no answer came (`Timeout`, `ConnectionFailed`, `Interrupted`), with what is known of `sent`.
  `UnexpectedAnswer`: an answer came that is not Keyreeve's.
  `ToolFailed`: `ToolResult.raise_for_error` of a tool that ran and failed.
  `ConfigurationError`, `HandleClosed`: this program's own mistakes.

No text here holds a key or a token.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from keyreeve.models import ToolResult

Sent = bool | Literal["unknown"] | None
"""Whether a request left for the upstream: True, False, `"unknown"`; None where the question does not arise."""


class KeyreeveError(Exception):
    """Everything this package raises on purpose."""


class ConfigurationError(KeyreeveError):
    """The client cannot be made like this: no URL, no key, plain http to another machine."""


class HandleClosed(KeyreeveError):
    """The identity handle, or the client that made it, was closed."""


class TransportError(KeyreeveError):
    """No answer came.

    `sent` is False where the request certainly did not reach the server, else `"unknown"`. With `"unknown"`, a call
    that has an `idempotency_key` can be repeated with that same key; any other is looked up first
    (`audit.events(run_id=…)`, `executions.get`).
    """

    def __init__(self, detail: str, *, sent: Sent = "unknown", idempotency_key: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.sent = sent
        self.idempotency_key = idempotency_key


class Timeout(TransportError):
    """No answer within the client's own timeout."""


class ConnectionFailed(TransportError):
    """No connection to the server, or it broke."""


class Interrupted(TransportError):
    """A stream ended before its end."""


class UnexpectedAnswer(KeyreeveError):
    """An answer that this client cannot read: too large, not JSON, or not Keyreeve's."""

    def __init__(self, detail: str, *, status: int | None = None, sent: Sent = "unknown") -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.sent = sent


class ToolFailed(KeyreeveError):
    """A tool ran and failed: the upstream's own error, or a program that threw. `result` is all of it."""

    def __init__(self, result: "ToolResult") -> None:
        self.result = result
        self.error = result.error
        self.execution_id = result.execution_id
        super().__init__("the tool failed" if result.error is None else f"{result.error.code}: {result.error.detail}")


class WrongField(Struct, frozen=True):
    """One field the server found wrong: `path` dotted from the body's root, and what is wrong with it."""

    path: str
    problem: str


class Approval(Struct, frozen=True):
    """What must be approved before the call is repeated with the same idempotency key."""

    id: str
    url: str
    expires_at: str | None = None


class ApiError(KeyreeveError):
    """The server's refusal (`application/problem+json`, RFC 9457).

    `status` is HTTP's. `fix` says who can mend it: `model`, `user`, `admin`, `wait`, `operator`. `retry_after` is in
    seconds. `extra` holds every other member of the answer. `execution_id` is what the audit knows it by.
    """

    CODE: ClassVar[str | None] = None

    def __init__(
        self,
        code: str,
        status: int,
        detail: str,
        *,
        hint: str | None = None,
        fix: str = "operator",
        fields: Sequence[WrongField] = (),
        execution_id: str | None = None,
        sent: Sent = None,
        retry_after: float | None = None,
        connect_url: str | None = None,
        approval: Approval | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code, status, detail)
        self.code = code
        self.status = status
        self.detail = detail
        self.hint = hint
        self.fix = fix
        self.fields = tuple(fields)
        self.execution_id = execution_id
        self.sent = sent
        self.retry_after = retry_after
        self.connect_url = connect_url
        self.approval = approval
        self.extra = dict(extra or {})

    def __str__(self) -> str:
        told = f"{self.code} ({self.status}): {self.detail}"
        told += f". {self.hint}" if self.hint else ""
        return told + (f" [execution {self.execution_id}]" if self.execution_id else "")


class NeedsModel(ApiError):
    """The caller can mend it by another call: hand the text back to the model."""


class NeedsUser(ApiError):
    """A person has to act: show `connect_url`, `approval.url` or the hint."""


class NeedsAdmin(ApiError):
    """The tenant's admin has to act."""


class Retryable(ApiError):
    """The same call may succeed later."""

    @property
    def wait(self) -> float:
        """Seconds to wait before asking again; 1 where the server gave none."""
        return 1.0 if self.retry_after is None else self.retry_after


class Unauthenticated(NeedsUser):
    """The key or token is missing, malformed, unknown or revoked."""

    CODE = "unauthenticated"


class SessionExpired(NeedsUser):
    """The session token, or the key, has expired."""

    CODE = "session_expired"


class Forbidden(NeedsAdmin):
    """This key or role may not do that."""

    CODE = "forbidden"


class NotGranted(NeedsAdmin):
    """No grant covers it; `hint` is the one that would."""

    CODE = "not_granted"


class NotPermittedUpstream(NeedsUser):
    """The credential's own permissions do not allow it."""

    CODE = "not_permitted_upstream"


class IdentityDisabled(NeedsAdmin):
    """The identity is disabled."""

    CODE = "identity_disabled"


class NotFound(NeedsModel):
    """There is no such thing."""

    CODE = "not_found"


class UnknownConnection(NeedsModel):
    """No connection of that name; `hint` names the nearest."""

    CODE = "unknown_connection"


class UnknownIdentity(NeedsModel):
    """No identity of that identifier."""

    CODE = "unknown_identity"


class UnknownTool(NeedsModel):
    """No tool of that name; `hint` names the nearest."""

    CODE = "unknown_tool"


class UnknownOperation(NeedsModel):
    """No operation of that id or path; `hint` names the nearest."""

    CODE = "unknown_operation"


class MethodNotAllowed(NeedsModel):
    """The path is right, the method is not."""

    CODE = "method_not_allowed"


class NotConnected(NeedsUser):
    """The identity has no account on that connection."""

    CODE = "not_connected"


class NeedsReauth(NeedsUser):
    """The account must be connected again."""

    CODE = "needs_reauth"


class Revoked(NeedsUser):
    """The account was revoked."""

    CODE = "revoked"


class AmbiguousAccount(NeedsModel):
    """Several accounts fit: name one by `connected_account_id`."""

    CODE = "ambiguous_account"


class AlreadyExists(NeedsAdmin):
    """It already exists."""

    CODE = "already_exists"


class VersionConflict(NeedsAdmin):
    """It was changed since it was read."""

    CODE = "version_conflict"


class PrincipalChanged(NeedsAdmin):
    """The credential belongs to another upstream principal than before."""

    CODE = "principal_changed"


class ApprovalRequired(NeedsUser):
    """Somebody must approve it (`approval`); then repeat the call with the same idempotency key."""

    CODE = "approval_required"


class IdempotencyConflict(NeedsModel):
    """The idempotency key was used for another call."""

    CODE = "idempotency_conflict"


class IdempotencyInProgress(Retryable):
    """The same call is still running: ask again with the same key."""

    CODE = "idempotency_in_progress"


class SchemaChanged(NeedsModel):
    """The tool is not the one that was listed: list again."""

    CODE = "schema_changed"


class PayloadTooLarge(NeedsModel):
    """Too large."""

    CODE = "payload_too_large"


class UnsupportedMediaType(NeedsModel):
    """The body is not JSON, or compressed."""

    CODE = "unsupported_media_type"


class InvalidInput(NeedsModel):
    """Something in the request is wrong; `fields` says what. Also raised here, before anything is sent, for input
    that JSON cannot hold."""

    CODE = "invalid_input"


class UnknownField(NeedsModel):
    """A field is unknown; the answer names the nearest known one."""

    CODE = "unknown_field"


class EgressRefused(NeedsAdmin):
    """That destination is not allowed."""

    CODE = "egress_refused"


class BudgetExhausted(Retryable):
    """The upstream budget is used up; `wait` is until enough of it is free."""

    CODE = "budget_exhausted"


class RateLimited(Retryable):
    """Too many requests to Keyreeve itself."""

    CODE = "rate_limited"


class Internal(ApiError):
    """A fault of the server; it has logged it."""

    CODE = "internal"


class UpstreamUnreachable(Retryable):
    """The upstream could not be reached."""

    CODE = "upstream_unreachable"


class OutcomeUnknown(Retryable):
    """The upstream's answer was lost: look before doing it again."""

    CODE = "outcome_unknown"


class ServerUnavailable(Retryable):
    """The server cannot answer now."""

    CODE = "unavailable"


class UpstreamTimeout(Retryable):
    """The upstream did not answer in time."""

    CODE = "upstream_timeout"


_GROUPS: Sequence[type[ApiError]] = (NeedsModel, NeedsUser, NeedsAdmin, Retryable, ApiError)
BY_CODE: Mapping[str, type[ApiError]] = {
    kind.CODE: kind for group in _GROUPS for kind in group.__subclasses__() if kind.CODE is not None
}
"""The class of each problem code."""

"""Exit codes: what a script may rely on.

| code | means | problem codes |
|---|---|---|
| 0 | done | |
| 1 | a check failed (`doctor`, `demo`), or the server could not start | |
| 2 | wrong usage | |
| 3 | who are you? | `unauthenticated`, `session_expired` |
| 4 | not allowed | `forbidden`, `not_granted`, `not_permitted_upstream`, `identity_disabled`, `egress_refused` |
| 5 | no such thing | `not_found`, `unknown_…` |
| 6 | a person must act, or the state is another | `not_connected`, `needs_reauth`, `revoked`, `ambiguous_account`, `approval_required`, `already_exists`, `version_conflict`, `principal_changed`, `idempotency_conflict`, `schema_changed` |
| 7 | the request is wrong | `invalid_input`, `unknown_field`, `payload_too_large`, `unsupported_media_type` |
| 8 | wait and repeat | `budget_exhausted`, `rate_limited`, `idempotency_in_progress` |
| 9 | the upstream failed | `upstream_unreachable`, `upstream_timeout`, `outcome_unknown` |
| 10 | the server failed, or cannot be reached | `internal`, `unavailable`, `method_not_allowed` |
| 11 | the tool ran and its answer is an error (`is_error`) | |
"""  # noqa: E501 - a table

from collections.abc import Mapping
from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNAUTHENTICATED: Final = 3
FORBIDDEN: Final = 4
NOT_FOUND: Final = 5
CONFLICT: Final = 6
INVALID: Final = 7
WAIT: Final = 8
UPSTREAM: Final = 9
SERVER: Final = 10
TOOL_ERROR: Final = 11

BY_CODE: Final[Mapping[str, int]] = {
    "unauthenticated": UNAUTHENTICATED,
    "session_expired": UNAUTHENTICATED,
    "forbidden": FORBIDDEN,
    "not_granted": FORBIDDEN,
    "not_permitted_upstream": FORBIDDEN,
    "identity_disabled": FORBIDDEN,
    "egress_refused": FORBIDDEN,
    "not_found": NOT_FOUND,
    "unknown_connection": NOT_FOUND,
    "unknown_identity": NOT_FOUND,
    "unknown_tool": NOT_FOUND,
    "unknown_operation": NOT_FOUND,
    "not_connected": CONFLICT,
    "needs_reauth": CONFLICT,
    "revoked": CONFLICT,
    "ambiguous_account": CONFLICT,
    "approval_required": CONFLICT,
    "already_exists": CONFLICT,
    "version_conflict": CONFLICT,
    "principal_changed": CONFLICT,
    "idempotency_conflict": CONFLICT,
    "schema_changed": CONFLICT,
    "invalid_input": INVALID,
    "unknown_field": INVALID,
    "payload_too_large": INVALID,
    "unsupported_media_type": INVALID,
    "budget_exhausted": WAIT,
    "rate_limited": WAIT,
    "idempotency_in_progress": WAIT,
    "upstream_unreachable": UPSTREAM,
    "upstream_timeout": UPSTREAM,
    "outcome_unknown": UPSTREAM,
    "internal": SERVER,
    "unavailable": SERVER,
    "method_not_allowed": SERVER,
}


def of_problem(code: str, status: int) -> int:
    """The exit code of a problem; one this release does not know is judged by its HTTP status."""
    known = BY_CODE.get(code)
    if known is not None:
        return known
    by_status = {
        401: UNAUTHENTICATED,
        403: FORBIDDEN,
        404: NOT_FOUND,
        409: CONFLICT,
        413: INVALID,
        422: INVALID,
        429: WAIT,
    }
    return by_status.get(status, SERVER)

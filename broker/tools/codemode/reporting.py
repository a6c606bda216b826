"""How a program's failure is told to the model that wrote it. Pure.

The error says what was already done, what went wrong and where in the program's own lines, and what to do. A refusal of
ours keeps its own code, so that a client acts on it as on any other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.errors import Problem
from broker.gate.types import CallRecord
from broker.tools.results import writes_first
from connectors.base import Answer

UPSTREAM: Final = "upstream_error"
_PLACE: Final = ("line", "column")
_MAX_DETAIL: Final = 6_000


class Failures:
    """The failures that requests of one program met, by code: what a program throws is believed only where it fits
    one."""

    def __init__(self) -> None:
        self._met: dict[str, dict[str, Any]] = {}

    def upstream(self, answer: Answer) -> dict[str, Any]:
        """What a program catches for an upstream's own error."""
        given = dict(answer.error or {})
        told = {
            "message": str(given.get("detail", f"the upstream answered {answer.status}")),
            "status": answer.status,
            "errors": given.get("errors", []),
            "retryAfter": given.get("retry_after"),
            "ray": answer.ray,
            "code": UPSTREAM,
            "hint": given.get("hint"),
        }
        wait = answer.status == 429 or answer.status >= 500
        self._met[UPSTREAM] = {"fix": "wait" if wait else "model"}
        return {name: value for name, value in told.items() if value is not None}

    def problem(self, problem: Problem) -> dict[str, Any]:
        """What a program catches for a refusal or failure of ours."""
        told: dict[str, Any] = {"message": problem.detail, "code": problem.code}
        if problem.hint:
            told["hint"] = problem.hint
        if problem.retry_after is not None:
            told["retryAfter"] = problem.retry_after
        kept: dict[str, Any] = {"fix": problem.fix, **problem.extra}
        if problem.retry_after is not None:
            kept["retry_after"] = problem.retry_after
        if problem.sent is not None:
            kept["sent"] = problem.sent
        self._met[problem.code] = kept
        return told

    def get(self, code: object) -> Mapping[str, Any] | None:
        """What is known of the failure with this code, if one was met."""
        return self._met.get(code) if isinstance(code, str) else None


def error_of(told: Mapping[str, Any], calls: Sequence[CallRecord], failures: Failures) -> dict[str, Any]:
    """The `error` of an answer, from the sandbox's description of how the program ended."""
    kind = str(told.get("kind", "thrown"))
    met = failures.get(told.get("code")) if kind == "thrown" else None
    message, name = str(told.get("message", "")), str(told.get("name", "Error"))
    hint = told.get("hint") if isinstance(told.get("hint"), str) else None
    if hint:  # the guest's own exceptions carry it in their message too, for programs that print them
        message = message.replace(f" Hint: {hint}", "")
    line = told.get("line")
    at = f" (line {line})" if isinstance(line, int) else ""
    plain = message if met is not None or name in message or kind == "limit" else f"{name}: {message}"
    error: dict[str, Any] = {
        "code": "code_error" if met is None else str(told["code"]),
        "detail": done_first(calls, f"{plain[:_MAX_DETAIL]}{at}"),
        "fix": "model",
        "kind": kind,
    }
    if hint:
        error["hint"] = hint[:2000]
    error |= {key: told[key] for key in _PLACE if isinstance(told.get(key), int)}
    if kind == "limit" and isinstance(told.get("limit"), str):
        error["limit"] = told["limit"]
    if met is not None:
        error |= met
        if error["code"] == UPSTREAM:
            error |= _upstream(told)
    elif isinstance(told.get("stack"), str):
        error["stack"] = told["stack"][:1000]
    return error


def not_looked_up(words: Mapping[str, str], told: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The `error` of a search for one operation that is not there: its program is ours, and has no line that the model
    wrote. None for any other end."""
    if told is None or "operation" not in words or told.get("kind", "thrown") != "thrown":
        return None
    return {"code": "unknown_operation", "detail": str(told.get("message", ""))[:_MAX_DETAIL], "fix": "model"}


def _upstream(told: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(told.get("status"), int):
        found["status"] = told["status"]
    if isinstance(told.get("errors"), list) and told["errors"]:
        found["errors"] = told["errors"]
    if isinstance(told.get("retryAfter"), int | float):
        found["retry_after"] = told["retryAfter"]
    if isinstance(told.get("ray"), str):
        found["ray"] = told["ray"][:100]
    return found


def done_first(calls: Sequence[CallRecord], detail: str) -> str:
    """An error's text, beginning with the writes that were made, and those that may have been."""
    maybe = [f"{c.method} {c.path}" for c in calls if c.effect != "read" and c.status is None and c.sent is not False]
    if maybe:
        detail = f"Perhaps done, no answer came: {'; '.join(maybe[:20])}. {detail}"
    return writes_first(calls, detail)


def tell_done(problem: Problem, calls: Sequence[CallRecord]) -> None:
    """A refusal that comes after writes says so: nobody may take it for one of a program that did nothing."""
    writes = [call.sent for call in calls if call.effect != "read" and call.sent is not False]
    if writes:
        problem.detail = done_first(calls, problem.detail)
        problem.sent = True if True in writes else "unknown"

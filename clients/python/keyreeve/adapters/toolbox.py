"""What every adapter does between a model and Keyreeve: lists tools, makes calls, turns whatever comes back into words
for the model. Sync and async by the kind of handle; everything else is the same, and pure.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Generic, TypeVar, cast

from keyreeve import AsyncIdentityHandle, IdentityHandle, Tool, ToolList, ToolResult, Unavailable, errors
from keyreeve.adapters.names import NameRule, Names

MAX_CHARACTERS = 50_000
"""Characters of one result that a model is given unless a toolbox says otherwise; what is cut is said."""
PARALLEL = 8
"""Calls of one turn that run at the same time."""
_ENDING = frozenset({"unauthenticated", "session_expired", "identity_disabled"})
_INTENT = 500
ANSWERED = (errors.ApiError, errors.TransportError, errors.UnexpectedAnswer)
"""What is handed to the model. Anything else (a handle that was closed) is the program's own mistake, and raised."""

H = TypeVar("H", bound=IdentityHandle | AsyncIdentityHandle)


@dataclass(frozen=True)
class Offer:
    """One tool as a provider is told of it. `restore` gives the model's input the form that the tool's own schema
    has."""

    name: str
    tool: Tool
    definition: dict[str, Any]
    restore: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda value: value, repr=False)


@dataclass(frozen=True)
class Outcome:
    """What came of one call of a model. `text` is JSON for the model; `blocks` are MCP content blocks (`text` and
    `image`).

    `result` is there where the tool ran, `error` where it was refused or the answer was lost; neither where nothing was
    sent, because the model named no tool or gave no object.
    """

    is_error: bool
    text: str
    blocks: tuple[Mapping[str, Any], ...] = ()
    result: ToolResult | None = field(default=None, repr=False)
    error: errors.KeyreeveError | None = None

    @property
    def execution_id(self) -> str | None:
        """The execution to ask about, where there was one."""
        if self.result is not None:
            return self.result.execution_id
        return getattr(self.error, "execution_id", None)

    @property
    def code(self) -> str | None:
        """The error's code, as in API.md; `transport` where no answer came; None for a success."""
        if self.error is not None:
            return getattr(self.error, "code", "transport")
        if self.result is not None:
            return None if self.result.error is None else self.result.error.code
        return "invalid_input" if self.is_error else None

    @property
    def fix(self) -> str | None:
        """Who can mend it: `model`, `user`, `admin`, `wait`, `operator`; None for a success."""
        if self.error is not None:
            return getattr(self.error, "fix", "wait")
        if self.result is not None:
            return None if self.result.error is None else self.result.error.fix
        return "model" if self.is_error else None

    def raise_if_ended(self) -> "Outcome":
        """Itself. Raises the ApiError after which no call of this run can succeed: the session or identity is gone."""
        if isinstance(self.error, errors.ApiError) and self.error.code in _ENDING:
            raise self.error
        return self


class Toolbox(Generic[H]):
    """The tools of one identity for one run of an agent, in one provider's words. Hold one per run."""

    def __init__(
        self,
        handle: H,
        listed: ToolList,
        *,
        rule: NameRule,
        define: Callable[[str, Tool], Offer],
        run_id: str | None = None,
        max_characters: int = MAX_CHARACTERS,
    ) -> None:
        self.handle = handle
        self.unavailable: tuple[Unavailable, ...] = tuple(listed.unavailable)
        self.run_id = run_id or f"run-{secrets.token_hex(8)}"
        self._max_characters = max_characters
        self._names = Names((tool.name for tool in listed.tools), rule)
        shown = [(self._names.outward(tool.name), tool) for tool in listed.tools]
        self.offers: Mapping[str, Offer] = {name: define(name, tool) for name, tool in shown}

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """What the provider's `tools` parameter takes."""
        return [offer.definition for offer in self.offers.values()]

    @property
    def notice(self) -> str:
        """What cannot be used now and what would change that, for a system prompt; empty where nothing is amiss."""
        lines = [_sentence(missing) for missing in self.unavailable]
        return "\n".join(["Not available now:", *lines]) if lines else ""

    def request(self, name: str, given: Any, call_id: str, intent: str | None = None) -> "dict[str, Any] | Outcome":
        """The arguments of `execute_tool` for a model's call, or what to answer it where nothing can be sent."""
        offer = self.offers.get(name)
        if offer is None:
            near = get_close_matches(name[:100], self.offers, n=3, cutoff=0.4)
            hint = f"did you mean {', '.join(near)}?" if near else "use only the tools that were offered"
            return refusal("unknown_tool", f"there is no tool named {name[:80]!r}", hint=hint)
        if isinstance(given, str):
            given = _parsed(given)
        if not isinstance(given, dict):
            return refusal("invalid_input", "a tool's input is a JSON object", hint="see the tool's input schema")
        return {
            "tool_name": offer.tool.name,
            "tool_input": offer.restore(cast("dict[str, Any]", given)),
            "run_id": self.run_id,
            "intent": None if not intent else intent[:_INTENT],
            "idempotency_key": f"{self.run_id}:{call_id}"[:200],
            "as_content": True,
        }

    def outcome(self, result: ToolResult) -> Outcome:
        """What the model is told of a result."""
        blocks = tuple(result.content or ())
        text = "\n".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
        if not blocks:
            text = result.text()
        images = tuple(block for block in blocks if block.get("type") == "image")
        text = self._bounded(text) if text or not images else ""
        told = ({"type": "text", "text": text},) if text else ()
        return Outcome(result.is_error, text or "[image]", (*told, *images), result)

    def _bounded(self, text: str) -> str:
        over = len(text) - self._max_characters
        note = f"\n[{over} more characters were cut off: ask for less, by a filter or a page]"
        return text if over <= 0 else text[: self._max_characters] + note


def call(box: "Toolbox[IdentityHandle]", name: str, given: Any, call_id: str, intent: str | None = None) -> Outcome:
    """Makes one call for the model. Everything Keyreeve refuses is an Outcome; only faults of the program are
    raised."""
    request = box.request(name, given, call_id, intent)
    if isinstance(request, Outcome):
        return request
    try:
        return box.outcome(box.handle.execute_tool(request.pop("tool_name"), request.pop("tool_input"), **request))
    except ANSWERED as error:
        return failure(error)


async def acall(
    box: "Toolbox[AsyncIdentityHandle]", name: str, given: Any, call_id: str, intent: str | None = None
) -> Outcome:
    """`call` without blocking the event loop."""
    request = box.request(name, given, call_id, intent)
    if isinstance(request, Outcome):
        return request
    try:
        result = await box.handle.execute_tool(request.pop("tool_name"), request.pop("tool_input"), **request)
        return box.outcome(result)
    except ANSWERED as error:
        return failure(error)


def refusal(code: str, detail: str, *, hint: str) -> Outcome:
    """An error of our own making, in the words Keyreeve itself would use; nothing was sent."""
    return _error({"code": code, "detail": detail, "hint": hint, "fix": "model"})


def failure(error: "errors.ApiError | errors.TransportError | errors.UnexpectedAnswer") -> Outcome:
    """What the model is told of a refusal, or of an answer that was lost."""
    if isinstance(error, errors.ApiError):
        told = {
            "code": error.code,
            "detail": error.detail,
            "hint": error.hint,
            "fix": error.fix,
            "fields": [{"path": wrong.path, "problem": wrong.problem} for wrong in error.fields],
            "retry_after": error.retry_after,
            "connect_url": error.connect_url,
        }
    else:
        never = error.sent is False
        told = {
            "code": "transport",
            "detail": "Keyreeve could not be reached; nothing was done" if never else "Keyreeve's answer was lost",
            "hint": None if never else "it may have been done: look before doing it again",
            "fix": "wait",
        }
    return _error({key: value for key, value in told.items() if value}, error)


def _parsed(text: str) -> Any:
    """Arguments that came as JSON text, integers exact; None where they are no JSON (RFC 8259 knows no NaN)."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(text or "{}", parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


def _error(told: Mapping[str, Any], error: errors.KeyreeveError | None = None) -> Outcome:
    return Outcome(is_error=True, text=json.dumps({"error": told}, ensure_ascii=False), error=error)


def _sentence(missing: Unavailable) -> str:
    what = missing.name or f"everything of {missing.connection_name}"
    link = f" The user can connect it at {missing.connect_url}" if missing.connect_url else ""
    return f"- {what}: {missing.reason}. {missing.hint}{link}"

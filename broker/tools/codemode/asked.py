"""What one Code Mode call asks for: its input checked, and the program that it means. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Final, Literal
from uuid import UUID

from broker.accounts.views import View
from broker.domain import Connection, Resolved
from broker.errors import Field, Problem, invalid, misfit
from broker.gate.types import Reload
from broker.tools.request import ExecuteRequest
from connectors.base import Tool

CODE_CHARS: Final = 262_144
FOUND: Final = 25
"""How many operations a `query` is answered with."""

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "search": ("code", "query", "operation"),
    "execute": ("code", "account_id", "intent"),
}
_MOST: Final = {"code": CODE_CHARS, "query": 300, "operation": 300, "account_id": 64, "intent": 500}


@dataclass(frozen=True, slots=True)
class Job:
    """One execution of a program's tool; `reload` looks up again. `deadline` bounds all of it.

    `recent`: `resolved` is a look-up of the last second. Nothing may be told of the execution before an admission or
    a look-up of its own has confirmed it."""

    request: ExecuteRequest
    resolved: Resolved
    connection: Connection
    view: View
    tool: Tool
    execution_id: UUID
    deadline: datetime
    reload: Reload
    recent: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The program to run. `text` is what the model wrote (None: it wrote none, and `code` is ours), `words` what it
    looked for instead."""

    kind: Literal["search", "execute"]
    code: str
    text: str | None
    words: Mapping[str, str]
    account_id: str | None
    intent: str | None


def read(tool: Tool, given: Mapping[str, Any], intent: str | None) -> Wanted:
    """The program that a tool's input means. `intent` is the request's own. Raises Problem `invalid_input`,
    `unknown_field`."""
    if tool.kind == "call":
        raise ValueError("a plain tool runs no program")
    texts = _texts(tool.kind, given)
    if tool.kind == "execute":
        if "code" not in texts:
            raise invalid("tool_input.code", "is required: JavaScript, such as `async () => { … }`")
        code = texts["code"]
        return Wanted("execute", code, code, {}, texts.get("account_id"), intent or texts.get("intent"))
    if len(texts) != 1:
        told = "give exactly one of `code`, `query` and `operation`"
        raise Problem("invalid_input", f"tool_input: {told}", fields=[Field("tool_input", told)])
    (name, text), *_ = texts.items()
    if name == "code":
        return Wanted("search", text, text, {}, None, intent)
    return Wanted("search", _program(name, text), None, {name: text}, None, intent)


def _texts(kind: str, given: Mapping[str, Any]) -> dict[str, str]:
    known = _FIELDS[kind]
    found: dict[str, str] = {}
    for name, value in list(given.items())[:20]:
        if name not in known:
            near = get_close_matches(name[:60], known, n=1, cutoff=0.5)
            told = f"did you mean `{near[0]}`?" if near else f"it takes {', '.join(known)}"
            raise misfit([Field(f"tool_input.{name[:60]}", f"is not known; {told}", unknown=True)])
        if value is None:
            continue
        if not isinstance(value, str) or not value.strip():
            raise invalid(f"tool_input.{name}", "must be a text that is not empty")
        if len(value) > _MOST[name]:
            raise invalid(f"tool_input.{name}", f"must have at most {_MOST[name]:,} characters")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise invalid(f"tool_input.{name}", "is not valid Unicode") from None
        found[name] = value
    return found


def _program(name: str, text: str) -> str:
    """Our own program for `query` and `operation`."""
    written = json.dumps(text)
    return (
        f"async () => find({written}, {{limit: {FOUND}}})" if name == "query" else f"async () => operation({written})"
    )

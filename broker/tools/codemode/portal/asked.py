"""What one call of the portal asks for: its input checked. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Literal

from broker.errors import Field, Problem, invalid, misfit
from broker.tools.codemode.asked import CODE_CHARS

Kind = Literal["search", "execute"]

_FIELDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "search": ("code", "query"),
    "execute": ("code", "dry_run", "intent"),
}
_MOST: Final = {"code": CODE_CHARS, "query": 300, "intent": 500}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A program to run (`code`), or words to look for (`query`). `intent` is the model's sentence for the audit."""

    kind: Kind
    code: str | None
    query: str | None
    dry_run: bool
    intent: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """One tool as the URL lists it: `name` is what the program calls it, `full_name` what it is called with its
    connection's, `definition` its words for a model (title, description, inputSchema, outputSchema?, annotations)."""

    name: str
    full_name: str
    definition: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """One call of the portal. `narrowed` names whatever the URL leaves out: a kept result is shown to no narrower URL.

    `deadline_seconds` bounds all of it, `max_wait_seconds` how long each call may queue for budget; `looked_up_at` is
    when the caller was looked up, by the monotonic clock."""

    kind: Kind
    arguments: Mapping[str, Any]
    tools: Sequence[Shown]
    unavailable: Sequence[Mapping[str, Any]]
    narrowed: str
    intent: str | None
    deadline_seconds: float
    max_wait_seconds: float
    looked_up_at: float


def read(ask: Ask) -> Wanted:
    """What the arguments mean. Raises Problem `invalid_input`."""
    known, given = _FIELDS[ask.kind], ask.arguments
    for name in list(given)[:20]:
        if name not in known:
            near = get_close_matches(name[:60], known, n=1, cutoff=0.5)
            told = f"did you mean `{near[0]}`?" if near else f"it takes {', '.join(known)}"
            raise misfit([Field(name[:60], f"is not known; {told}", unknown=True)])
    code, query, intent = (_text(given, name) for name in ("code", "query", "intent"))
    dry_run = given.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise invalid("dry_run", "must be true or false")
    if ask.kind == "execute" and code is None:
        raise invalid("code", "is required: JavaScript, such as `async () => { … }`")
    if ask.kind == "search" and (code is None) == (query is None):
        told = "give exactly one of `code` and `query`"
        raise Problem("invalid_input", told, fields=[Field("", told)])
    return Wanted(ask.kind, code, query, dry_run, ask.intent or intent)


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise invalid(name, "must be a text that is not empty")
    if len(value) > _MOST[name]:
        raise invalid(name, f"must have at most {_MOST[name]:,} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise invalid(name, "is not valid Unicode") from None
    return value

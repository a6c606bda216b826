"""An audit item as one plain sentence. Pure.

"priya's Claude Code changed A api.example.com · 1,143 left"
"""

import re
from collections.abc import Mapping
from typing import Any, Final

_CLIENTS: Final = (
    ("claude-code", "Claude Code"),
    ("claude", "Claude"),
    ("cursor", "Cursor"),
    ("vscode", "VS Code"),
    ("visual studio code", "VS Code"),
    ("keyreeve-cli", "shell"),
)
"""What a client calls itself begins or holds, and what people call it."""

_VERBS: Final[Mapping[str, tuple[str, str]]] = {
    "GET": ("read", "read"),
    "HEAD": ("read", "read"),
    "POST": ("create", "created"),
    "PUT": ("change", "changed"),
    "PATCH": ("change", "changed"),
    "DELETE": ("delete", "deleted"),
}
_ENDINGS: Final[Mapping[str, str]] = {
    "timeout": "no answer in time",
    "cancelled": "cancelled",
    "not_sent": "not sent",
    "unknown": "nobody knows whether it happened",
}
_ID: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f-]{36}")
_ACTS: Final = re.compile(
    r"(purge|restore|verify|rotate|reset|revoke|import|export|copy|move|start|stop|cancel)[_-](.+)"
)


def sentence(item: Mapping[str, Any], left: int | None = None) -> str:
    """What happened, for people. `left`: what remains of the budget, where that is known."""
    told = _change(item) if item["kind"] == "change" else _deed(item)
    return told if left is None else f"{told} · {left:,} left"


def who(item: Mapping[str, Any]) -> str:
    """Whose agent acted: `priya's Claude Code`; an operator acting for somebody is named too."""
    identifier = item.get("identifier")
    if not identifier:
        return _actor(item["actor"])
    name = identifier.partition("@")[0]
    tool = item.get("agent") or _client(item.get("client"))
    if item.get("on_behalf_of"):
        return f"{_actor(item['actor'])}, for {name},"
    return f"{name}'s {tool}" if tool else name


def _client(client: str | None) -> str | None:
    if not client:
        return None
    lowered = client.lower()
    return next((name for mark, name in _CLIENTS if mark in lowered), None)


def _actor(actor: str) -> str:
    kind, _, name = actor.partition(":")
    return f"{kind} {name}" if name else kind


def _deed(item: Mapping[str, Any]) -> str:
    if item["kind"] == "refusal" and item.get("suppressed"):
        return f"{who(item)} was refused {item['suppressed']} more times ({item.get('reason')})"
    now, past, thing = *_verb(item), _thing(item)
    if item.get("reason") == "maintenance":
        what = f"{item.get('method')} /{'/'.join(_segments(item))}"
        now, past, thing = "check", "checked", f"a credential on {item.get('connection_name')} ({what})"
    outcome = item["outcome"]
    if item["kind"] == "refusal":
        told = item.get("detail") or str(item.get("reason", "")).replace("_", " ")
        return f"{who(item)} was refused to {now} {thing}: {told}"
    if item["kind"] == "execution":
        return f"{who(item)} ran {item.get('tool_name')}"
    if outcome == "ok":
        return f"{who(item)} {past} {thing}"
    if outcome == "open":
        return f"{who(item)} is about to {now} {thing}"
    if outcome == "upstream_error":
        return f"{who(item)} tried to {now} {thing}: the upstream answered {item.get('upstream_status')}"
    return f"{who(item)} tried to {now} {thing}: {_ENDINGS.get(outcome, outcome)}"


def _segments(item: Mapping[str, Any]) -> list[str]:
    """The literal parts of what was called: of the template where it is known, else of the path without ids."""
    ref = item.get("operation_ref") or (item.get("summary") or {}).get("operation") or ""
    path = ref.partition(" ")[2] or item.get("path") or ""
    return [s for s in path.split("/") if s and not s.startswith("{") and not _ID.fullmatch(s)]


def _verb(item: Mapping[str, Any]) -> tuple[str, str]:
    segments = _segments(item)
    act = _ACTS.fullmatch(segments[-1]) if segments else None
    if act is not None and item.get("effect") != "read":
        verb = act[1]
        past = {"reset": "reset", "stop": "stopped", "copy": "copied", "verify": "verified"}.get(
            verb, verb + ("d" if verb.endswith("e") else "ed")
        )
        return verb, past
    if item.get("effect") == "read":
        return "read", "read"
    return _VERBS.get(item.get("method") or "", ("use", "used"))


def _thing(item: Mapping[str, Any]) -> str:
    values = (item.get("summary") or {}).get("values") or {}
    if values.get("type") and values.get("name"):
        return f"{values['type']} {values['name']}"
    segments = _segments(item)
    if not segments:
        return str(item.get("operation") or item.get("tool_name") or "something")
    act = _ACTS.fullmatch(segments[-1])
    noun = act[2] if act is not None and item.get("effect") != "read" else segments[-1]
    return noun.replace("_", " ").replace("-", " ").replace("dns", "DNS")


def _change(item: Mapping[str, Any]) -> str:
    noun, _, verb = str(item.get("operation") or item.get("action") or "something.changed").partition(".")
    about = [str(item[name]) for name in ("identifier", "connection_name") if item.get(name)]
    told = f"{_actor(item['actor'])}: {noun} {verb.replace('_', ' ')}"
    return told + (f" ({', '.join(about)})" if about else "")

"""Reads what the guest's prelude says at the end of a run. The program may have tampered with the prelude, so
nothing is taken for granted.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.tools.codemode.sandbox.errors import LimitReached
from broker.tools.codemode.sandbox.limits import ERROR_BYTES, LOG_LINES

LEVELS: Final = ("log", "info", "warn", "error", "debug")
KINDS: Final = ("syntax", "thrown", "limit")
_MEMBER: Final = re.compile(r'\s*[,{]\s*"([^"\\]{1,64})"\s*:\s*')
_LONE_SURROGATE: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_REPLACED: Final = rb"\1\\ufffd"
_TEXT_LENGTH: Final = 8000
_OUT_OF_MEMORY: Final = ("out of memory", "null")


@dataclass(frozen=True, slots=True)
class Result:
    """The guest's last word. `value` is JSON text, present when `ok`."""

    ok: bool
    value: bytes
    error: Mapping[str, Any] | None
    logs: tuple[tuple[str, str], ...]
    log_dropped: int
    undefined: bool = False


class LogBook:
    """Keeps log entries within `bytes_left` bytes and 2,000 entries, and counts the rest."""

    def __init__(self, log_bytes: int) -> None:
        self._left = log_bytes
        self.lines: list[tuple[str, str]] = []
        self.dropped = 0

    def add(self, entry: object) -> None:
        """One entry as the guest tells it: `{level, text}`; anything else is dropped."""
        text = entry.get("text") if isinstance(entry, dict) else None
        if not isinstance(text, str) or self._left <= 0 or len(self.lines) >= LOG_LINES:
            self.dropped += 1
            return
        level = entry.get("level") if isinstance(entry, dict) else None
        kept = text.encode("utf-8", "replace")[: self._left]
        self._left -= len(kept) + 1
        self.lines.append((level if level in LEVELS else "log", kept.decode("utf-8", "ignore")))


def read_result(text: bytes, *, book: LogBook, result_bytes: int) -> Result:
    """The guest's `{ok, result | error, logs, …}`. Raises LimitReached where it makes no sense or is too large.

    The value is cut out as the text it is, so numbers and order stay what they were; it costs nothing where `result` is
    the last member, after `logs`.
    """
    members, value = _members(text)
    logs = members.get("logs")
    for entry in logs if isinstance(logs, list) else ():
        book.add(entry)
    dropped = members.get("log_dropped")
    book.dropped += dropped if type(dropped) is int and 0 <= dropped < 1 << 31 else 0
    ok = members.get("ok") is True
    if "ok" not in members or (ok and value is None):
        raise _senseless()
    raw = value if ok and value is not None else b""
    if b"\\ud" in raw:
        raw = _LONE_SURROGATE.sub(_REPLACED, raw)
    if len(raw) > result_bytes:
        raise LimitReached("result_bytes", too_large(len(raw), result_bytes))
    error = None if ok else _error(members.get("error"))
    return Result(ok, raw, error, tuple(book.lines), book.dropped, members.get("undefined") is True)


def too_large(size: int, most: int) -> str:
    """Said of a result over its limit."""
    return f"the result has {size:,} bytes; at most {most:,} are allowed: return less (filter, slice, or count in code)"


def _members(text: bytes) -> tuple[dict[str, Any], bytes | None]:
    """The members other than `result`, and `result` as text."""
    told = text.decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    members: dict[str, Any] = {}
    value = None
    at = 0
    try:
        while (found := _MEMBER.match(told, at)) is not None:
            at = found.end()
            if found[1] == "result":
                if "logs" in members:
                    return members, told[at:].rstrip().removesuffix("}").encode("utf-8", "replace")
                start = at
                _, at = decoder.raw_decode(told, at)
                value = told[start:at].encode("utf-8", "replace")
            else:
                members[found[1]], at = decoder.raw_decode(told, at)
    except (ValueError, RecursionError) as error:
        raise _senseless() from error
    return members, value


def _error(told: object) -> dict[str, Any]:
    """An error with a known kind, texts in bounds, and no more JSON than allowed."""
    error = told if isinstance(told, dict) else {}
    name, message = _short(error.get("name"), "Error"), _short(error.get("message"), "the program failed")
    if name == "InternalError" and message in _OUT_OF_MEMORY:
        return {"kind": "limit", "limit": "heap_bytes", "name": "HeapLimit", "message": OUT_OF_MEMORY}
    kind = error.get("kind")
    full = error | {"kind": kind if kind in KINDS else "thrown", "name": name, "message": message}
    try:
        fits = len(json.dumps(full)) <= ERROR_BYTES
    except (ValueError, RecursionError):
        fits = False
    if fits:
        return full
    return {
        key: full[key]
        for key in ("kind", "name", "message", "line", "column", "status", "code")
        if _plain(full.get(key))
    }


OUT_OF_MEMORY: Final = (
    "the program used up its memory: keep less at a time, page through results, or return only what is needed"
)


def _plain(value: object) -> bool:
    return (isinstance(value, str) and len(value) <= _TEXT_LENGTH) or (isinstance(value, int | float))


def _short(value: object, otherwise: str) -> str:
    return value[:_TEXT_LENGTH] if isinstance(value, str) and value else otherwise


def _senseless() -> LimitReached:
    return LimitReached("integrity", "the program broke the means by which it answers: do not replace built-in objects")


def read_log(text: bytes) -> object:
    """A log entry sent while the program runs; None where it is not JSON."""
    try:
        entry: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return entry

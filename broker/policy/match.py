"""What a grant's patterns mean. Pure and without regular expressions; a match never takes more steps than the
pattern has parts times the text has.

Tools: an absent list covers all, an empty one none; an item is a full tool name in which `*` stands for any
run of characters, also an empty one.

Operations: an absent list covers all, an empty one none; an item is either an operation id, compared exactly,
or `METHOD path` over the description's *template* (`GET /zones/{zone_id}`), never over the path that is sent.
`METHOD` is compared exactly, or is `*`. The path is compared segment by segment: `*` stands for exactly one
segment, `**` for any number of them, also none; every other segment is compared exactly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from connectors.base import Operation

MAX_PATTERN = 300
"""Characters of one operation pattern; Cloudflare's longest template has 123."""

MAX_SEGMENTS = 64

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class PatternError(ValueError):
    """A pattern that is not one. The text says what would be."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One item of a grant's `operations`. `method` None: `text` is an operation id."""

    text: str
    method: str | None
    segments: tuple[str, ...]

    @property
    def names(self) -> bool:
        """Whether a match names the operation: an id, or a path without `**` and without `*` as method."""
        return self.method is None or (self.method != "*" and "**" not in self.segments)


def check_tool(text: str) -> None:
    """Raises PatternError unless `text` can stand in a grant's `tools`."""
    if not 1 <= len(text) <= 60 or not all(c.isascii() and (c.isalnum() or c in "_-*") for c in text):
        raise PatternError("must be a tool's full name, with `*` for any run of characters, at most 60")
    if "**" in text:
        raise PatternError("`**` has no meaning in a tool's name; write `*`")


@lru_cache(maxsize=4096)
def parse(text: str) -> Pattern:
    """The pattern that `text` spells. Raises PatternError."""
    if not text or len(text) > MAX_PATTERN or not text.isascii() or not text.isprintable() or text != text.strip():
        raise PatternError(f"must be 1 to {MAX_PATTERN} printable ASCII characters without spaces around them")
    method, space, path = text.partition(" ")
    if space and method in (*_METHODS, "*") and not path.startswith("/"):
        raise PatternError("after the method comes a path that begins with `/`, like `GET /zones/**`")
    if not (space and path.startswith("/")):
        return _operation_id(text)
    if method != "*" and method not in _METHODS:
        raise PatternError(f"the method must be `*` or one of {' '.join(sorted(_METHODS))}")
    segments = tuple(path[1:].split("/")) if path != "/" else ()
    if len(segments) > MAX_SEGMENTS:
        raise PatternError(f"a path has at most {MAX_SEGMENTS} segments")
    for segment in segments:
        if not segment or " " in segment:
            raise PatternError("a path is like /zones/{zone_id}: no empty segment, no space, no slash at the end")
        if "*" in segment and segment not in ("*", "**"):
            raise PatternError(f"`*` stands for a whole segment; {segment!r} mixes it with other characters")
    return Pattern(text, method, segments)


def _operation_id(text: str) -> Pattern:
    if "*" in text:
        raise PatternError("an operation id is compared exactly; patterns are `METHOD /path`, like `GET /zones/**`")
    if text.startswith("/"):
        raise PatternError("a path needs its method before it, like `GET /zones/**`")
    return Pattern(text, None, ())


def covers_tool(tools: Sequence[str] | None, tool_name: str) -> bool:
    """Whether a grant's `tools` cover `tool_name`."""
    return tools is None or any(_glob(item, tool_name) for item in tools)


def covers_operation(operations: Sequence[str] | None, operation: Operation) -> bool:
    """Whether a grant's `operations` cover `operation`. An item that is no pattern covers nothing."""
    return operations is None or any(matches(p, operation) for p in patterns(operations))


def names_operation(operations: Sequence[str] | None, operation: Operation) -> bool:
    """Whether a grant's `operations` *name* `operation`; an absent list names none."""
    return any(p.names and matches(p, operation) for p in patterns(operations or ()))


def patterns(operations: Iterable[str]) -> list[Pattern]:
    """The patterns among `operations`. What an older release may have let through and this one cannot read is
    left out, so that it grants nothing."""
    found = []
    for text in operations:
        try:
            found.append(parse(text))
        except PatternError:
            continue
    return found


def matches(pattern: Pattern, operation: Operation) -> bool:
    """Whether one pattern matches one operation."""
    if pattern.method is None:
        return pattern.text == operation.id
    if pattern.method not in ("*", operation.method):
        return False
    return _path(pattern.segments, template_segments(operation.path))


@lru_cache(maxsize=8192)
def template_segments(path: str) -> tuple[str, ...]:
    """The segments of a path template; `/` has none."""
    return tuple(path[1:].split("/")) if path != "/" else ()


def _path(wanted: tuple[str, ...], found: tuple[str, ...]) -> bool:
    """Segment-wise match. `**` backtracks to the last one only, so no input makes it exponential."""
    w = f = 0
    star, mark = -1, 0
    while f < len(found):
        if w < len(wanted) and wanted[w] == "**":
            star, mark = w, f
            w += 1
        elif w < len(wanted) and wanted[w] in ("*", found[f]):
            w += 1
            f += 1
        elif star >= 0:
            mark += 1
            w, f = star + 1, mark
        else:
            return False
    return all(segment == "**" for segment in wanted[w:])


def _glob(pattern: str, name: str) -> bool:
    """`*` glob over characters, by the fixed pieces between the stars in turn: each is found once, left to
    right."""
    if "*" not in pattern:
        return pattern == name
    first, *middle, last = pattern.split("*")
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in middle:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True

"""Path templates: reading them, filling them, and matching concrete paths against them.

A value never leaves its segment: whatever it holds is percent-encoded but for RFC 3986's unreserved
characters, `/` included. That holds for templates that mark a parameter as greedy (`{path+}`, `{path*}`) and
for object and key names too: upstreams decode `%2F` inside a segment (so do Cloudflare's R2 object and KV key
routes), while a raw `/` would let a value choose another operation's path.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from connectors.openapi.bounds import MAX_NAME, MAX_SEGMENTS, MAX_TEMPLATE

_PLACEHOLDER = re.compile(r"\{([^{}/]*)\}")
_LITERAL_SAFE = "!$&'()*+,;=:@%"
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\?#]")
DOTS = (".", "..")


class TemplateError(ValueError):
    """A template that cannot be used safely; its operation is left out."""


@dataclass(frozen=True, slots=True)
class Part:
    """A literal (already percent-encoded) or a parameter's name."""

    text: str
    is_parameter: bool


Segment = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: its segments after the leading `/`; a trailing `/` is an empty last segment."""

    text: str
    segments: tuple[Segment, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, in the order in which they first appear."""
        return tuple(dict.fromkeys(p.text for segment in self.segments for p in segment if p.is_parameter))

    @property
    def shape(self) -> str:
        """The template with every parameter written `{}`: equal for templates that differ only in names."""
        return "/" + "/".join("".join("{}" if p.is_parameter else p.text for p in s) for s in self.segments)

    def fill(self, encoded: Mapping[str, str]) -> str:
        """The path, from values that are already percent-encoded.

        Raises TemplateError where a segment is `.` or `..`.
        """
        filled = ["".join(encoded[p.text] if p.is_parameter else p.text for p in s) for s in self.segments]
        if any(unquote(segment) in DOTS for segment in filled):
            raise TemplateError("a path segment may not be . or ..")
        return "/" + "/".join(filled)


def parse(text: str) -> Template:
    """Reads a template. Raises TemplateError for one with `..`, a query, controls or stray braces.

    A name that appears twice stands for the same value in both places.
    """
    if not text.startswith("/") or len(text) > MAX_TEMPLATE:
        raise TemplateError("a path starts with / and has at most 1,024 characters")
    if "//" in text:
        raise TemplateError("a path has no empty segment but a last one")
    pieces = text[1:].split("/")
    if len(pieces) > MAX_SEGMENTS:
        raise TemplateError(f"a path has at most {MAX_SEGMENTS} segments")
    segments = tuple(_segment(piece) for piece in pieces)
    return Template(text, segments)


def _segment(text: str) -> Segment:
    pieces = _PLACEHOLDER.split(text)
    parts = []
    for position, piece in enumerate(pieces):
        if position % 2:
            name = piece.rstrip("+*")
            if not name or len(name) > MAX_NAME or not name.isprintable():
                raise TemplateError("a parameter's name is missing or unusable")
            parts.append(Part(name, is_parameter=True))
        elif piece:
            parts.append(Part(_literal(piece), is_parameter=False))
    if len(parts) == 1 and not parts[0].is_parameter and unquote(parts[0].text) in DOTS:
        raise TemplateError("a path leaves its segment")
    return tuple(parts)


def _literal(text: str) -> str:
    if _FORBIDDEN.search(text) or "{" in text or "}" in text or _BROKEN_ESCAPE.search(text):
        raise TemplateError("a path holds a character that cannot be sent")
    decoded = unquote(text)
    if "/" in decoded or "\\" in decoded:
        raise TemplateError("a path leaves its segment")
    return quote(text, safe=_LITERAL_SAFE)


def encode(value: str) -> str:
    """Percent-encodes all but RFC 3986 § 2.3's unreserved characters, as UTF-8. Raises UnicodeEncodeError."""
    return quote(value, safe="")


def unquoted(text: str) -> str:
    """The decoded text, undecodable bytes replaced; only for looking at it."""
    return unquote(text)


def match_segment(segment: Segment, text: str) -> dict[str, str] | None:
    """The decoded values of one encoded segment, or None.

    Every value is at least one character; linear in time.
    """
    values: dict[str, str] = {}
    at = 0
    waiting: str | None = None
    for part in segment:
        if part.is_parameter:
            if waiting is not None:  # {a}{b}: the first takes one character
                values[waiting] = text[at : at + 1]
                at += 1
            waiting = part.text
            continue
        found = text.find(part.text, at + 1) if waiting is not None else (at if text.startswith(part.text, at) else -1)
        if found < 0:
            return None
        if waiting is not None:
            values[waiting] = text[at:found]
            waiting = None
        at = found + len(part.text)
    return _finish(values, waiting, text, at)


def _finish(values: dict[str, str], waiting: str | None, text: str, at: int) -> dict[str, str] | None:
    if waiting is not None:
        values[waiting] = text[at:]
    elif at != len(text):
        return None
    if not all(values.values()):
        return None
    try:
        return {name: unquote(value, errors="strict") for name, value in values.items()}
    except UnicodeDecodeError:
        return None

"""TypeScript's annotations taken out of a program, by oxc (MIT licence) as the pinned package quickjs-rs 0.2.6 ships
it, compiled to WebAssembly: a stranger's program is parsed within the same wall as it would run in.

oxc writes the program anew, in lines of its own. What it left out is found in the program as it was written, and only
blanked there, so that lines and columns stay true; and what then stands there is given to oxc once more, which must
write the same again. Where it does not, or where types stand for code (enums, parameter properties), nothing is done.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import wasmtime as wt

from broker.tools.codemode.sandbox.engine import Guest, GuestFault, Imports
from broker.tools.codemode.sandbox.errors import LimitReached
from broker.tools.codemode.sandbox.limits import MIB

LONGEST: Final = 32 * 1024
"""A longer program is not looked at, in bytes. What follows takes time in proportion to it, some 5 ms for 1,000 bytes
at most: a token that does not end, or too much that was added, ends it."""
_SKIPPED_MOST: Final = 64
"""Tokens in a row that oxc may have added."""
_MEMORY_BYTES: Final = 48 * MIB
_FLAGS: Final = 1 << 0 | 1 << 8
"""The source is TypeScript; strip it."""
_NAME: Final = b"program.ts"
_WRITTEN, _SAME = 0, 1
_FENCED: Final = re.compile(
    r"^[ \t]*(?:```|~~~)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)[ \t]*\r?$|\Z)", re.MULTILINE | re.DOTALL
)
_HEAD, _TAIL = "async () => {", "\n}"
"""What makes statements that end in `return` a program; on the first line and behind the last one."""
_TOKEN: Final = re.compile(
    r"(?P<gap>\s+|//[^\n]*|/\*.*?\*/)"
    r"|(?P<text>\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+')"
    r"|(?P<template>`(?:[^`\\]|\\.)*+`)"
    r"|(?P<number>\d[\w.]*|\.\d[\w.]*)"
    r"|(?P<word>[\w$\u0080-\U0010ffff]+)"
    r"|(?P<mark>=>|\?\.|\?\?=?|&&=?|\|\|=?|[=!]==?|\*\*=?|\+\+|--|\.\.\.|[-+*%&|^]=|.)",
    re.DOTALL,
)
_PATTERN: Final = re.compile(r"/(?![*/])(?:[^\\/\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*+\])++/[a-z]*")
_WORD_BEFORE_PATTERN: Final = frozenset({"return", "typeof", "case", "in", "of", "void", "throw", "else", "await"})
_OPENINGS: Final = frozenset({'"', "'", "`"})
_ADDED: Final = frozenset({";", "(", ")"})
"""What oxc writes, or not, as it likes."""


class _NotRead(Exception):
    """The text is beyond what this reads."""


class _Token(NamedTuple):
    kind: str
    text: str
    at: int
    line: int

    def like(self, other: "_Token") -> bool:
        """Whether oxc may have written the other for it; how it writes numbers is up to it."""
        if self.kind == other.kind == "text":
            return _bare(self.text) == _bare(other.text)
        return self.text == other.text or self.kind == other.kind == "number"


class Typescript:
    """Strips programs, each in a fresh instance of `module`, which is oxc's."""

    def __init__(self, engine: wt.Engine, imports: Imports, module: wt.Module) -> None:
        self._engine = engine
        self._imports = imports
        self._module = module

    def strip(self, code: bytes, arm: Callable[[Guest], None]) -> bytes | None:
        """The program as JavaScript, each line and column where it was; None where it has no annotations, or none that
        can be taken out. `arm` sees to it that an instance is ended in time. Raises what ends it: wasmtime's Trap."""
        if len(code) > LONGEST:
            return None
        text = _unfenced(code.decode("utf-8", "replace"))
        for head, tail in (("", ""), (_HEAD, _TAIL)):
            source = head + text + tail
            written = self._write(source, arm)
            if written is not None:
                blanked = self._checked(source, written, arm)
                end = len(source) - len(tail)
                return None if blanked is None else blanked[len(head) : end].encode("utf-8", "replace")
        return None

    def _checked(self, source: str, written: str, arm: Callable[[Guest], None]) -> str | None:
        """The source blanked, where oxc writes the same for that."""
        try:
            wanted = list(_tokens(written))
            blanked = _blanked(source, wanted)
            if blanked is None or blanked == source:
                return None
            again = self._write(blanked, arm)
            same = again is not None and [t.text for t in _tokens(again)] == [t.text for t in wanted]
        except _NotRead:
            return None
        return blanked if same else None

    def _write(self, source: str, arm: Callable[[Guest], None]) -> str | None:
        """What oxc writes for the program; None where it is none."""
        guest = Guest(self._engine, self._imports, self._module, memory_bytes=_MEMORY_BYTES)
        arm(guest)
        try:
            data = source.encode("utf-8", "replace")
            arguments = []
            for given in (_NAME, data):
                where = guest.export("qjst_alloc", len(given))
                guest.write(where, given)
                arguments += [where, len(given)]
            status = guest.export("qjst_transform", *arguments, _FLAGS)
            if status not in (_WRITTEN, _SAME):
                return None
            if status == _SAME:
                return source
            length = guest.export("qjst_result_len")
            return guest.read(guest.export("qjst_result_ptr"), length).decode("utf-8", "replace")
        except (GuestFault, LimitReached, wt.WasmtimeError):
            return None
        finally:
            guest.close()


def _unfenced(text: str) -> str:
    """The inside of the Markdown fence that it begins with, with the rest blanked."""
    found = _FENCED.search(text)
    if found is None or text[: found.start()].strip():
        return text
    return _blanks(text[: found.start(1)]) + found[1] + _blanks(text[found.end(1) :])


def _blanks(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _bare(text: str) -> str:
    return re.sub(r"\\(['\"])", r"\1", text[1:-1])


def _tokens(text: str) -> Iterator[_Token]:
    """Without comments. Raises _NotRead where one does not end as far as this can see."""
    at, line = 0, 1
    before: _Token | None = None
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is not None and found[0] in ("/", "/=") and _may_be_pattern(before):
            found = _PATTERN.match(text, at)
        if found is None or found[0] in _OPENINGS or (found.lastgroup == "mark" and text.startswith("/*", at)):
            raise _NotRead
        kind = found.lastgroup or "pattern"
        if kind != "gap":
            before = _Token(kind, found[0], at, line)
            yield before
        line += found[0].count("\n")
        at = found.end()


def _may_be_pattern(before: _Token | None) -> bool:
    if before is None:
        return True
    if before.kind == "word":
        return before.text in _WORD_BEFORE_PATTERN
    return before.kind == "mark" and before.text not in (")", "]", "}")


def _blanked(source: str, wanted: list[_Token]) -> str | None:
    """The source with what was not written again blanked; None where what was written does not all stand in it, in
    that order."""
    out = list(source)
    place = line = opened = 0
    for token in _tokens(source):
        found = _place(token, wanted, place, line, opened)
        if found is None:
            end = token.at + len(token.text)
            out[token.at : end] = _blanks(token.text)
        else:
            opened += sum((skipped.text == "(") - (skipped.text == ")") for skipped in wanted[place:found])
            place, line = found + 1, token.line
    return "".join(out) if all(token.text in _ADDED for token in wanted[place:]) else None


def _place(token: _Token, wanted: list[_Token], place: int, line: int, opened: int) -> int | None:
    """Where in `wanted` the token stands, at `place` or behind what oxc may have added there: brackets, of which
    `opened` are to be closed, and the end of a statement."""
    for at in range(place, min(place + _SKIPPED_MOST, len(wanted))):
        if token.like(wanted[at]):
            return at
        if wanted[at].text not in _ADDED:
            return None
        if wanted[at].text == ";" and token.line == line and token.text != "}":
            return None  # it was there, or a line ended: what stands before that belongs to what was left out
        opened += (wanted[at].text == "(") - (wanted[at].text == ")")
        if opened < 0:
            return None
    return None

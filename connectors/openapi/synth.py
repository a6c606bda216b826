"""Short strings that match simple regular expressions, for examples.

Never runs an expression; gives up when unsure.
"""

from collections.abc import Iterator

_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a"}
_EDGES = "bBAzZ"
_CANDIDATES = "a0A-_. :/@+*%,=1bBzZ9"
_MAX = 2_000


class _GiveUp(Exception):
    """A construct that is not understood."""


def sample(pattern: str) -> Iterator[str]:
    """Strings likely to match: repeats at their least, then with one more of what is optional. Check each."""
    for extra in (0, 1):
        try:
            yield _Reader(pattern, extra).read()
        except (_GiveUp, IndexError, ValueError):
            continue


class _Reader:
    def __init__(self, pattern: str, extra: int) -> None:
        self._pattern = pattern
        self._at = 0
        self._extra = extra

    def read(self) -> str:
        text = self._alternatives()
        if self._at != len(self._pattern):
            raise _GiveUp
        return text

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1]

    def _alternatives(self) -> str:
        branches = [self._sequence()]
        while self._peek() == "|":
            self._take()
            branches.append(self._sequence())
        return branches[0] or next((b for b in branches if b), "")

    def _sequence(self) -> str:
        out = ""
        while self._peek() not in ("", "|", ")"):
            out += self._repeated(self._atom())
            if len(out) > _MAX:
                raise _GiveUp
        return out

    def _atom(self) -> str:
        character = self._take()
        if character in "^$":
            return ""
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == "\\":
            escaped = self._take()
            if escaped in _EDGES:
                return ""
            if escaped in "pPuxk" or escaped.isdigit():
                raise _GiveUp
            return _CLASSES.get(escaped, {"n": "\n", "t": "\t"}.get(escaped, escaped))
        return "a" if character == "." else character

    def _group(self) -> str:
        if self._peek() == "?":
            if self._pattern[self._at : self._at + 2] != "?:":
                raise _GiveUp
            self._at += 2
        text = self._alternatives()
        if self._take() != ")":
            raise _GiveUp
        return text

    def _class(self) -> str:
        negated = self._peek() == "^"
        if negated:
            self._take()
        members: list[str] = []
        while self._peek() != "]" or not members:
            member = self._take()
            if member == "\\":
                escaped = self._take()
                member = _CLASSES.get(escaped, escaped)
            if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
                self._take()
                last = self._take()
                members.extend(chr(code) for code in range(ord(member), min(ord(last), ord(member) + 127) + 1))
            else:
                members.append(member)
        self._take()
        if negated:
            return next(c for c in _CANDIDATES if c not in members)
        return next((c for c in _CANDIDATES if c in members), members[0])

    def _repeated(self, text: str) -> str:
        count = 1
        if self._peek() in ("*", "+", "?"):
            count = {"*": 0, "+": 1, "?": 0}[self._take()] + self._extra
        elif self._peek() == "{":
            self._take()
            least, _, _ = self._pattern[self._at : self._pattern.index("}", self._at)].partition(",")
            self._at = self._pattern.index("}", self._at) + 1
            count = min(int(least or 0), _MAX)
        if self._peek() in ("?", "+"):
            self._take()
        return text * count

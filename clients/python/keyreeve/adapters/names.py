"""Tool names a provider accepts, and the way back. Pure.

Keyreeve's own names (`^[A-Za-z0-9_-]{1,60}$`) fit the providers of today and pass unchanged. One that does not fit a
stricter rule is changed and gets a digest of the original, so that it is stable and two names never become one.
"""

import hashlib
import string
from collections.abc import Iterable
from dataclasses import dataclass

_DIGEST = 8
_LETTERS_AND_DIGITS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class NameRule:
    """What a provider accepts: which characters (`_`, digits and a to f among them), which of them first, and how
    many (at least 16)."""

    length: int = 64
    allowed: str = _LETTERS_AND_DIGITS + "_-"
    first: str = _LETTERS_AND_DIGITS + "_-"

    def fits(self, name: str) -> bool:
        """Whether `name` may be sent as it is."""
        return 0 < len(name) <= self.length and name[0] in self.first and all(c in self.allowed for c in name)


ANTHROPIC = NameRule(length=128)
"""`^[a-zA-Z0-9_-]{1,128}$` (Messages API, tools)."""
OPENAI = NameRule(length=64)
"""`^[a-zA-Z0-9_-]{1,64}$` (Responses API, function tools)."""


class Names:
    """The names of one list of tools, there and back: outward ones fit the rule and are all different."""

    def __init__(self, names: Iterable[str], rule: NameRule) -> None:
        self._outward: dict[str, str] = {}
        self._inward: dict[str, str] = {}
        listed = dict.fromkeys(names)
        # Those that fit keep their names, whatever else is in the list.
        for name in sorted(listed, key=lambda name: not rule.fits(name)):
            shown = name if rule.fits(name) else _fitting(name, rule, self._inward)
            self._outward[name], self._inward[shown] = shown, name

    def outward(self, name: str) -> str:
        """What the provider is told. Raises KeyError for a name that was not in the list."""
        return self._outward[name]

    def inward(self, shown: str) -> str | None:
        """The tool a provider's name stands for; None where it stands for none."""
        return self._inward.get(shown)


def _fitting(name: str, rule: NameRule, taken: dict[str, str]) -> str:
    safe = "".join(c if c in rule.allowed else "_" for c in name)
    if not safe or safe[0] not in rule.first:
        safe = rule.first[0] + safe
    for salt in range(1_000):
        digest = hashlib.sha256(f"{salt}:{name}".encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
        found = f"{safe[: rule.length - _DIGEST - 1]}_{digest}"
        if found not in taken:
            return found
    raise ValueError(f"no name is left for {name!r}")

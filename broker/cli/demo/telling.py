"""What an act of the demo says, and how it says that something went otherwise."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.cli.errors import Refused


class Otherwise(Exception):
    """A step went otherwise than it must."""


@dataclass(slots=True)
class Told:
    """One act: what was done, and the requests with their answers in one line each."""

    did: str
    exchanges: list[tuple[str, str]] = field(default_factory=list)

    def add(self, request: str, answer: str) -> "Told":
        """One exchange more."""
        self.exchanges.append((request, answer))
        return self


def must(condition: object, otherwise: str) -> None:
    """Raises Otherwise unless `condition`."""
    if not condition:
        raise Otherwise(otherwise)


def refused(ask: Callable[[], Any], code: str) -> Refused:
    """What `ask` was refused with, which must be `code`."""
    try:
        answer = ask()
    except Refused as refusal:
        must(refusal.code == code, f"refused with {refusal.code} ({refusal.what}) instead of {code}")
        return refusal
    raise Otherwise(f"not refused: {short(answer)}; it had to be {code}")


def short(value: Any, limit: int = 100) -> str:
    """JSON in at most `limit` characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def line(method: str, path: str, body: Mapping[str, Any] | None = None) -> str:
    """A request as one line. Bodies with secrets are never given here."""
    return f"{method} {path}" + ("" if body is None else f" {short(body, 80)}")

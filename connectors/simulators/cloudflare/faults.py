"""Faults to inject: which requests they hit, how often, and what happens.

| kind | params | what the client sees |
|---|---|---|
| latency | seconds | the true answer, late |
| reset | | the connection is cut (TCP RST) without an answer |
| hang | | no answer ever |
| status | status=502, retry_after? | that status with an HTML page |
| garbage | | 200 and bytes that are not JSON |
| truncated | keep=0.5 | that share of the true JSON, with a content-length that fits what is sent |
| wrong_length | delta=10 | content-length too large by `delta` (too small when negative), then the end |
| huge | megabytes=64 | a JSON string that streams on |
| bomb | megabytes=64 | gzip that unpacks to so much |
| slow | chunk=1, seconds=0.2 | the true answer, dripping |
| redirect | location, status=307 | a redirect to another origin |
| echo | status=400, where=message | the caller's own credential inside an error (or `header`, `escaped`) |
| permission_flip | | what would be permitted is refused and the reverse |
| rate_limit | seconds=300 | 429 now, and a block of that principal |

`apply: true` lets the request take effect before reset, hang, status or garbage: an answer lost, not a
request lost.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal[
    "latency",
    "reset",
    "hang",
    "status",
    "garbage",
    "truncated",
    "wrong_length",
    "huge",
    "bomb",
    "slow",
    "redirect",
    "echo",
    "permission_flip",
    "rate_limit",
]
KINDS: frozenset[str] = frozenset(get_args(Kind))
_TRUE_ANSWER = frozenset({"latency", "truncated", "wrong_length", "slow", "permission_flip"})
MAX_FAULTS = 1000


@dataclass(slots=True)
class Match:
    """Which requests: each part given must fit. `path` is a regular expression searched in the path below
    /client/v4, `contains` a piece of path?query, so that one marked call can be hit.
    """

    method: str | None = None
    path: str | None = None
    principal: str | None = None
    contains: str | None = None
    _pattern: "re.Pattern[str] | None" = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._pattern = re.compile(self.path) if self.path else None

    def fits(self, method: str, path: str, query: str, principal: str) -> bool:
        """Whether a request is meant."""
        if (self.method and self.method != method) or (self.principal and self.principal != principal):
            return False
        if self._pattern is not None and not self._pattern.search(path):
            return False
        return not self.contains or self.contains in f"{path}?{query}"


@dataclass(slots=True)
class Fault:
    """One fault. `left` counts down to 0 hits; None: for ever."""

    id: int
    match: Match
    kind: Kind
    left: int | None
    params: dict[str, Any]
    hits: int = 0

    @property
    def applies(self) -> bool:
        """Whether the request takes effect (the handler runs) although the answer is spoilt."""
        return self.kind in _TRUE_ANSWER or bool(self.params.get("apply"))

    def number(self, name: str, default: float) -> float:
        """A numeric parameter."""
        return float(self.params.get(name, default))

    def wire(self) -> dict[str, Any]:
        """As the control plane shows it."""
        return {"id": self.id, "kind": self.kind, "left": self.left, "hits": self.hits, "params": self.params}


class Faults:
    """The faults in force, tried in the order they were added; the first that fits is used."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._next = 1

    def add(
        self,
        match: Match | dict[str, Any] | None,
        kind: str,
        times: int | None = 1,
        params: dict[str, Any] | None = None,
    ) -> Fault:
        """Put a fault in force for the next `times` matching requests (None: until removed).

        Raises ValueError for an unknown kind, a bad pattern, or when `MAX_FAULTS` are in force.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown fault kind {kind!r}; known: {', '.join(sorted(KINDS))}")
        if len(self._faults) >= MAX_FAULTS:
            raise ValueError("too many faults in force")
        try:
            where = match if isinstance(match, Match) else Match(**(match or {}))
        except (TypeError, re.error) as problem:
            raise ValueError(f"match: {problem}") from problem
        fault = Fault(self._next, where, kind, times, dict(params or {}))  # type: ignore[arg-type]  # one of KINDS: just looked
        self._next += 1
        self._faults.append(fault)
        return fault

    def take(self, method: str, path: str, query: str, principal: str) -> Fault | None:
        """The fault that hits this request, counted down."""
        for fault in self._faults:
            if fault.match.fits(method, path, query, principal):
                fault.hits += 1
                if fault.left is not None:
                    fault.left -= 1
                    if fault.left <= 0:
                        self._faults.remove(fault)
                return fault
        return None

    def __len__(self) -> int:
        return len(self._faults)

    def wire(self) -> list[dict[str, Any]]:
        """All in force, for the control plane."""
        return [fault.wire() for fault in self._faults]

    def remove(self, fault_id: int) -> None:
        """Take one out of force; nothing happens where it is not in force."""
        self._faults = [fault for fault in self._faults if fault.id != fault_id]

    def clear(self) -> None:
        """Take all out of force."""
        self._faults.clear()

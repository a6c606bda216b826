"""The request limit: 1,200 per 300 s for one principal, then a five-minute block of all its calls [D].

The window slides and is exact: at most `limit` calls are let through in any half-open interval of `window`
seconds. Cloudflare does not publish its own algorithm; this is the strictest that its documentation allows.
Every arrival, also a refused one, is kept in a compact array so that a test can count what really reached the
upstream.
"""

import math
from array import array
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_PRINCIPALS = 200_000


class Admission(NamedTuple):
    """What the limiter says: whether the call may go on, what is left, and seconds until that changes."""

    allowed: bool
    remaining: int
    reset_seconds: int


@dataclass(slots=True)
class _Meter:
    recent: deque[float] = field(default_factory=deque)
    arrivals: "array[float]" = field(default_factory=lambda: array("d"))
    blocked_until: float = -math.inf
    refused: int = 0


class Limiter:
    """One limit over many principals. `limit` ≥ 1 calls, `window` and `block` in seconds."""

    def __init__(self, limit: int = 1200, window: float = 300.0, block: float = 300.0) -> None:
        self.limit = limit
        self.window = window
        self.block = block
        self._meters: dict[str, _Meter] = {}

    def _meter(self, principal: str) -> _Meter:
        meter = self._meters.get(principal)
        if meter is None:
            if len(self._meters) >= MAX_PRINCIPALS:
                self._meters.clear()
            meter = self._meters[principal] = _Meter()
        return meter

    def arrive(self, principal: str, now: float) -> Admission:
        """Count one call at `now` (seconds of a clock that never goes back)."""
        meter = self._meter(principal)
        meter.arrivals.append(now)
        if now < meter.blocked_until:
            meter.refused += 1
            return Admission(allowed=False, remaining=0, reset_seconds=math.ceil(meter.blocked_until - now))
        recent, window = meter.recent, self.window
        while recent and recent[0] + window <= now:
            recent.popleft()
        if len(recent) >= self.limit:
            meter.blocked_until = now + self.block
            meter.refused += 1
            return Admission(allowed=False, remaining=0, reset_seconds=math.ceil(self.block))
        recent.append(now)
        return Admission(
            allowed=True,
            remaining=self.limit - len(recent),
            reset_seconds=math.ceil(recent[0] + window - now),
        )

    def force_block(self, principal: str, now: float, seconds: float) -> None:
        """Block a principal for `seconds` from `now`, as if it had gone over."""
        self._meter(principal).blocked_until = now + seconds

    def spend(self, principal: str, count: int, now: float) -> None:
        """Use up `count` calls at `now` that never came through this door: the human in the dashboard."""
        meter = self._meter(principal)
        meter.recent.extend([now] * count)

    def arrivals(self, principal: str) -> "array[float]":
        """Every arrival's time, oldest first, refused ones included. A copy."""
        meter = self._meters.get(principal)
        return array("d", meter.arrivals) if meter else array("d")

    def max_in_window(self, principal: str, seconds: float) -> int:
        """The most arrivals in any half-open interval of `seconds`; O(n log n) over all of them."""
        meter = self._meters.get(principal)
        if meter is None:
            return 0
        times = meter.arrivals
        return max((bisect_left(times, t + seconds, i) - i for i, t in enumerate(times)), default=0)

    def counts(self) -> dict[str, dict[str, int]]:
        """Per principal: `arrived` and `refused`."""
        return {p: {"arrived": len(m.arrivals), "refused": m.refused} for p, m in self._meters.items()}

    def reset(self) -> None:
        """Forget every principal: windows, blocks and arrivals."""
        self._meters.clear()

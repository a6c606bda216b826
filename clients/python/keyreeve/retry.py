"""Whether to send a request again, and when. Pure.

Twice is safe in three cases only: the request is `repeatable` (it reads, or carries an idempotency key); it certainly
did not arrive; or the server says that nothing was done. Everything else is the caller's to decide.
"""

from typing import Any

from msgspec import Struct

from keyreeve.ask import Ask
from keyreeve.errors import ApiError, IdempotencyInProgress, KeyreeveError, RateLimited, TransportError

_PASSING = frozenset({429, 502, 503, 504})
"""Statuses of something in between that may pass."""


class Retries(Struct, frozen=True):
    """`most`: how often at most a request is sent again. `longest`: seconds one wait may take at most; where the server
    asks for more, its answer is raised instead. `base`: seconds of the first wait where the server names none; each
    further one doubles."""

    most: int = 2
    longest: float = 8.0
    base: float = 0.25

    def wait(self, ask: Ask[Any], error: KeyreeveError, sent_again: int, chance: float) -> float | None:
        """Seconds until the next attempt, or None to give up. `sent_again` counts the repeats so far, `chance` is a
        random number in [0, 1)."""
        if sent_again >= self.most or not _may_repeat(ask, error):
            return None
        asked = error.retry_after if isinstance(error, ApiError) else None
        if asked is None:
            return min(self.base * float(1 << sent_again), self.longest) * (0.5 + chance / 2)
        # Never earlier than asked; spread, so that many waiting do not come back at once.
        return None if asked > self.longest else asked + chance * min(0.25, max(asked, 0.05))


def _may_repeat(ask: Ask[Any], error: KeyreeveError) -> bool:
    if isinstance(error, TransportError):
        return ask.repeatable or error.sent is False
    if not isinstance(error, ApiError):
        return False
    if error.sent is False or isinstance(error, RateLimited):
        return error.status in (429, 503) and error.fix in ("wait", "operator")
    if isinstance(error, IdempotencyInProgress):
        return ask.idempotency_key is not None
    # With a key, what the server itself says of an execution's outcome is final for that key.
    passing = error.status == 503 or error.code == f"http_{error.status}"
    return ask.repeatable and passing and error.status in _PASSING

"""What the database's clock should read now, by this process's own monotonic clock.

Budgets live by the database's clock; a forward step of it (an operator, NTP, a failover to a faster machine) would free
slots early. Each admission passes `expected()`; the database notes a step when it is more than 3 s ahead of it. The
expectation follows the database downwards at once and upwards by at most 0.1 % of the time elapsed, so that many small
steps add up to one that is seen. A sleeping laptop looks like a step and only costs a window.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

STEP: Final = 3.0
"""Seconds ahead from which on the database notes a step (`note_clock` in budget.sql)."""
_SLEW: Final = 0.001


class DatabaseClock:
    """One per process. `now` is the machine's wall clock: the expectation until the database has been heard."""

    def __init__(self, now: datetime, elapsed: Callable[[], float] = monotonic) -> None:
        self._elapsed = elapsed
        self._at = elapsed()
        self._expected = now

    def expected(self) -> datetime:
        """What the database's clock should read at this moment."""
        return self._expected + timedelta(seconds=self._elapsed() - self._at)

    def observe(self, db_now: datetime, asked_at: float) -> None:
        """The database said `db_now` to a question sent at `asked_at` (monotonic seconds)."""
        since = asked_at - self._at
        if since < 0:
            return  # an answer older than one already taken in
        believed = self._expected + timedelta(seconds=since)
        ahead = (db_now - believed).total_seconds()
        if ahead <= 0 or ahead > STEP:
            # Behind: follow. Far ahead: the database has noted the step by now, and everyone starts over.
            self._expected = db_now
        else:
            self._expected = believed + timedelta(seconds=min(ahead, since * _SLEW))
        self._at = asked_at

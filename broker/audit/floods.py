"""Flood control of refusals: the first few of a kind are written down one by one, the rest are counted. Pure.

Counted per process: with N processes a kind may be written N times as often.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

Context = TypeVar("Context")


@dataclass(slots=True)
class _Window:
    since: datetime
    seen: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class Flood(Generic[Context]):
    """`suppressed` occurrences since `since` not written down. `context` is that of the latest."""

    context: Context
    suppressed: int
    since: datetime


class FloodGate(Generic[Context]):
    """Lets `limit` occurrences of a key through per `window`; counts the rest until the window has passed.

    Holds at most `capacity` keys. The key with the oldest window goes first; what was counted for it is
    handed out, so nothing is lost.
    """

    def __init__(self, limit: int = 20, window: timedelta = timedelta(minutes=1), capacity: int = 10_000) -> None:
        if limit < 1 or capacity < 1:
            raise ValueError("a flood gate lets at least one through and knows at least one key")
        self._limit = limit
        self._window = window
        self._capacity = capacity
        # In the order in which the windows began.
        self._windows: OrderedDict[Hashable, tuple[_Window, Context]] = OrderedDict()

    def admit(self, key: Hashable, context: Context, now: datetime) -> tuple[bool, list[Flood[Context]]]:
        """Whether this occurrence is to be written down, and the counts that have become due."""
        due = self.due(now)
        entry = self._windows.get(key)
        if entry is None:
            while len(self._windows) >= self._capacity:
                _, (window, old) = self._windows.popitem(last=False)
                if window.suppressed:
                    due.append(Flood(old, window.suppressed, window.since))
            self._windows[key] = (_Window(now, 1, 0), context)
            return True, due
        window = entry[0]
        if window.seen < self._limit:
            window.seen += 1
            return True, due
        window.suppressed += 1
        self._windows[key] = (window, context)
        return False, due

    def due(self, now: datetime) -> list[Flood[Context]]:
        """Ends the windows that are over at `now` and returns their counts, where anything was counted."""
        floods: list[Flood[Context]] = []
        while self._windows:
            key, (window, context) = next(iter(self._windows.items()))
            # A clock that stepped back would keep a window open for ever: end that one too.
            if window.since <= now < window.since + self._window:
                break
            del self._windows[key]
            if window.suppressed:
                floods.append(Flood(context, window.suppressed, window.since))
        return floods

    def close(self) -> list[Flood[Context]]:
        """Ends every window: for the shut-down."""
        floods = [Flood(c, w.suppressed, w.since) for w, c in self._windows.values() if w.suppressed]
        self._windows.clear()
        return floods

"""Bounds how many wrong tickets one address is answered about. Guessing 256 bits is hopeless; this tells whoever tries
to stop. It never stands before a right one: behind one address there may be a whole company, or a proxy."""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final

from broker.errors import Problem

WINDOW: Final = 60.0
MOST: Final = 30
ADDRESSES: Final = 10_000


class Guesses:
    """Wrong tickets by address, in this process: at most 30 in a minute, of the 10,000 addresses seen last."""

    def __init__(self, elapsed: Callable[[], float] = monotonic) -> None:
        self._elapsed = elapsed
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Returns if the address has tried few. Raises Problem `rate_limited`."""
        recent = self._recent(address)
        if len(recent) >= MOST:
            left = max(1, int(recent[0] + WINDOW - self._elapsed()) + 1)
            raise Problem("rate_limited", "too many links that this server did not make", retry_after=left)

    def wrong(self, address: str) -> None:
        """Notes a try that opened nothing."""
        self._wrong[address] = [*self._recent(address), self._elapsed()][-MOST:]
        self._wrong.move_to_end(address)
        if len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since = self._elapsed() - WINDOW
        return [at for at in self._wrong.get(address, ()) if at > since]

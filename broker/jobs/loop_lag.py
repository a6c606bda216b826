"""How late this process's event loop is: a timer of 20 ms, and nothing else (some 0.1 % of a processor)."""

import asyncio
from time import monotonic
from typing import Final

from broker.metrics import Metrics

EVERY_SECONDS: Final = 0.02


async def watch_loop(metrics: Metrics) -> None:
    """Counts how long after its time each timer fires, until it is cancelled. What holds the loop up longer than the
    timer's own interval is seen once, at its full length."""
    while True:
        due = monotonic() + EVERY_SECONDS
        await asyncio.sleep(EVERY_SECONDS)
        metrics.loop_late(max(0.0, monotonic() - due))

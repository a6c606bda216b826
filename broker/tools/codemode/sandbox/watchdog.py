"""The worker's second thread: ends a slice whose CPU time is used up."""

import threading
import time
from collections.abc import Callable
from typing import Final

import wasmtime as wt

_LOOK_SECONDS: Final = 0.02


class Watchdog(threading.Thread):
    """Interrupts the guest that is running when the main thread's CPU clock passes `until`.

    The CPU clock, not the wall's: a slice is not punished for what else the machine does.
    """

    def __init__(self, engine: wt.Engine) -> None:
        super().__init__(daemon=True, name="watchdog")
        self._engine = engine
        self._armed = threading.Event()
        self._lock = threading.Lock()
        self._until: float | None = None
        self.now = _cpu_clock()

    def arm(self, until: float) -> None:
        """From now on the running guest is ended when `now()` reaches `until` (seconds). Its epoch deadline is set
        before.
        """
        with self._lock:
            self._until = until
            self._armed.set()

    def disarm(self) -> None:
        """The slice is over; once this returns, nothing of it can hit the next one."""
        with self._lock:
            self._until = None

    def run(self) -> None:
        """Never returns."""
        while True:
            self._armed.wait()
            time.sleep(self._look())

    def _look(self) -> float:
        """Ends the slice if its time is up; how long to wait until the next look, in seconds."""
        with self._lock:
            if self._until is None:
                self._armed.clear()
                return 0.0
            left = self._until - self.now()
            if left > 0:
                return min(left, _LOOK_SECONDS)
            self._engine.increment_epoch()
            self._until = None
            return 0.0


def _cpu_clock() -> Callable[[], float]:
    try:
        clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0)
    except (AttributeError, OSError):
        return time.monotonic
    return lambda: time.clock_gettime(clock)

"""How a worker that computes for long is made to give way to the rest of the machine. Linux; elsewhere half of it.

Two things, for either may be what counts: the nice value of the thread that runs programs (setpriority(2)), and that of
the session's autogroup (sched(7)), which the kernel weighs instead where autogroups are on. Both only go down, and cost
a worker nothing while nobody else wants the processor.
"""

import contextlib
import os
from typing import Final

NICE: Final = 5
"""A third of the weight of an ordinary process: it goes on, slowly, where the machine has too much to do."""


class Priority:
    """One worker's. Made right after its start: once hardened, its files in /proc open for nobody."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._autogroup: int | None = None
        with contextlib.suppress(OSError):  # a kernel without autogroups
            self._autogroup = os.open(f"/proc/{pid}/autogroup", os.O_WRONLY | os.O_CLOEXEC)

    def lower(self) -> None:
        """From now on it gives way. A machine that refuses loses fairness, and nothing else."""
        with contextlib.suppress(OSError):
            now = os.getpriority(os.PRIO_PROCESS, self._pid)
            os.setpriority(os.PRIO_PROCESS, self._pid, max(now, NICE))
        if self._autogroup is not None:
            with contextlib.suppress(OSError):  # the kernel takes ten of these a second
                os.write(self._autogroup, b"%d" % NICE)

    def close(self) -> None:
        """The worker has ended."""
        if self._autogroup is not None:
            os.close(self._autogroup)
            self._autogroup = None

"""Process protections that keep secrets out of core dumps and other processes' reach.

Plaintexts are minimised, never zeroised: Python and OpenSSL keep copies that nobody can wipe. So the process
must not be dumped or traced. Swap is the operator's: run without it, or encrypt it.
"""

import ctypes
import resource
import sys
from typing import Final

from vault.errors import HardeningFailed

_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4


def harden_process() -> None:
    """Forbid core dumps (RLIMIT_CORE 0) and, on Linux, tracing and /proc/PID/mem by the same user (prctl(2)).

    Call it at the start and again after every change of user: changing credentials resets the flag.

    Raises:
        HardeningFailed: the system refused.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as problem:
        raise HardeningFailed("core dumps cannot be forbidden") from problem
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 or libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise HardeningFailed(f"the process cannot be made undumpable (errno {ctypes.get_errno()})")

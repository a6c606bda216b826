"""The system calls a worker keeps, by machine. Numbers: Linux's `unistd_64.h` (x86_64) and `asm-generic/unistd.h`
(aarch64).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Machine:
    """`audit` is AUDIT_ARCH_*; `x32` whether a second call table must be shut; `mapping` calls are allowed without
    PROT_EXEC in their third argument; `files` are allowed on one descriptor only; `allowed` as they are.
    """

    audit: int
    seccomp: int
    x32: bool
    mapping: tuple[int, ...]
    files: tuple[tuple[int, int], ...]
    allowed: tuple[int, ...]


_X86_64: Final = (
    3, 5, 8,  # close, fstat, lseek
    11, 12, 25, 28,  # munmap, brk, mremap, madvise
    13, 14, 15, 131,  # rt_sigaction, rt_sigprocmask, rt_sigreturn, sigaltstack
    23, 24, 35, 230, 219,  # select, sched_yield, nanosleep, clock_nanosleep, restart_syscall
    39, 186, 60, 231,  # getpid, gettid, exit, exit_group
    96, 228, 229,  # gettimeofday, clock_gettime, clock_getres
    202, 273, 318, 324, 334,  # futex, set_robust_list, getrandom, membarrier, rseq
)  # fmt: skip
_AARCH64: Final = (
    57, 80, 62,  # close, fstat, lseek
    215, 214, 216, 233,  # munmap, brk, mremap, madvise
    134, 135, 139, 132,  # rt_sigaction, rt_sigprocmask, rt_sigreturn, sigaltstack
    72, 124, 101, 115, 128,  # pselect6, sched_yield, nanosleep, clock_nanosleep, restart_syscall
    172, 178, 93, 94,  # getpid, gettid, exit, exit_group
    169, 113, 114,  # gettimeofday, clock_gettime, clock_getres
    98, 99, 278, 283, 293,  # futex, set_robust_list, getrandom, membarrier, rseq
)  # fmt: skip

MACHINES: Final[Mapping[str, Machine]] = {
    "x86_64": Machine(
        audit=0xC000003E,
        seccomp=317,
        x32=True,
        mapping=(9, 10),
        files=((0, 0), (1, 1)),
        allowed=_X86_64,
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        seccomp=277,
        x32=False,
        mapping=(222, 226),
        files=((63, 0), (64, 1)),
        allowed=_AARCH64,
    ),
}
"""read(2) on standard input only, write(2) on standard output only."""

"""What a worker gives up before it runs anything: Linux only, by system calls of its own, through ctypes.

In this order: dies with its parent, cannot be traced or dumped, is the first to go when memory is short; rlimits;
no_new_privs; Landlock with no right at all; seccomp with the few system calls that computing in mapped memory needs,
none of which opens, connects, forks, or maps anything executable. `python -I -m
broker.tools.codemode.sandbox.hardening` says in JSON what this machine can do.
"""

import ctypes
import json
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from broker.tools.codemode.sandbox import syscalls

REQUIRED: Final = ("rlimits", "no_new_privs", "landlock", "seccomp")
"""What a worker must have given up to be used where hardening is required."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL: Final = 9
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_LANDLOCK_VERSION: Final = 1
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 1, 1
_PROT_EXEC: Final = 4

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32: Final = 0x40000000


def harden(*, address_bytes: int, data_bytes: int) -> list[str]:
    """Gives up everything that can be given up here and names it. Steps the kernel does not know are left out of the
    answer.
    """
    if sys.platform != "linux":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid()
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _die_first()
    _limit(address_bytes, data_bytes)
    done = ["rlimits"]
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        done.append("no_new_privs")
        done.extend(name for name, step in (("landlock", _landlock), ("seccomp", _seccomp)) if step(libc))
    return done


def missing(done: list[str]) -> list[str]:
    """What of REQUIRED was not given up."""
    return [name for name in REQUIRED if name not in done]


def _die_first() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return  # no /proc: the kernel then chooses by size, which is no worse than before


def _limit(address_bytes: int, data_bytes: int) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, address_bytes),
        (resource.RLIMIT_DATA, data_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _landlock(libc: ctypes.CDLL) -> bool:
    """No file, no TCP, no abstract socket, no signal to others: as much as this kernel's version knows
    (landlock(7)).
    """
    version = int(libc.syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION))
    if version < 1:
        return False
    files = (1 << (16 if version >= 5 else 15 if version >= 3 else 14 if version == 2 else 13)) - 1
    rules = struct.pack("<QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    rules = rules[: 24 if version >= 6 else 16 if version >= 4 else 8]
    handle = int(libc.syscall(_LANDLOCK_CREATE, rules, len(rules), 0))
    if handle < 0:
        return False
    try:
        return bool(libc.syscall(_LANDLOCK_RESTRICT, handle, 0) == 0)
    finally:
        os.close(handle)


def _seccomp(libc: ctypes.CDLL) -> bool:
    machine = syscalls.MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = b"".join(_filter(machine))
    buffer = ctypes.create_string_buffer(program, len(program))
    order = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    # TSYNC: the watchdog's thread is bound by it too.
    return bool(libc.syscall(machine.seccomp, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, order) == 0)


def _filter(machine: syscalls.Machine) -> Iterator[bytes]:
    """The filter in classic BPF (seccomp(2)). Jumps count the instructions they pass over."""

    def op(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("<HBBI", code, yes, no, value)

    yield op(_LOAD, 0, 0, _ARCHITECTURE)
    yield op(_EQUAL, 1, 0, machine.audit)
    yield op(_RETURN, 0, 0, _KILL)
    yield op(_LOAD, 0, 0, _NUMBER)
    if machine.x32:
        yield op(_AT_LEAST, 0, 1, _X32)
        yield op(_RETURN, 0, 0, _KILL)
    for number in machine.mapping:
        yield op(_EQUAL, 0, 4, number)
        yield op(_LOAD, 0, 0, _ARGUMENTS + 8 * 2)
        yield op(_ANY_BIT, 0, 1, _PROT_EXEC)
        yield op(_RETURN, 0, 0, _REFUSE)
        yield op(_RETURN, 0, 0, _ALLOW)
    for number, only in machine.files:
        yield op(_EQUAL, 0, 4, number)
        yield op(_LOAD, 0, 0, _ARGUMENTS)
        yield op(_EQUAL, 1, 0, only)
        yield op(_RETURN, 0, 0, _REFUSE)
        yield op(_RETURN, 0, 0, _ALLOW)
    for number in machine.allowed:
        yield op(_EQUAL, 0, 1, number)
        yield op(_RETURN, 0, 0, _ALLOW)
    yield op(_RETURN, 0, 0, _REFUSE)


if __name__ == "__main__":
    _done = harden(address_bytes=4 << 30, data_bytes=1 << 30)
    print(json.dumps({"done": _done, "missing": missing(_done)}))

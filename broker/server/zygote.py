"""The process that workers are forked from: it imports once what all of them need.

Started by `up` before anything else, as the user that serves, as `python -P -m broker.server.zygote FD PARENT_PID`.
It never holds a secret: its environment is filtered, and what a worker is told goes through a socket of the worker's
own, which the zygote only hands on. It has one thread, no event loop, and no descriptor but its standard ones and the
socket FD, on which it

- says `here` once it has seen that it can reach the interpreter and the code,
- forks at each `fork`, which brings two descriptors (the worker's channel to the parent, the listening socket), and
  answers with the worker's process id, or `-` and the error's number,
- answers each `reap PID` with how that worker ended, as `subprocess` counts it, or with 1000 while it has not. Until
  they are asked for the dead keep their ids, so that the parent, which signals by id, cannot meet a stranger.

It ends when that socket does. Its workers end with it: nobody would be left to tell them apart.
"""

import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
from typing import Any, Final, NoReturn

from broker.server.lean import absent
from vault.harden import harden_process

LIGHT: Final = ("broker.settings", "connectors.errors", "vault.errors", "orjson", "uvloop")
"""Small parts of each place that the program lives in: who can import these can import all of it."""
_DEAF: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Sent to whole groups of processes; the parent alone says when it is over."""
STILL_RUNNING: Final = 1000
"""No process ends so."""
_REQUEST_BYTES: Final = 64
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15


def main() -> None:
    """The zygote's entry."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    _hear(signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as we may have been started, no end could be waited for
    _belong(int(sys.argv[2]), b"keyreeve-zygote")
    harden_process()
    for name in LIGHT:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:  # another user's code: the parent tries as its own user
            sys.exit(f"keyreeve: uid {os.geteuid()} cannot load {name}: {error}")
    control.sendall(b"here\n")
    _import_all()
    while request := _receive(control):
        _answer(control, *request)


def _import_all() -> None:
    """What workers need. No garbage is looked for on the way, and what is there now is never looked through again."""
    gc.disable()
    with absent("rich", "email_validator"):
        importlib.import_module("structlog")
        importlib.import_module("fastapi")
    importlib.import_module("broker.server.worker")
    gc.freeze()


def _receive(control: socket.socket) -> tuple[str, list[int]] | None:
    """The next request and the descriptors it brought; None when the parent is gone."""
    message, fds, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 2)
    for fd in fds:
        os.set_inheritable(fd, False)  # noqa: FBT003 - its only parameter
    return (message.decode("ascii"), fds) if message else None


def _answer(control: socket.socket, request: str, fds: list[int]) -> None:
    word, _, argument = request.strip().partition(" ")
    if word == "fork":
        channel, listening = fds
        answer = _fork(control, channel, listening)
    elif word == "reap":
        pid, status = os.waitpid(int(argument), os.WNOHANG)
        answer = os.waitstatus_to_exitcode(status) if pid else STILL_RUNNING
    else:
        raise ValueError(f"not a request: {word!r}")
    control.sendall(b"%d\n" % answer)


def _fork(control: socket.socket, channel: int, listening: int) -> int:
    """Makes a worker; its process id, or the error's number below zero. Never returns in the worker."""
    me = os.getpid()
    # What the parent sends a worker in its first moment waits until it can be heard.
    signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF)
    _hear(signal.SIG_DFL)
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or 1)
    if pid == 0:
        control.close()
        _be_worker(me, channel, listening)
    _hear(signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _DEAF)
    for fd in (channel, listening):
        os.close(fd)
    return pid


def _be_worker(zygote: int, channel: int, listening: int) -> NoReturn:
    """Serves, in the child, and ends it without a look back at the zygote's frames."""
    code = 1
    try:
        _belong(zygote, b"keyreeve-worker")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _DEAF)
        gc.enable()
        # Held to the very end: the parent takes the channel's end for the process's.
        os.dup(channel)
        code = _worker().main(socket.socket(fileno=channel), socket.socket(fileno=listening))
    except BaseException:  # noqa: BLE001 - the process's last words
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _worker() -> Any:
    return importlib.import_module("broker.server.worker")


def _hear(how: signal.Handlers) -> None:
    for number in _DEAF:
        signal.signal(number, how)


def _belong(parent: int, name: bytes) -> None:
    """Names this process for `ps` and, on Linux, has it killed when `parent` ends (prctl(2)); ends it if that has
    happened. Elsewhere the end of the sockets says the same."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, name, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(70)


if __name__ == "__main__":
    main()

"""One PostgreSQL process as a direct child: spawned as the right user, listened to, reaped."""

import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from typing import IO

import structlog

from broker.db.embedded.users import Account, run_in, tied_to_parent

_log = structlog.get_logger(__name__)

_LINE = re.compile(r"(?:\S+ \S+ \S+ \[\d+\] )?(LOG|WARNING|FATAL|PANIC|HINT):\s+(.*)")
_LINE_BYTES = 2048
_TELL = ("recovery", "redo ", "not properly shut down", "terminated by signal", "No space left")


class ServerProcess:
    """A running `postgres` and the last lines it wrote."""

    def __init__(self, popen: "subprocess.Popen[bytes]", stderr: IO[bytes]) -> None:
        self._popen = popen
        self._tail: deque[str] = deque(maxlen=20)
        self._pump = threading.Thread(target=self._read, args=(stderr,), name="postgres-log", daemon=True)
        self._pump.start()

    @classmethod
    def spawn(cls, argv: Sequence[str], account: Account | None, pass_fds: Sequence[int]) -> "ServerProcess":
        """Starts `argv`. If this process dies, the kernel tells PostgreSQL to shut down fast (SIGINT).

        Call it from a thread that lives as long as the server should: that request follows the thread.
        """
        popen = subprocess.Popen(  # noqa: S603 - a fixed program of the wheel
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=tuple(pass_fds),
            start_new_session=True,  # Ctrl-C at a terminal is the supervisor's to order
            preexec_fn=tied_to_parent(signal.SIGINT),  # noqa: PLW1509 - takes no lock; see there
            **run_in(account),
        )
        if popen.stderr is None:
            raise RuntimeError("the child has no pipe")
        return cls(popen, popen.stderr)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def tail(self) -> str:
        """The last words, for an error message; at most 1,500 characters."""
        return "; ".join(self._tail)[-1500:]

    def poll(self) -> int | None:
        """The exit status once it has ended (it is reaped then), else None."""
        status = self._popen.poll()
        if status is not None:
            self._pump.join(timeout=2)  # its own helpers may hold the pipe a moment longer
        return status

    def send(self, signum: signal.Signals) -> None:
        """Signals it; nothing if it has ended."""
        self._popen.send_signal(signum)

    def _read(self, stream: IO[bytes]) -> None:
        """Reads to the end, so that PostgreSQL never waits for us; keeps and tells what matters."""
        with stream:
            while line := stream.readline(_LINE_BYTES):
                self._tell(line.decode("utf-8", "replace").strip())

    def _tell(self, line: str) -> None:
        if not line:
            return
        self._tail.append(line)
        match = _LINE.match(line)
        level, message = match.groups() if match else ("", line)
        if level == "PANIC":
            _log.error("postgres", message=message)
        elif any(word in message for word in _TELL):
            _log.info("postgres", message=message)
        else:
            _log.debug("postgres", message=message)

"""The parent's side of the zygote (broker/server/zygote.py): started, asked for workers, ended."""

import asyncio
import os
import socket
import subprocess
import sys
from typing import Final

from broker.db.embedded.users import Account
from broker.server.errors import CannotStart
from broker.server.zygote import STILL_RUNNING
from broker.settings import environment

HERE_SECONDS: Final = 20.0
"""For starting an interpreter and importing little."""
ANSWER_SECONDS: Final = 60.0
"""For importing everything, which the first fork waits for."""
_LOOK_SECONDS: Final = 0.01
"""Between questions after a worker that has closed its channel: it is as good as gone."""
_ANSWER_BYTES: Final = 64
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV")
"""A worker's environment: only what finding Python and the time zone takes."""


class ZygoteGone(Exception):
    """The zygote ended or does not answer. On Linux its workers have ended with it."""


class Zygote:
    """One zygote process. Make it with `start`, on a thread that outlives it (a program's main thread)."""

    def __init__(self, process: "subprocess.Popen[bytes]", control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._turn = asyncio.Lock()

    @classmethod
    def start(cls, account: Account | None) -> "Zygote":
        """Starts one as that user (None: this process's own) and returns at once. Raises OSError."""
        ours, theirs = socket.socketpair()
        argv = [
            sys.executable,
            "-P",  # never import from the folder that somebody happened to start in
            "-m",
            "broker.server.zygote",
            str(theirs.fileno()),
            str(os.getpid()),
        ]
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own program
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # ours is for the ready line alone
                    pass_fds=(theirs.fileno(),),
                    env={name: value for name, value in environment().items() if name in _KEPT},
                    start_new_session=True,  # Ctrl-C at a terminal is the parent's to order
                    cwd=None if account is None else "/",
                    user=None if account is None else account.uid,
                    group=None if account is None else account.gid,
                    extra_groups=None if account is None else [],
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)  # noqa: FBT003 - its only parameter
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether it was closed, or found dead or silent."""
        return self._control.fileno() < 0

    async def is_here(self) -> bool:
        """Whether its user can run the program. Asked once, before anything else."""
        try:
            return await self._answer(HERE_SECONDS) == b"here"
        except ZygoteGone:
            return False

    async def fork(self, listening: socket.socket) -> tuple[int, socket.socket]:
        """A new worker: its process id, and the channel to it. Waits until everything is imported.

        Raises ZygoteGone, and CannotStart where the system makes no more processes.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                answer = await self._ask(b"fork\n", theirs.fileno(), listening.fileno())
            if answer < 0:
                raise CannotStart(f"no worker can be forked: {os.strerror(-answer)}", "see the limits on processes")
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)  # noqa: FBT003 - its only parameter
        return answer, ours

    async def reap(self, pid: int) -> int:
        """Waits for a worker's end; how it ended, as `subprocess` counts it. Raises ZygoteGone."""
        while (code := await self._ask(b"reap %d\n" % pid)) == STILL_RUNNING:  # noqa: ASYNC110 - a look at a process
            await asyncio.sleep(_LOOK_SECONDS)
        return code

    def close(self) -> None:
        """Ends it. Nothing the second time."""
        self._control.close()
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()

    async def _ask(self, request: bytes, *fds: int) -> int:
        """One question at a time. Whoever asks may be cancelled; the answer is waited for all the same, or the next one
        would be given it."""
        copies = [os.dup(fd) for fd in fds]
        asking = asyncio.ensure_future(self._ask_now(request, copies))
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # seen, though nobody waits
        return await asyncio.shield(asking)

    async def _ask_now(self, request: bytes, fds: list[int]) -> int:
        try:
            async with self._turn:
                if self.gone:
                    raise ZygoteGone
                try:
                    socket.send_fds(self._control, [request], fds)
                except OSError as error:
                    self.close()
                    raise ZygoteGone from error
                return int(await self._answer(ANSWER_SECONDS))
        finally:
            for fd in fds:
                os.close(fd)

    async def _answer(self, seconds: float) -> bytes:
        """Its next line; it says no more than was asked for. Raises ZygoteGone, and closes it then."""
        line = b""
        try:
            async with asyncio.timeout(seconds):
                while not line.endswith(b"\n"):
                    piece = await asyncio.get_running_loop().sock_recv(self._control, _ANSWER_BYTES)
                    if not piece:
                        raise ConnectionError
                    line += piece
        except (OSError, TimeoutError) as error:
            self.close()
            raise ZygoteGone from error
        return line.strip()

"""One worker process, seen from the asyncio side. It is believed nothing: every frame is bounded and expected, or the
worker is killed.

A worker whose program computes on and on is made to give way to the rest of the machine. One that owes an answer for
longer than its program may compute is looked at: one that still computes on a busy machine gets more time, one that is
stopped or waits is killed.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import structlog

from broker.tools.codemode.sandbox import frames
from broker.tools.codemode.sandbox.conversation import Conversation
from broker.tools.codemode.sandbox.errors import SandboxUnavailable, Tampered
from broker.tools.codemode.sandbox.hardening import missing
from broker.tools.codemode.sandbox.priority import Priority
from broker.tools.codemode.sandbox.program import ImageRef

_log = structlog.get_logger(__name__)

START_SECONDS: Final = 30.0
COMMAND: Final = (sys.executable, "-I", "-m", "broker.tools.codemode.sandbox.worker")
_GRACE_SECONDS: Final = 0.5
SLOW_SECONDS: Final = 0.1
"""A worker that computes for so much longer than a first look took gives way from then on."""
_LOOK_SECONDS: Final = 0.05
_AGAIN: Final = 120
_COMPUTING: Final = ("R", "D")
_RUNS: Final = 1 << 32
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class WorkerProcess:
    """Starts, feeds, watches and ends one worker. `gone` is called once, when it can run nothing any more; `slow` once,
    when it was made to give way (`gives_way`), with the tenant whose program it was."""

    def __init__(
        self,
        *,
        images: Sequence[ImageRef],
        gone: "Callable[[WorkerProcess], None]",
        slow: "Callable[[UUID | None], None] | None" = None,
    ) -> None:
        self.images = {image.key: number for number, image in enumerate(images)}
        self.tenants: Counter[UUID] = Counter()
        self.retiring = False
        self.dead = False
        self.gives_way = False
        self.hardening: tuple[str, ...] = ()
        self.runs_begun = 0
        self._refs = list(images)
        self._gone = gone
        self._slow = slow
        self._priority: Priority | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._runs: dict[int, Conversation] = {}
        self._whose: dict[int, UUID] = {}
        self._owed: dict[int, int] = {}
        """By run: to how many of our frames it has not said `W` or `D` yet (`frames`). Only a run in here may say
        anything; what is owed longest stands first, and is what the worker computes."""
        self._leaving: dict[int, float] = {}
        """Runs we have dropped, until the worker acknowledges it, and the CPU seconds that each may still use."""
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None
        """There while anything is owed: the next look at whether the worker still gets on with it."""
        self._looked = 0
        self._cpu_then = 0.0

    @property
    def pid(self) -> int:
        """The process's id; 0 before it started."""
        return 0 if self._process is None else self._process.pid

    @property
    def runs(self) -> int:
        """How many runs it holds."""
        return len(self._runs)

    @property
    def owed(self) -> int:
        """How many of them compute or wait for their turn to."""
        return len(self._owed)

    async def start(self, *, command: Sequence[str], runs: int, harden: bool) -> None:
        """Starts it and waits until it is ready. Raises SandboxUnavailable, and leaves nothing behind then."""
        order = {"runs": runs, "images": [_told(ref) for ref in self._refs]}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL, env={}, cwd="/", close_fds=True, start_new_session=True,
            )  # fmt: skip
            self._priority = Priority(self._process.pid)
            async with asyncio.timeout(START_SECONDS):
                self._write(frames.frame(frames.START, 0, json.dumps(order).encode()))
                self._ready(await self._hello(), harden=harden)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            await self.close()
            raise SandboxUnavailable(f"a sandbox worker did not start ({type(error).__name__})") from error
        except BaseException:
            await self.close()
            raise
        self._reading = asyncio.create_task(self._read())

    async def _hello(self) -> dict[str, Any]:
        length, kind, _ = frames.HEADER.unpack(await self._exactly(frames.HEADER.size))
        if kind != frames.HELLO or length > frames.HELLO_BYTES:
            raise ValueError("no greeting")
        told = json.loads(await self._exactly(length))
        if not isinstance(told, dict):
            raise ValueError("no greeting")  # noqa: TRY004 - a frame from outside, not an argument
        return told

    def _ready(self, told: dict[str, Any], *, harden: bool) -> None:
        if "failed" in told:
            raise SandboxUnavailable(f"a sandbox worker did not start: {str(told['failed'])[:300]}")
        self.hardening = tuple(str(name) for name in told.get("done", ())[:16])
        lacking = missing(list(self.hardening))
        if harden and lacking:
            raise SandboxUnavailable(
                f"this machine cannot lock the sandbox in ({', '.join(lacking)} missing): "
                "run on Linux with Landlock and seccomp, or allow the sandbox without them"
            )

    async def close(self) -> None:
        """Ends it and waits until it has ended."""
        self.kill("was closed")
        if self._process is not None:
            await self._process.wait()
        if self._reading is not None and self._reading is not asyncio.current_task():
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def kill(self, why: str) -> None:
        """Ends it at once; its runs end as lost."""
        if self.dead:
            return
        self.dead = True
        if self._timer is not None:
            self._timer.cancel()
        if self._priority is not None:
            self._priority.close()
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            if self._process.stdin is not None:
                self._process.stdin.close()
        for conversation in self._runs.values():
            conversation.lost(why)
        self._gone(self)

    def begin(self, conversation: Conversation, order: bytes, tenant: UUID) -> int:
        """Starts a run; answers its id on this worker."""
        self._next = run = (self._next + 1) % _RUNS
        self._runs[run] = conversation
        self._whose[run] = tenant
        self.tenants[tenant] += 1
        self.runs_begun += 1
        conversation.begun(self, run)
        self._expect(run)
        self._write(frames.frame(frames.RUN, run, order))
        return run

    async def answer(self, run: int, payload: bytes) -> None:
        """Sends a host call's answer, for as long as the run is there."""
        if self.dead or run not in self._runs or self._process is None or self._process.stdin is None:
            return
        self._expect(run)
        self._write(frames.frame(frames.ANSWER, run, payload))
        try:
            await self._process.stdin.drain()
        except ConnectionError:
            self.kill("ended")

    def end(self, run: int, tenant: UUID) -> None:
        """The run's caller needs nothing more of it."""
        conversation = self._runs.pop(run, None)
        self._whose.pop(run, None)
        self.tenants[tenant] -= 1
        if self.tenants[tenant] <= 0:
            del self.tenants[tenant]
        if conversation is None or self.dead or conversation.settled:
            return
        self._owed[run] = 1  # the acknowledgement; whatever else still comes of it is passed over
        self._leaving[run] = conversation.limits.cpu_seconds
        self._write(frames.frame(frames.DROP, run))
        if self._timer is None:
            self._watch()

    def _write(self, data: bytes) -> None:
        if self._process is not None and self._process.stdin is not None and not self.dead:
            self._process.stdin.write(data)

    def _expect(self, run: int) -> None:
        self._owed[run] = self._owed.get(run, 0) + 1
        if self._timer is None:
            self._watch()

    def _acknowledged(self, run: int) -> None:
        left = self._owed.get(run, 0) - 1
        if left < 0:
            raise Tampered("an answer to nothing")
        if left:
            self._owed[run] = left
        else:
            del self._owed[run]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._owed:
            self._watch()

    def _longest_slice(self) -> float:
        return max([*(c.limits.cpu_seconds for c in self._runs.values()), *self._leaving.values()], default=0.0)

    def _watch(self) -> None:
        self._looked = 0
        loop = asyncio.get_running_loop()
        wait = self._longest_slice() * 1.5 + _GRACE_SECONDS
        if self.gives_way:
            self._timer = loop.call_later(wait, self._look)
        else:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look_early, loop.time() + wait, None)

    def _look_early(self, until: float, cpu_then: float | None) -> None:
        """Long before it can be stuck: makes one that computes on and on give way."""
        loop = asyncio.get_running_loop()
        _, cpu = _cpu_seconds(self.pid)
        if cpu_then is None:
            cpu_then = cpu
        if cpu - cpu_then >= SLOW_SECONDS and self._priority is not None:
            self.gives_way = True
            self._priority.lower()
            if self._slow is not None:
                self._slow(self._whose.get(next(iter(self._owed), 0)))
        left = until - loop.time()
        if self.gives_way or left <= _LOOK_SECONDS:
            self._timer = loop.call_later(max(0.0, left), self._look)
        else:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look_early, until, cpu_then)

    def _look(self) -> None:
        """It has owed an answer for long: kills it unless it can be seen computing within its time."""
        state, cpu = _cpu_seconds(self.pid)
        self._looked += 1
        if self._looked == 1:
            self._cpu_then = cpu
        if state in _COMPUTING and cpu - self._cpu_then < self._longest_slice() and self._looked < _AGAIN:
            self._timer = asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._look)
            return
        if state == "S" and self._looked == 1:  # it may have answered, and we have not read yet
            self._timer = asyncio.get_running_loop().call_later(_GRACE_SECONDS / 2, self._look)
            return
        _log.warning("sandbox_worker_unresponsive", pid=self.pid, state=state)
        self.kill("stopped answering")

    async def _exactly(self, length: int) -> bytes:
        if self._process is None or self._process.stdout is None:
            raise ConnectionError("no process")
        return await self._process.stdout.readexactly(length)

    async def _read(self) -> None:
        try:
            while True:
                length, kind, run = frames.HEADER.unpack(await self._exactly(frames.HEADER.size))
                self._bound(kind, run, length)
                self._take(kind, run, await self._exactly(length))
        except Tampered as error:
            _log.error("sandbox_worker_tampered", pid=self.pid, what=str(error))
            self.kill("sent what no honest worker sends")
        except (asyncio.IncompleteReadError, ConnectionError):
            if not self.dead:
                _log.warning("sandbox_worker_ended", pid=self.pid)
            self.kill("ended")

    def _bound(self, kind: bytes, run: int, length: int) -> None:
        """What may come, and how long it may be, before any of it is read."""
        conversation = self._runs.get(run)
        if kind in (frames.WAITING, frames.DROP):
            most = 0
        elif kind in (frames.CALL, frames.DONE):
            most = frames.LONGEST if conversation is None else conversation.owed_bytes
        else:
            raise Tampered("a frame of no known kind")
        if length > most or run not in self._owed:
            raise Tampered("a frame too long, or for a run that owes nothing")

    def _take(self, kind: bytes, run: int, payload: bytes) -> None:
        if run in self._leaving:
            if kind == frames.DROP:
                del self._leaving[run]
                self._acknowledged(run)
            return
        conversation = self._runs.get(run)
        if conversation is None or kind == frames.DROP:
            raise Tampered("a frame for no run")
        if kind == frames.CALL:
            conversation.called(payload)
        elif kind == frames.WAITING:
            if not conversation.waits and self._owed[run] < 2:  # two: another answer is under way to it
                raise Tampered("a run that waits for nothing")
            self._acknowledged(run)
        else:
            conversation.done(payload)
            self._owed[run] = 1  # the answers sent meanwhile go nowhere, and nothing is owed for them
            self._acknowledged(run)


def _told(image: ImageRef) -> dict[str, Any]:
    numbers = {"memory_bytes": image.memory_bytes, "max_bytes": image.max_bytes}
    return {"path": str(image.path), "code": str(image.code), **numbers, "run": image.run, "deliver": image.deliver}


def _cpu_seconds(pid: int) -> tuple[str, float]:
    """(state, CPU seconds used) of a process, by proc(5); ("?", 0) where there is no such file."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "?", 0.0
    fields = told.rpartition(")")[2].split()
    return fields[0], (int(fields[11]) + int(fields[12])) / _TICKS

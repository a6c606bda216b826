"""One run, seen from the asyncio side: answers its host calls, keeps its limits of time, and tells how it ended.

Whatever a worker says is checked here against what an honest worker could say; anything else raises Tampered, and the
worker is killed.
"""

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

from broker.tools.codemode.sandbox import frames
from broker.tools.codemode.sandbox.errors import HostError, Tampered
from broker.tools.codemode.sandbox.limits import ERROR_BYTES, LOG_LINES, PENDING_BYTES, SLEEPS, RunLimits
from broker.tools.codemode.sandbox.program import Host, LogLine, Outcome
from broker.tools.codemode.sandbox.results import KINDS, LEVELS

_SLEEP: Final = "sleep"
_LONGEST_MS: Final = 1e7


class Line(Protocol):
    """The way back to the worker."""

    async def answer(self, run: int, payload: bytes) -> None:
        """Sends a host call's answer; waits while the worker has not taken what was sent before."""


class Conversation:
    """The parent's half of one run."""

    def __init__(self, host: Host, limits: RunLimits) -> None:
        self.limits = limits
        self.settled = False
        """Whether the worker has told the run's end, so that it holds nothing of it any more."""
        self._host = host
        self._line: Line | None = None
        self._run = 0
        self._ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._turns = asyncio.Semaphore(limits.host_calls_at_once)
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: set[asyncio.Task[None]] = set()
        self._open: dict[int, int] = {}
        self._calls = 0
        self._sleeps = 0
        self._fault: Exception | None = None

    @property
    def over(self) -> bool:
        """Whether the run has ended, however it did."""
        return self._ended.done()

    @property
    def owed_bytes(self) -> int:
        """The longest frame an honest worker sends for this run."""
        limits = self.limits
        told = 6 * (limits.log_bytes + ERROR_BYTES) + 48 * LOG_LINES + 4096
        done = limits.result_bytes + told + frames.DONE_OVERHEAD
        return max(done, limits.message_bytes + frames.CALL_OVERHEAD + 64)

    def begun(self, line: Line, run: int) -> None:
        """The order is on its way to the worker."""
        self._line, self._run = line, run

    async def finish(self, seconds: float) -> Outcome:
        """Waits for the end, `seconds` at most: the outcome, when every host call has ended too.

        Calls that were being answered when the program ended may finish within that time, so that what they did is
        known; those still waiting for their turn never begin. Cancelled, it cancels all of them. Raises what the host
        function raised other than HostError.
        """
        wall = asyncio.timeout(seconds)
        try:
            async with wall:
                await asyncio.shield(self._ended)
                for task in self._tasks - self._started:
                    task.cancel()
                if self._started:
                    await asyncio.wait(self._started)
        except TimeoutError:
            if not wall.expired():
                raise
            self._end(self._timed_out(seconds))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if not self._ended.done():
                self._ended.cancel()
        if self._fault is not None:
            raise self._fault
        return self._ended.result()

    def called(self, payload: bytes) -> None:
        """The program asks for something. Raises Tampered."""
        call, name, argument = frames.unpack_call(payload)
        if self.over or call in self._open:
            raise Tampered("a host call that was asked already, or after the end")
        if name == _SLEEP:
            self._sleeps += 1
        else:
            self._calls += 1
        self._open[call] = len(argument)
        if self._calls > self.limits.host_calls or self._sleeps > SLEEPS or sum(self._open.values()) > PENDING_BYTES:
            raise Tampered("more host calls than an honest worker lets through")
        work = self._slept(call, argument) if name == _SLEEP else self._answered(call, name, argument)
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._started.discard)

    @property
    def waits(self) -> bool:
        """Whether an honest worker may say that this run waits."""
        return bool(self._open)

    def done(self, payload: bytes) -> None:
        """The run is over. Raises Tampered."""
        told = frames.Done.unpack(payload)
        if len(told.value) > self.limits.result_bytes or told.host_calls > self.limits.host_calls:
            raise Tampered("a result beyond its limits")
        self.settled = True
        ok = told.told["ok"]
        outcome = Outcome(
            ok=ok,
            value=told.value if ok else None,
            error=None if ok else _error(told.told.get("error")),
            logs=_logs(told.told.get("logs")),
            cpu_ms=min(told.cpu_ms, self.limits.cpu_seconds * 2000),
            host_calls=self._calls,
            log_dropped=_count(told.told.get("log_dropped")),
            undefined=told.told.get("undefined") is True,
        )
        self._end(outcome)

    def lost(self, why: str) -> None:
        """The worker is gone."""
        self._end(
            self._limit(
                "worker", "WorkerLost",
                f"the process that ran the program {why}; requests it had made stand, so look before making them again",
            )
        )  # fmt: skip

    def _end(self, outcome: Outcome) -> None:
        if not self._ended.done():
            self._ended.set_result(outcome)

    def _timed_out(self, seconds: float) -> Outcome:
        return self._limit(
            "wall_seconds",
            "WallLimit",
            f"the program took longer than {seconds:.3g} s: make fewer requests, or make them at once with Promise.all",
        )

    def _limit(self, limit: str, name: str, message: str) -> Outcome:
        error = {"kind": "limit", "limit": limit, "name": name, "message": message}
        return Outcome(ok=False, value=None, error=error, logs=(), cpu_ms=0.0, host_calls=self._calls)

    async def _answered(self, call: int, name: str, argument: bytes) -> None:
        async with self._turns:
            task = asyncio.current_task()
            if task is None or self.over:
                return
            self._started.add(task)
            try:
                ok, value = True, await self._host(name, argument)
            except HostError as error:
                ok, value = False, json.dumps(dict(error.payload)).encode()
            except Exception as error:  # noqa: BLE001 - raised again by `finish`: the program must not go on without its host
                self._fault = self._fault or error
                self._end(self._limit("host", "HostFault", "the request could not be handled"))
                return
            ok, value = self._fitting(value, ok=ok)
            await self._deliver(call, value, ok=ok)

    def _fitting(self, value: bytes, *, ok: bool) -> tuple[bool, bytes]:
        most = self.limits.reply_bytes
        if len(value) <= most:
            return ok, value
        told = {
            "message": f"the answer has {len(value):,} bytes; a program may receive at most {most:,}",
            "code": "reply_too_large",
            "hint": "ask for less: filter, or page with a smaller per_page",
        }
        return False, json.dumps(told).encode()

    async def _slept(self, call: int, argument: bytes) -> None:
        await asyncio.sleep(min(_milliseconds(argument) / 1000, self.limits.wall_seconds))
        await self._deliver(call, b"null", ok=True)

    async def _deliver(self, call: int, value: bytes, *, ok: bool) -> None:
        self._open.pop(call, None)
        if self._line is not None and not self.over:
            await self._line.answer(self._run, frames.pack_answer(call, ok=ok, value=value))


def _milliseconds(argument: bytes) -> float:
    """The time of a timer; what is not a number of milliseconds counts as none."""
    try:
        told = json.loads(argument[:256])
    except (ValueError, RecursionError):
        return 0.0
    wanted = told.get("ms") if isinstance(told, dict) else told
    if isinstance(wanted, bool) or not isinstance(wanted, int | float) or math.isnan(wanted):
        return 0.0
    return float(min(max(0, wanted), _LONGEST_MS))


def _error(told: object) -> Mapping[str, Any]:
    if not isinstance(told, dict) or told.get("kind") not in KINDS:
        raise Tampered("an error of the wrong shape")
    if not isinstance(told.get("message"), str) or not isinstance(told.get("name"), str):
        raise Tampered("an error without name and message")
    return told


def _logs(told: object) -> tuple[LogLine, ...]:
    if not isinstance(told, list) or len(told) > LOG_LINES:
        raise Tampered("a log of the wrong shape")
    lines = []
    for entry in told:
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] not in LEVELS or not isinstance(entry[1], str):
            raise Tampered("a log entry of the wrong shape")
        lines.append(LogLine(entry[0], entry[1]))
    return tuple(lines)


def _count(told: object) -> int:
    if type(told) is not int or not 0 <= told < 1 << 32:
        raise Tampered("a count that is none")
    return told

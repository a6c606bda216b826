"""One run inside a worker: the guest's messages turned into frames, and its end, whatever it is, into one result."""

from typing import Any, Final

import wasmtime as wt

from broker.tools.codemode.sandbox import frames, results
from broker.tools.codemode.sandbox.engine import Guest, GuestFault
from broker.tools.codemode.sandbox.errors import LimitReached
from broker.tools.codemode.sandbox.limits import ERROR_BYTES
from broker.tools.codemode.sandbox.watchdog import Watchdog

_CALL, _RESULT, _LOG = b"c"[0], b"r"[0], b"l"[0]
_SLEEP: Final = b"sleep"
_MESSAGE_SLACK: Final = 64
_LOG_MESSAGE: Final = 64 * 1024
_SEED: Final = 2**53


class Execution:
    """A guest with a program in it. `slice_*` run it until it waits or ends, and answer the frames to send."""

    def __init__(
        self, run: int, guest: Guest, order: frames.RunOrder, watchdog: Watchdog, *, spent: float = 0.0
    ) -> None:
        self.run = run
        self.ended = False
        self._guest = guest
        self._order = order
        self._watchdog = watchdog
        self._cpu_left = order.cpu_seconds - spent
        self._calls = 0
        self._sleeps = 0
        self._open: dict[int, int] = {}
        self._out: list[bytes] = []
        self._book = results.LogBook(order.log_bytes)
        self._result: results.Result | None = None
        guest.on_send = self._sent
        guest.admit = self._admit

    def begin(self, function: int, seed: int) -> list[bytes]:
        """The first slice: `run(code, context, seed, maxResultChars)`."""
        guest, order = self._guest, self._order

        def start() -> None:
            arguments = (
                guest.text(order.code),
                guest.text(order.context),
                guest.number(float(seed % _SEED)),
                guest.number(float(order.result_bytes)),
            )
            guest.call(function, *arguments)

        return self._slice(start)

    def answer(self, function: int, payload: bytes) -> list[bytes]:
        """A later slice: `deliver(id, ok, json)`."""
        call, ok, value = frames.unpack_answer(payload)
        self._open.pop(call, None)
        guest = self._guest

        def resume() -> None:
            guest.call(function, guest.text(b"%d" % call), guest.text(b"1" if ok else b"0"), guest.text(value))

        return self._slice(resume)

    @property
    def not_read(self) -> bool:
        """Whether it ended before it began: what it was given is no program, and nothing was asked of anybody."""
        result = self._result
        unread = result is not None and result.error is not None and result.error.get("kind") == "syntax"
        return self.ended and unread and self._calls == 0 and self._sleeps == 0

    def close(self) -> None:
        """Gives its memory back."""
        self.ended = True
        self._guest.close()

    def _slice(self, step: Any) -> list[bytes]:
        started = self._watchdog.now()
        failure: LimitReached | None = None
        self._guest.store.set_epoch_deadline(1)
        self._watchdog.arm(started + self._cpu_left)
        try:
            step()
            self._guest.jobs()
        except wt.Trap as trap:
            failure = self._trapped(trap)
        except LimitReached as limit:
            failure = limit
        except (GuestFault, wt.WasmtimeError):
            failure = LimitReached(
                "integrity",
                "the program ran out of memory or broke the engine: use less memory, and leave built-ins alone",
            )
        finally:
            self._watchdog.disarm()
        self._cpu_left -= self._watchdog.now() - started
        return self._settle(failure)

    def _settle(self, failure: LimitReached | None) -> list[bytes]:
        """The frames of a slice: its calls, then whether the run waits or is done."""
        out, self._out = self._out, []
        if self._result is None and failure is None:
            if self._open:
                return [*out, frames.frame(frames.WAITING, self.run)]
            failure = LimitReached(
                "deadlock", "the program ended without a result: it awaits a promise that nothing can settle any more"
            )
        done = self._done(self._result) if self._result is not None else self._failed(failure)
        self.close()
        return [*(out if self._result is not None else ()), frames.frame(frames.DONE, self.run, done.pack())]

    def _done(self, result: results.Result) -> frames.Done:
        told = {
            "ok": result.ok,
            "error": result.error,
            "logs": result.logs,
            "log_dropped": result.log_dropped,
            "undefined": result.undefined,
        }
        return frames.Done(self._cpu_ms(), self._calls, told, result.value)

    def _failed(self, failure: LimitReached | None) -> frames.Done:
        limit = "integrity" if failure is None else failure.limit
        error = {"kind": "limit", "limit": limit, "name": NAMES.get(limit, "LimitError"), "message": str(failure)}
        told = {"ok": False, "error": error, "logs": self._book.lines, "log_dropped": self._book.dropped}
        return frames.Done(self._cpu_ms(), self._calls, told, b"")

    def _cpu_ms(self) -> float:
        return max(0.0, (self._order.cpu_seconds - self._cpu_left) * 1000)

    def _trapped(self, trap: wt.Trap) -> LimitReached:
        match trap.trap_code:
            case wt.TrapCode.INTERRUPT:
                return LimitReached(
                    "cpu_seconds",
                    f"the program used up its {self._order.cpu_seconds:g} s of computing time: do less work, "
                    "avoid unbounded loops and backtracking patterns",
                )
            case wt.TrapCode.STACK_OVERFLOW:
                return LimitReached("stack", "the program recursed too deeply: use a loop, or nest less")
            case wt.TrapCode.UNREACHABLE:
                return LimitReached("heap_bytes", results.OUT_OF_MEMORY)
            case _:
                return LimitReached("integrity", "the engine stopped the program")

    def _admit(self, first: int, length: int) -> None:
        order = self._order
        if first == _CALL and length > order.message_bytes + _MESSAGE_SLACK:
            raise LimitReached(
                "message_bytes",
                f"a request of {length:,} bytes; at most {order.message_bytes:,} are allowed: send less at a time",
            )
        if first == _RESULT and length > order.result_bytes + 6 * order.log_bytes + 2 * ERROR_BYTES:
            raise LimitReached("result_bytes", results.too_large(length, order.result_bytes))
        if first not in (_CALL, _RESULT) and length > _LOG_MESSAGE:
            raise LimitReached("log_bytes", "a log entry too long to pass on")

    def _sent(self, _name: str, text: bytes) -> None:
        if self._result is not None or not text:
            return
        if text[0] == _CALL:
            self._called(text[1:])
        elif text[0] == _RESULT:
            self._result = results.read_result(text[1:], book=self._book, result_bytes=self._order.result_bytes)
        elif text[0] == _LOG:
            self._book.add(results.read_log(text[1:]))

    def _called(self, text: bytes) -> None:
        message = frames.split_message(text)
        if message is None or message[0] in self._open:
            raise LimitReached(
                "integrity", "the program broke the means by which it makes requests: do not replace built-in objects"
            )
        call, name, argument = message
        order = self._order
        if name == _SLEEP:
            self._sleeps += 1
            if self._sleeps > order.sleeps:
                raise LimitReached("sleeps", f"more than {order.sleeps:,} timers: wait less often, or for longer")
        else:
            self._calls += 1
            if self._calls > order.host_calls:
                self._calls = order.host_calls
                raise LimitReached(
                    "host_calls",
                    f"more than {order.host_calls:,} requests in one program: narrow the work, or split it in several",
                )
        self._open[call] = len(argument)
        if sum(self._open.values()) > order.pending_bytes:
            raise LimitReached(
                "pending_bytes",
                f"requests waiting at once hold more than {order.pending_bytes:,} bytes: await some of them first",
            )
        self._out.append(frames.frame(frames.CALL, self.run, frames.pack_call(call, name, argument)))


NAMES: Final = {
    "cpu_seconds": "CpuLimit",
    "heap_bytes": "HeapLimit",
    "stack": "StackLimit",
    "host_calls": "CallLimit",
    "message_bytes": "MessageLimit",
    "pending_bytes": "MessageLimit",
    "result_bytes": "ResultLimit",
    "sleeps": "TimerLimit",
    "deadlock": "Deadlock",
    "wall_seconds": "WallLimit",
    "worker": "WorkerLost",
}
"""How each limit is called in `error.name`."""

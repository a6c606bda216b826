"""A worker process: many parked runs, one of them executing at a time.

`python -I -m broker.tools.codemode.sandbox.worker`, with the pool at both ends of its pipes. It loads the images it is
told to, gives up every right it has, says so, and from then on only answers frames. When its input closes it ends.
"""

import gc
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import wasmtime as wt

from broker.tools.codemode.sandbox import frames, machine_code
from broker.tools.codemode.sandbox.engine import RESERVATION, Guest, Image, Imports, make_engine
from broker.tools.codemode.sandbox.execution import Execution
from broker.tools.codemode.sandbox.hardening import harden
from broker.tools.codemode.sandbox.limits import MIB
from broker.tools.codemode.sandbox.typescript import Typescript
from broker.tools.codemode.sandbox.watchdog import Watchdog

_ADDRESS_BYTES: Final = 3 << 30
_DATA_BYTES: Final = 256 * MIB
_WARM: Final = frames.RunOrder(0, 1.0, 16 * MIB, 0, 1024, 65536, 1024, 1024, 0, b"async () => 1", b"{}")
_WARM_TYPES: Final = b"async (): Promise<number> => 1"


class _Image:
    def __init__(self, module: wt.Module, told: dict[str, Any]) -> None:
        self.module = module
        file = os.open(told["path"], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if os.fstat(file).st_size != told["memory_bytes"]:
            raise ValueError("an image that was cut")
        self.memory = Image(file, int(told["memory_bytes"]))
        self.memory_bytes, self.max_bytes = int(told["memory_bytes"]), int(told["max_bytes"])
        self.run, self.deliver = int(told["run"]), int(told["deliver"])


class Worker:
    """The images, the parked runs, and the loop over frames."""

    def __init__(self, images: list[dict[str, Any]]) -> None:
        self._engine = make_engine()
        self._imports = Imports(self._engine)
        self._watchdog = Watchdog(self._engine)
        self._watchdog.start()
        codes = {told["code"]: machine_code.load(self._engine, Path(told["code"])) for told in images}
        self._images = [_Image(codes[told["code"]].guest, told) for told in images]
        self._typescript = [Typescript(self._engine, self._imports, code.typescript) for code in codes.values()][:1]
        self._runs: dict[int, tuple[Execution, _Image]] = {}
        for number in range(len(images)):
            execution, image = self._make(0, number, _WARM)
            execution.begin(image.run, 1)
            execution.close()
        if images:  # wasmtime makes what instances begin with at the first one, and may not do so later
            self._stripped(_WARM_TYPES, self._watchdog.now() + 1.0)

    def _make(self, run: int, number: int, order: frames.RunOrder, *, spent: float = 0.0) -> tuple[Execution, _Image]:
        image = self._images[number]
        most = min(image.memory_bytes + order.heap_bytes, image.max_bytes)
        guest = Guest(self._engine, self._imports, image.module, memory_bytes=most, image=image.memory)
        return Execution(run, guest, order, self._watchdog, spent=spent), image

    def serve(self, stream: BinaryIO) -> None:
        """Answers frames until there are no more."""
        while len(header := stream.read(frames.HEADER.size)) == frames.HEADER.size:
            length, kind, run = frames.HEADER.unpack(header)
            payload = stream.read(length)
            if len(payload) < length:
                return
            _write(b"".join(self._answer(kind, run, payload)))

    def _answer(self, kind: bytes, run: int, payload: bytes) -> list[bytes]:
        if kind == frames.DROP:
            execution, _ = self._runs.pop(run, (None, None))
            if execution is not None:
                execution.close()
            return [frames.frame(frames.DROP, run)]
        if kind == frames.RUN:
            order = frames.RunOrder.unpack(payload)
            execution, out = self._begin(run, order)
        elif kind == frames.ANSWER and run in self._runs:
            execution, image = self._runs[run]
            out = execution.answer(image.deliver, payload)
        else:
            return []
        if execution.ended:
            self._runs.pop(run, None)
        return out

    def _begin(self, run: int, order: frames.RunOrder) -> tuple[Execution, list[bytes]]:
        """Starts a program; one that is no JavaScript is started anew without its types, if it is TypeScript."""
        started = self._watchdog.now()
        execution, image = self._runs[run] = self._make(run, order.image, order)
        out = execution.begin(image.run, int.from_bytes(os.urandom(8)))
        if execution.not_read:
            code = self._stripped(order.code, started + order.cpu_seconds)
            spent = self._watchdog.now() - started
            if code is not None and spent < order.cpu_seconds:
                plain = replace(order, code=code)
                execution, image = self._runs[run] = self._make(run, order.image, plain, spent=spent)
                out = execution.begin(image.run, int.from_bytes(os.urandom(8)))
        return execution, out

    def _stripped(self, code: bytes, until: float) -> bytes | None:
        def arm(guest: Guest) -> None:
            guest.store.set_epoch_deadline(1)
            self._watchdog.arm(until)

        try:
            return self._typescript[0].strip(code, arm)
        except wt.Trap:
            return None
        finally:
            self._watchdog.disarm()


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def main() -> None:
    """Starts, hardens, serves."""
    stream = sys.stdin.buffer
    length, _, _ = frames.HEADER.unpack(stream.read(frames.HEADER.size))
    order = json.loads(stream.read(length))
    try:
        worker = Worker(order["images"])
        gc.collect()
        gc.freeze()
        runs = int(order["runs"]) + 1
        room = max((image["max_bytes"] for image in order["images"]), default=0)
        done = harden(address_bytes=_ADDRESS_BYTES + runs * RESERVATION, data_bytes=_DATA_BYTES + runs * room)
    except Exception as error:  # noqa: BLE001 - the pool is told, in a sentence, why this worker does not start
        _write(
            frames.frame(frames.HELLO, 0, json.dumps({"failed": f"{type(error).__name__}: {error}"[:1000]}).encode())
        )
        raise SystemExit(1) from None
    _write(frames.frame(frames.HELLO, 0, json.dumps({"done": done}).encode()))
    worker.serve(stream)


if __name__ == "__main__":
    main()

"""The builder's own process: evaluates the prelude in a guest, loads what is to be there from the start, and writes the
guest's memory down.

`python -I -m broker.tools.codemode.sandbox.build`: reads an order on its standard input (see `building`), writes the
image to the path named there, and prints one JSON line: the image's handles and sizes, or `{"failed": …}`. Where the
order's compiled code is missing or damaged it is made anew, written to the path named for that, and `compiled` is 1.
"""

import importlib
import json
import os
import queue
import resource
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final

import wasmtime as wt

from broker.tools.codemode.sandbox import machine_code
from broker.tools.codemode.sandbox.engine import MEMORY_BYTES, Guest, Imports, make_engine
from broker.tools.codemode.sandbox.limits import MIB
from broker.tools.codemode.sandbox.wasm import PAGE

GROWTH_BYTES: Final = 100 * MIB
"""How far an image's memory may ever grow; a run's own limit lies below."""
IMAGE_BYTES: Final = 60 * MIB
CPU_SECONDS: Final = 60
_NICE: Final = 5
"""Calls go first."""
ADDRESS_BYTES: Final = 10 << 30
"""An instance sets 4 GiB of it aside."""
DATA_BYTES: Final = 2 << 30
FILE_BYTES: Final = 256 * MIB
_AHEAD: Final = 64
"""Chunks."""
_SWITCH_SECONDS: Final = 0.0005
"""Of the interpreter between threads: the one that runs the guest wants it often, and for an instant only."""
PREPARERS: Final = "broker.tools.codemode."
"""Only functions of this package may turn what was read into chunks."""


class _Cannot(Exception):
    """A sentence for an operator."""


def main() -> None:
    """Builds one image."""
    try:
        told = _obey(*_read_order(sys.stdin.buffer))
    except Exception as error:  # noqa: BLE001 - the one place that turns a failed build into its answer
        print(json.dumps({"failed": f"{type(error).__name__}: {error}"[:2000]}), flush=True)
        raise SystemExit(1) from None
    print(json.dumps(told), flush=True)


def _obey(order: dict[str, Any], parts: list[bytes]) -> dict[str, float]:
    os.nice(_NICE)
    out = _new_file(order["out"])
    with os.fdopen(out, "wb") as file:
        preparing = _preparer(order.get("prepare"))
        _restrict()
        started = time.perf_counter()
        sys.setswitchinterval(_SWITCH_SECONDS)
        engine = make_engine()
        with ThreadPoolExecutor(max_workers=1) as pool:
            # Neither compiling nor running the guest needs the interpreter: they run beside the preparing.
            ready = pool.submit(_module, engine, order)
            chunks = iter(parts) if preparing is None else _ahead(preparing, parts)
            module, compiled = ready.result()
            source = "".join(text for _, text in order["sources"])
            told = _build(engine, module, source, chunks if order["load"] else None, file)
        file.flush()
        os.fsync(file.fileno())
    return told | {"compiled": compiled, "seconds": round(time.perf_counter() - started, 3)}


def _new_file(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def _module(engine: wt.Engine, order: dict[str, Any]) -> tuple[wt.Module, int]:
    """The guest's module, and whether its code is new."""
    try:
        return machine_code.load(engine, Path(order["code"])).guest, 0
    except machine_code.Damaged:
        modules = machine_code.compiled(engine)
    with os.fdopen(_new_file(order["code_out"]), "wb") as file:
        file.write(machine_code.packed(modules))
        file.flush()
        os.fsync(file.fileno())
    return modules.guest, 1


def _ahead(preparing: Callable[[list[bytes]], Iterable[bytes]], parts: list[bytes]) -> Iterator[bytes]:
    """What `preparing` makes of the parts, a few chunks ahead of whoever takes them. The parts are let go of."""
    made: queue.Queue[bytes | Exception | None] = queue.Queue(maxsize=_AHEAD)

    def make() -> None:
        taken = list(parts)
        parts.clear()
        try:
            for chunk in preparing(taken):
                made.put(chunk)
            made.put(None)
        except Exception as error:  # noqa: BLE001 - raised where the chunks are taken
            made.put(error)

    threading.Thread(target=make, daemon=True).start()  # ends with the process, whatever it waits for
    return _taken(made)


def _taken(made: "queue.Queue[bytes | Exception | None]") -> Iterator[bytes]:
    while (chunk := made.get()) is not None:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


def _read_order(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
    order: dict[str, Any] = json.loads(_part(stream))
    return order, [_part(stream) for _ in range(order["parts"])]


def _part(stream: BinaryIO) -> bytes:
    (length,) = struct.unpack(">I", stream.read(4))
    data = stream.read(length)
    if len(data) != length:
        raise _Cannot("the order ended early")
    return data


def _preparer(name: str | None) -> Any:
    if name is None:
        return None
    if not name.startswith(PREPARERS):
        raise _Cannot("that function may not prepare an image")
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _restrict() -> None:
    """What is loaded may be a stranger's description: bounded before it is looked at."""
    for kind, value in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, ADDRESS_BYTES),
        (resource.RLIMIT_DATA, DATA_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def _build(
    engine: wt.Engine, module: wt.Module, source: str, chunks: Iterable[bytes] | None, file: BinaryIO
) -> dict[str, int]:
    guest = Guest(engine, Imports(engine), module, memory_bytes=MEMORY_BYTES)
    stack_pointer = guest.stack_pointer()
    run, deliver = _load_prelude(guest, source)
    if chunks is not None:
        _load_chunks(guest, iter(chunks))
    _evaluate(guest, b"delete globalThis.__load; delete globalThis.__next; 0")
    guest.export("run_gc")
    size = guest.memory_bytes()
    if size > IMAGE_BYTES:
        raise _Cannot(f"the image takes {size:,} bytes of memory; at most {IMAGE_BYTES:,} are allowed")
    if guest.stack_pointer() != stack_pointer:
        raise _Cannot("the guest's stack is not empty between calls")
    guest.write_to(file)
    guest.close()
    most = (size + GROWTH_BYTES) // PAGE * PAGE
    return {"run": run, "deliver": deliver, "memory_bytes": size, "max_bytes": most}


def _load_prelude(guest: Guest, source: str) -> tuple[int, int]:
    make = _evaluate(guest, source.encode())
    name = guest.put(b"send")
    send = guest.export("new_function", name, 4)
    this = guest.export("new_undefined")
    arguments = guest.put(struct.pack("<i", send))
    pair = guest.answer_of("call_function", make, this, arguments, 1)
    handles = guest.answer_of("get_index", pair, 0), guest.answer_of("get_index", pair, 1)
    for handle in (make, this, pair):
        guest.export("free_value", handle)
    return handles


def _load_chunks(guest: Guest, chunks: Iterator[bytes]) -> None:
    def next_chunk(_name: str, _text: bytes) -> bytes:
        return next(chunks, b"")

    guest.on_send = next_chunk
    name = guest.put(b"next")
    function = guest.export("new_function", name, 4)
    key = guest.put(b"__next")
    guest.export("set_prop", guest.export("global_object"), key, 6, function)
    _evaluate(guest, b"globalThis.__load(globalThis.__next); 0")
    guest.jobs()


def _evaluate(guest: Guest, code: bytes) -> int:
    where = guest.put(code)
    out = guest.put(bytes(4))
    status = guest.export("eval_code", where, len(code), out)
    value = int(struct.unpack("<i", guest.read(out, 4))[0])
    if status:
        raise _Cannot(f"the prelude failed: {_exception(guest)}")
    guest.export("qjs_free", where, max(1, len(code)))
    return value


def _exception(guest: Guest) -> str:
    """What the guest threw. Only ever asked of our own code."""
    thrown = guest.answer_of("last_exception")
    found = []
    for name in (b"name", b"message", b"stack"):
        key = guest.put(name)
        text = guest.text_of(guest.answer_of("get_prop", thrown, key, len(name)))
        found.append((text or b"").decode("utf-8", "replace"))
    return " ".join(found)


if __name__ == "__main__":
    main()

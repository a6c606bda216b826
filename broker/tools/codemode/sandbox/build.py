"""The builder's own process: evaluates the prelude in a guest, loads what is to be baked in, and writes the compiled
image.

`python -I -m broker.tools.codemode.sandbox.build`: reads an order on its standard input (see `building`), writes the
image to the path named there, and prints one JSON line: the image's handles and sizes, or `{"failed": …}`.
"""

import gc
import importlib
import json
import os
import resource
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Final

import wasmtime as wt

from broker.tools.codemode.sandbox.bake import PAGE, bake
from broker.tools.codemode.sandbox.binary import guest_binary
from broker.tools.codemode.sandbox.engine import EXPORTS, Guest, Imports, make_engine
from broker.tools.codemode.sandbox.limits import MIB

GROWTH_BYTES: Final = 100 * MIB
"""How far an image's memory may ever grow; a run's own limit lies below."""
LOAD_BYTES: Final = 200 * MIB
"""How much memory loading may take. What remains after it must leave room for a run in the reservation."""
IMAGE_BYTES: Final = 60 * MIB
CPU_SECONDS: Final = 60
_NICE: Final = 5
"""Calls go first."""
ADDRESS_BYTES: Final = 4 << 30
FILE_BYTES: Final = 256 * MIB
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
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(out, "wb") as file:
        preparing = _preparer(order.get("prepare"))
        _restrict()
        started = time.perf_counter()
        engine, binary = make_engine(), guest_binary()
        with ThreadPoolExecutor(max_workers=1) as pool:
            # Compiling needs no interpreter: it runs beside the preparing.
            compiling = pool.submit(wt.Module, engine, binary)
            chunks = parts if preparing is None else list(preparing(parts))
            module = compiling.result()
        source = "".join(text for _, text in order["sources"])
        image, told = _build(engine, module, binary, source, chunks if order["load"] else None)
        file.write(image)
        file.flush()
        os.fsync(file.fileno())
    return told | {"seconds": round(time.perf_counter() - started, 3)}


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
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def _build(
    engine: wt.Engine, module: wt.Module, binary: bytes, source: str, chunks: Iterable[bytes] | None
) -> tuple[bytes, dict[str, int]]:
    guest = Guest(engine, Imports(engine), module, memory_bytes=LOAD_BYTES)
    run, deliver = _load_prelude(guest, source)
    if chunks is not None:
        _load_chunks(guest, iter(chunks))
    _evaluate(guest, b"delete globalThis.__load; delete globalThis.__next; 0")
    guest.export("run_gc")
    size = guest.memory_bytes()
    if size > IMAGE_BYTES:
        raise _Cannot(f"the image takes {size:,} bytes of memory; at most {IMAGE_BYTES:,} are allowed")
    memory, stack_pointer = guest.read(0, size), guest.stack_pointer()
    guest.close()
    most = (size + GROWTH_BYTES) // PAGE * PAGE
    baked = bake(binary, memory, stack_pointer=stack_pointer, max_bytes=most, exports=EXPORTS)
    del memory
    gc.collect()
    compiled = bytes(wt.Module(engine, baked).serialize())
    return compiled, {"run": run, "deliver": deliver, "memory_bytes": size, "max_bytes": most}


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

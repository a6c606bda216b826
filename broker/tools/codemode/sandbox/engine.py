"""The WebAssembly engine and the guest in it: QuickJS-ng, called through the exports of quickjs-rs 0.2.6's binary.

No WASI is linked: each import the binary asks for is defined here, and all of them together can tell the time in
milliseconds, give random bytes, and call `on_send`. One thread only: wasmtime-py's table of host functions is not made
for more.
"""

import ctypes
import mmap
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import wasmtime as wt

from broker.tools.codemode.sandbox.calling import Calls
from broker.tools.codemode.sandbox.errors import LimitReached
from broker.tools.codemode.sandbox.limits import MIB
from broker.tools.codemode.sandbox.wasm import PAGE

EXPORTS: Final = frozenset(
    {
        *("memory", "__stack_pointer", "qjs_alloc", "qjs_free", "new_string", "new_number", "new_undefined"),
        *("call_function", "free_value", "get_string", "qjs_last_len", "qjs_last_ptr", "qjs_result_free"),
        *("execute_pending_jobs", "eval_code", "new_function", "get_index", "get_prop", "set_prop", "global_object"),
        *("last_exception", "run_gc"),
    }
)
"""What the module keeps: wasmtime-py wraps every export at each instantiation, and the binary has some fifty."""

EPOCH_NEVER: Final = 10**9
MEMORY_BYTES: Final = 200 * MIB
"""The most that any instance's memory may grow to; a run's own limit lies below."""
RESERVATION: Final = 4096 * MIB
"""Address space set aside per instance: all that 32 bits can point to, so that no access has to be compared with a
bound first, which costs a tenth of the time. It is not memory: RLIMIT_DATA counts what may be written to.
"""
_GUARD: Final = 32 * MIB
"""Behind it; covers the offsets in instructions."""
STACK_BYTES: Final = 2 * MIB
"""Native stack of the guest, the most that wasmtime allows. Recursion ends at it with a trap: this QuickJS has no
check of its own.
"""
CONFIGURATION: Final = "epochs,reservation=4G,guard=32M,1"
"""Names what `make_engine` sets at compile time: part of the key of compiled code."""

_OK, _THROWN = 0, 1
_BAD_DESCRIPTOR: Final = 8
_MILLISECOND: Final = 1_000_000


class GuestFault(Exception):
    """The guest's interface answered what it should not: the instance is of no more use."""


class Thrown(GuestFault):
    """A call into the guest ended in a JavaScript exception that the prelude did not catch."""


def make_engine() -> wt.Engine:
    """The one configuration that builder and workers share; compiled code loads in no other."""
    config = wt.Config()
    config.epoch_interruption = True
    config.memory_reservation = RESERVATION
    config.memory_guard_size = _GUARD
    config.memory_reservation_for_growth = 0
    config.max_wasm_stack = STACK_BYTES
    return wt.Engine(config)


class Imports:
    """The imports, defined once per process. `current` is the guest whose code is running."""

    def __init__(self, engine: wt.Engine) -> None:
        self.current: Guest | None = None
        self.linker = wt.Linker(engine)
        i32, i64 = wt.ValType.i32(), wt.ValType.i64()

        def define(
            module: str, name: str, takes: list[wt.ValType], gives: list[wt.ValType], does: Callable[..., Any]
        ) -> None:
            self.linker.define_func(module, name, wt.FuncType(takes, gives), does)

        define("env", "host_call", [i32] * 5, [i32], self._host_call)
        define("env", "host_interrupt", [], [i32], lambda: 0)
        define("env", "host_module_normalize", [i32] * 5, [i32], lambda *_: 0)
        define("env", "host_module_load", [i32] * 3, [i32], lambda *_: 0)
        wasi = "wasi_snapshot_preview1"
        define(wasi, "clock_time_get", [i32, i64, i32], [i32], self._clock)
        define(wasi, "random_get", [i32] * 2, [i32], self._random)
        define(wasi, "environ_get", [i32] * 2, [i32], lambda *_: 0)
        define(wasi, "environ_sizes_get", [i32] * 2, [i32], self._no_environment)
        for name, takes in (
            ("fd_close", [i32]),
            ("fd_fdstat_get", [i32] * 2),
            ("fd_seek", [i32, i64, i32, i32]),
            ("fd_write", [i32] * 4),
        ):
            define(wasi, name, takes, [i32], lambda *_: _BAD_DESCRIPTOR)
        define(wasi, "proc_exit", [i32], [], self._exit)

    def _running(self) -> "Guest":
        if self.current is None:
            raise GuestFault("an import was called while no guest runs")
        return self.current

    def _host_call(self, name: int, name_length: int, _this: int, argc: int, argv: int) -> int:
        return self._running().called(name, name_length, argc, argv)

    def _clock(self, kind: int, _precision: int, where: int) -> int:
        clock = time.CLOCK_REALTIME if kind == 0 else time.CLOCK_MONOTONIC
        self._running().write(where, struct.pack("<Q", time.clock_gettime_ns(clock) // _MILLISECOND * _MILLISECOND))
        return 0

    def _random(self, where: int, length: int) -> int:
        self._running().write(where, os.urandom(length & 0xFFFF))
        return 0

    def _no_environment(self, count: int, size: int) -> int:
        guest = self._running()
        guest.write(count, bytes(4))
        guest.write(size, bytes(4))
        return 0

    def _exit(self, _code: int) -> None:
        raise GuestFault("the guest ended itself")


@dataclass(frozen=True, slots=True)
class Image:
    """A memory to begin with: an open file, and how many bytes of it, whole pages."""

    file: int
    size: int

    def map_at(self, base: int) -> None:
        """Puts it, copy-on-write, where an instance's memory is. Raises OSError."""
        shared = mmap.MAP_PRIVATE | _MAP_FIXED
        if _mmap(base, self.size, mmap.PROT_READ | mmap.PROT_WRITE, shared, self.file, 0) != base:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


_MAP_FIXED: Final = 0x10
_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_longlong,
)  # fmt: skip


class Guest:
    """One instance: a fresh heap, or a copy of the one in `image`. `on_send` receives each text that the guest hands
    out, with the name of the function it called, and may answer with a text.

    `admit` is shown a text's first byte and its length in bytes before it is copied, and raises where it is too long.
    Raises GuestFault, LimitReached, and wasmtime's own Trap.
    """

    def __init__(
        self, engine: wt.Engine, imports: Imports, module: wt.Module, *, memory_bytes: int, image: Image | None = None
    ) -> None:
        self._imports = imports
        self.store = wt.Store(engine)
        self.store.set_limits(memory_size=memory_bytes, instances=1, memories=1, tables=1)
        self.store.set_epoch_deadline(EPOCH_NEVER)
        self._exports = imports.linker.instantiate(self.store, module).exports(self.store)
        self._calls = Calls(self.store, self._exports)
        memory = self._exports["memory"]
        if not isinstance(memory, wt.Memory):
            raise GuestFault("no memory")
        self.memory = memory
        if image is not None:
            self._begin_with(image)
        self.on_send: Callable[[str, bytes], bytes | None] = lambda _name, _text: None
        self.admit: Callable[[int, int], None] = lambda _first, _length: None

    def _begin_with(self, image: Image) -> None:
        more = image.size - self.memory_bytes()
        if more < 0 or image.size % PAGE:
            raise GuestFault("an image that is none of this module")
        self.memory.grow(self.store, more // PAGE)
        image.map_at(self._base())

    def close(self) -> None:
        """Gives the memory back, and lets go of whoever listened."""
        self.on_send = lambda _name, _text: None
        self.admit = lambda _first, _length: None
        self.store.close()

    def export(self, name: str, *arguments: int) -> int:
        """Calls an export."""
        before, self._imports.current = self._imports.current, self
        try:
            return self._calls(name, *arguments)
        finally:
            self._imports.current = before

    def stack_pointer(self) -> int:
        """Where the guest's own stack stands; only meaningful between calls."""
        pointer = self._exports["__stack_pointer"]
        if not isinstance(pointer, wt.Global):
            raise GuestFault("no stack pointer")
        return int(pointer.value(self.store))

    def memory_bytes(self) -> int:
        """How large its linear memory is now."""
        return self.memory.data_len(self.store)

    def read(self, where: int, length: int) -> bytes:
        """Bytes of its memory. Raises GuestFault outside it."""
        where &= 0xFFFFFFFF
        if length < 0 or where + length > self.memory_bytes():
            raise GuestFault("a pointer outside the memory")
        return ctypes.string_at(self._base() + where, length)

    def write_to(self, file: BinaryIO) -> None:
        """Writes all of its memory to a file."""
        file.write((ctypes.c_char * self.memory_bytes()).from_address(self._base()))

    def write(self, where: int, data: bytes) -> None:
        """Writes into its memory. Raises GuestFault outside it."""
        where &= 0xFFFFFFFF
        if where + len(data) > self.memory_bytes():
            raise GuestFault("a pointer outside the memory")
        ctypes.memmove(self._base() + where, data, len(data))

    def _base(self) -> int:
        """Where its memory lies; growing may move it, so it is asked each time."""
        return ctypes.addressof(self.memory.data_ptr(self.store).contents)

    def put(self, data: bytes) -> int:
        """Copies bytes into memory the guest allocates. Raises LimitReached where it cannot."""
        where = self.export("qjs_alloc", max(1, len(data)))
        if not where:
            raise LimitReached("heap_bytes", "out of memory")
        self.write(where, data)
        return where

    def text(self, data: bytes) -> int:
        """A handle of a JavaScript string; `data` is UTF-8."""
        where = self.put(data)
        handle = self.export("new_string", where, len(data))
        self.export("qjs_free", where, max(1, len(data)))
        if not handle:
            raise LimitReached("heap_bytes", "out of memory")
        return handle

    def number(self, value: float) -> int:
        """A handle of a JavaScript number."""
        return self.export("new_number", int(struct.unpack("<q", struct.pack("<d", value))[0]))

    def text_of(self, handle: int) -> bytes | None:
        """The UTF-8 of a JavaScript string, None for anything else. Raises what `admit` raises."""
        if self.export("get_string", handle):
            return None
        length = self.export("qjs_last_len") & 0xFFFFFFFF
        if not length:
            return b""
        where = self.export("qjs_last_ptr")
        self.admit(self.read(where, 1)[0], length)
        data = self.read(where, length)
        self.export("qjs_result_free")
        return data

    def answer_of(self, name: str, *arguments: int) -> int:
        """Calls an export that writes its answer to an address given last. Raises Thrown, GuestFault."""
        out = self.put(bytes(4))
        status = self.export(name, *arguments, out)
        value = int(struct.unpack("<i", self.read(out, 4))[0])
        self.export("qjs_free", out, 4)
        if status == _THROWN:
            raise Thrown(name)
        if status != _OK:
            raise GuestFault(f"{name} answered {status}")
        return value

    def call(self, function: int, *arguments: int) -> None:
        """Calls a JavaScript function and gives the arguments' handles back. Raises Thrown, GuestFault."""
        this = self.export("new_undefined")
        where = self.put(struct.pack(f"<{len(arguments)}i", *arguments))
        value = self.answer_of("call_function", function, this, where, len(arguments))
        self.export("qjs_free", where, max(1, 4 * len(arguments)))
        for handle in (*arguments, this, value):
            self.export("free_value", handle)

    def jobs(self) -> None:
        """Runs what promises have waiting, until nothing is."""
        while self.export("execute_pending_jobs") > 0:  # 100,000 of them at a time
            pass

    def called(self, name: int, name_length: int, argc: int, argv: int) -> int:
        """A function given to the guest was called: hands the first argument, a string, to `on_send`."""
        which = self.read(name, min(name_length & 0xFFFFFFFF, 32)).decode("ascii", "replace")
        text = None
        if argc > 0:
            text = self.text_of(struct.unpack("<i", self.read(argv, 4))[0])
        answer = self.on_send(which, b"" if text is None else text)
        return self.export("new_undefined") if answer is None else self.text(answer)

"""Calls into a guest without wasmtime-py's conversions, which look up a function's type and convert each value anew at
every call.

A run makes some thirty calls; this is a fifth of their cost. It uses wasmtime-py's private binding of the C interface
(`wasmtime_func_call`, wasmtime/func.h), which checks the types itself; dependencies are locked, and a test calls it.
"""

import ctypes
from typing import Any, Final

import wasmtime as wt
from wasmtime import _ffi as ffi
from wasmtime._func import maybe_raise_last_exn

_WIDE: Final = {"new_number": "i64"}
"""Everything else of the guest's interface is i32."""


class Calls:
    """The functions of one instance. Raises what wasmtime-py raises: Trap, WasmtimeError, and what a host function
    raised.
    """

    def __init__(self, store: wt.Store, exports: Any) -> None:
        self._context = store._context()
        self._functions = {
            name: ctypes.byref(item._func) for name, item in exports.items() if isinstance(item, wt.Func)
        }
        self._exports = exports

    def __call__(self, name: str, *arguments: int) -> int:
        """Calls the export; 0 where it answers nothing."""
        given = _arguments(_WIDE.get(name, "i32"), arguments)
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        answers = _ANSWERS[name in _SILENT]
        error = ffi.wasmtime_func_call(
            self._context, self._functions[name], given, len(arguments), answers, len(answers), ctypes.byref(trap)
        )
        if error:
            failed = wt.WasmtimeError._from_ptr(error)
            maybe_raise_last_exn()
            raise failed
        if trap:
            stopped = wt.Trap._from_ptr(trap)
            maybe_raise_last_exn()
            raise stopped
        return int(answers[0].of.i32) if len(answers) else 0


_SILENT: Final = frozenset({"qjs_free", "free_value", "qjs_result_free", "run_gc"})
_ANSWERS: Final = ((ffi.wasmtime_val_t * 1)(), (ffi.wasmtime_val_t * 0)())
"""Where an answer is written, [it has one, it has none]; read before anything else can be called."""


def _make(kind: Any, count: int) -> Any:
    values = (ffi.wasmtime_val_t * count)()
    for value in values:
        value.kind = kind
    return values


_GIVEN: Final = {count: _make(ffi.WASMTIME_I32.value, count) for count in range(7)}
_GIVEN_WIDE: Final = _make(ffi.WASMTIME_I64.value, 1)
"""Copied by wasmtime before the call begins, so one of each is enough, also for calls within calls."""


def _arguments(kind: str, arguments: tuple[int, ...]) -> Any:
    if kind == "i64":
        _GIVEN_WIDE[0].of.i64 = arguments[0]
        return _GIVEN_WIDE
    values = _GIVEN[len(arguments)]
    for value, argument in zip(values, arguments, strict=True):
        value.of.i32 = argument
    return values

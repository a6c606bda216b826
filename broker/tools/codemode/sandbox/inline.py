"""Calls of small functions replaced by what they do.

QuickJS is compiled for size: reading one character of a string is two calls. wasmtime does not inline within a module,
and each call costs a look at the stack's limit and one at the epoch. What a program means does not change, and the
result is checked by wasmtime like any module.
"""

from collections.abc import Sequence
from typing import Final

from broker.tools.codemode.sandbox import wasm
from broker.tools.codemode.sandbox.functions import Function, Functions
from broker.tools.codemode.sandbox.wasm import Instruction, unsigned

SMALL: Final = 200
"""Bytes of code, after what it calls was put into it."""
_LARGEST: Final = 24_000
"""A function is not made larger than that."""
_ZERO: Final = {0x7F: b"\x41\0", 0x7E: b"\x42\0", 0x7D: b"\x43" + bytes(4), 0x7C: b"\x44" + bytes(8)}
"""By type, the instruction that pushes what a declared local begins with."""
_OPENS: Final = (wasm.BLOCK, wasm.LOOP, wasm.IF)
_LOCALS: Final = (wasm.LOCAL_GET, wasm.LOCAL_SET, wasm.LOCAL_TEE)


class Inliner:
    """Puts small functions into those of one module. A function is small where it calls nothing that returns, does not
    loop, and is short."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._grown: dict[int, Function] = {}
        self._small: dict[int, bool] = {}

    def into(self, callers: Sequence[int]) -> None:
        """Replaces these functions by ones with fewer calls."""
        grown = {index: self._grow(index) for index in callers}
        for index, function in grown.items():
            self._functions[index] = function

    def _grow(self, index: int) -> Function:
        if index not in self._grown:
            self._grown[index] = self._functions[index]  # where it is met within itself, as it was
            self._grown[index] = self._with_calls_replaced(index)
        return self._grown[index]

    def _is_small(self, index: int) -> bool:
        if index < self._functions.imported:
            return False
        if index not in self._small:
            self._small[index] = False  # not within itself
            if len(self._functions[index].code) <= SMALL:
                self._small[index] = _small(self._grow(index))
        return self._small[index]

    def _with_calls_replaced(self, index: int) -> Function:
        caller = self._functions[index]
        declared = list(caller.locals)
        count = caller.local_count
        places: dict[int, int] = {}
        out = bytearray()
        copied = 0
        for step in caller.instructions():
            if step.code != wasm.CALL or len(out) > _LARGEST or step.value == index or not self._is_small(step.value):
                continue
            callee = self._grow(step.value)
            if step.value not in places:
                places[step.value] = count
                declared += [(1, kind) for kind in callee.parameters]
                declared += callee.locals
                count += callee.local_count
            out += caller.code[copied : step.at] + _in_place(callee, places[step.value])
            copied = step.end
        out += caller.code[copied:]
        return Function(caller.parameters, caller.results, tuple(declared), bytes(out))


def _small(function: Function) -> bool:
    steps = function.instructions()
    return len(function.code) <= SMALL and not any(
        step.code in (wasm.LOOP, wasm.CALL_INDIRECT) or (step.code == wasm.CALL and not _ends(steps, number))
        for number, step in enumerate(steps)
    )


def _ends(steps: list[Instruction], number: int) -> bool:
    """Whether the call never returns."""
    return steps[number + 1].code == wasm.UNREACHABLE


def _in_place(callee: Function, base: int) -> bytes:
    """What stands for a call: its arguments taken from the stack, its locals at `base` made zero, its code as a block,
    out of which it returns."""
    out = bytearray()
    for place in reversed(range(len(callee.parameters))):
        out += bytes([wasm.LOCAL_SET]) + unsigned(base + place)
    place = base + len(callee.parameters)
    for count, kind in callee.locals:
        for _ in range(count):
            out += _ZERO[kind] + bytes([wasm.LOCAL_SET]) + unsigned(place)
            place += 1
    out += bytes([wasm.BLOCK]) + (callee.results or b"\x40")
    depth = 0
    for step in callee.instructions():
        if step.code in _LOCALS:
            out += bytes([step.code]) + unsigned(step.value + base)
        elif step.code == wasm.RETURN:
            out += bytes([wasm.BRANCH]) + unsigned(depth)
        else:
            depth += (step.code in _OPENS) - (step.code == wasm.END)
            out += callee.code[step.at : step.end]
    return bytes(out)

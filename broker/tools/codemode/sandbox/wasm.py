"""WebAssembly's binary format, as far as the guest's module needs it (WebAssembly Core § 5): sections, numbers, and
where each instruction of a function begins and ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PAGE: Final = 65536
TYPE, IMPORT, FUNCTION, MEMORY, EXPORT, START, CODE = 1, 2, 3, 5, 7, 8, 10

BLOCK, LOOP, IF, END, BRANCH, RETURN, CALL, CALL_INDIRECT = 0x02, 0x03, 0x04, 0x0B, 0x0C, 0x0F, 0x10, 0x11
UNREACHABLE, LOCAL_GET, LOCAL_SET, LOCAL_TEE = 0x00, 0x20, 0x21, 0x22
_I32, _I64, _NULL, _MORE, _TABLE_BRANCH, _NOTHING = 0x41, 0x42, 0xD0, 0xFC, 0x0E, 0x01
_ONE_NUMBER: Final = frozenset({0x0C, 0x0D, 0x10, 0x20, 0x21, 0x22, 0x23, 0x24, _NULL})
_SIGNED: Final = frozenset({BLOCK, LOOP, IF, _I32, _I64})
_TWO_NUMBERS: Final = frozenset({CALL_INDIRECT, *range(0x28, 0x3F)})
"""An indirect call, loads and stores."""
_FIXED: Final = {0x3F: 1, 0x40: 1, 0x43: 4, 0x44: 8}
"""Bytes behind: of the memory's size and growth, and of numbers with a point."""
_BARE: Final = frozenset({0x05, END, RETURN, 0x1A, 0x1B})
_COMPUTING: Final = range(0x45, 0xC5)
_COPY, _FILL, _SATURATING = 10, 11, 8


class CannotShape(Exception):
    """The module is not shaped as the one this was written for."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: bytes [at, end) of the module. `value` is the function called or the local named, else 0."""

    code: int
    value: int
    at: int
    end: int


def sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    """(id, body) of each section in order."""
    at = 8
    while at < len(module):
        section = module[at]
        length, start = read(module, at + 1)
        at = start + length
        yield section, module[start:at]


def joined(module: bytes, parts: list[tuple[int, bytes]]) -> bytes:
    """A module of these sections, with the head of another."""
    return module[:8] + b"".join(bytes([section]) + unsigned(len(body)) + body for section, body in parts)


def instructions(data: bytes, at: int, end: int) -> Iterator[Instruction]:
    """Those of a function whose code stands at [at, end). Raises CannotShape at one that the guest does not use."""
    while at < end:
        code = data[at]
        value, after = _after(data, at, code)
        yield Instruction(code, value, at, after)
        at = after


def _after(data: bytes, start: int, code: int) -> tuple[int, int]:
    """Its number, and where it ends."""
    at = start + 1
    if code in _ONE_NUMBER:
        return read(data, at)
    if code in _TWO_NUMBERS:
        return 0, read(data, read(data, at)[1])[1]
    if code in _SIGNED:
        while data[at] & 0x80:
            at += 1
        return 0, at + 1
    if code in _FIXED:
        return 0, at + _FIXED[code]
    if code == _TABLE_BRANCH:
        count, at = read(data, at)
        for _ in range(count + 1):
            _, at = read(data, at)
        return 0, at
    if code == _MORE:
        return 0, _after_more(data, at)
    if code <= _NOTHING or code in _BARE or code in _COMPUTING:
        return 0, at
    raise CannotShape(f"an instruction that was not expected: {code:#x}")


def _after_more(data: bytes, at: int) -> int:
    which, at = read(data, at)
    if which < _SATURATING:
        return at
    if which == _COPY:
        return at + 2
    if which == _FILL:
        return at + 1
    raise CannotShape(f"an instruction that was not expected: 0xfc {which}")


def unsigned(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

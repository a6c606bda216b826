"""The functions of a WebAssembly module that imports nothing but functions: their types, locals and code."""

from dataclasses import dataclass
from typing import Final

from broker.tools.codemode.sandbox import wasm
from broker.tools.codemode.sandbox.wasm import CannotShape, Instruction, read, unsigned

_FUNCTION_TYPE: Final = 0x60


@dataclass(frozen=True, slots=True)
class Function:
    """`locals` are the declared ones, (how many, type), after the parameters. `code` ends with the function's `end`."""

    parameters: bytes
    results: bytes
    locals: tuple[tuple[int, int], ...]
    code: bytes

    @property
    def local_count(self) -> int:
        """Parameters and locals."""
        return len(self.parameters) + sum(count for count, _ in self.locals)

    def instructions(self) -> list[Instruction]:
        """Of its code, at places in it."""
        return list(wasm.instructions(self.code, 0, len(self.code)))

    def body(self) -> bytes:
        """As the code section has it, without its length."""
        declared = b"".join(unsigned(count) + bytes([kind]) for count, kind in self.locals)
        return unsigned(len(self.locals)) + declared + self.code


class Functions:
    """A module's functions by index, imported ones first; read when asked for, and replaceable. Raises CannotShape."""

    def __init__(self, module: bytes) -> None:
        bodies = dict(wasm.sections(module))
        self._types = _types(bodies[wasm.TYPE])
        self.imported = _count_imports(bodies[wasm.IMPORT]) if wasm.IMPORT in bodies else 0
        self._of_type = _numbers(bodies[wasm.FUNCTION])
        self._bodies = _bodies(bodies[wasm.CODE])

    def __getitem__(self, index: int) -> Function:
        place = index - self.imported
        if not 0 <= place < len(self._bodies):
            raise CannotShape(f"there is no function {index}")
        parameters, results = self._types[self._of_type[place]]
        body = self._bodies[place]
        groups, at = read(body, 0)
        declared = []
        for _ in range(groups):
            count, at = read(body, at)
            declared.append((count, body[at]))
            at += 1
        return Function(parameters, results, tuple(declared), body[at:])

    def __setitem__(self, index: int, function: Function) -> None:
        self._bodies[index - self.imported] = function.body()

    def add(self, function: Function) -> int:
        """Adds one, of a type that the module has; its index. Raises CannotShape for any other."""
        kind = function.parameters, function.results
        if kind not in self._types:
            raise CannotShape("the module has no function like that")
        self._of_type.append(self._types.index(kind))
        self._bodies.append(function.body())
        return self.imported + len(self._bodies) - 1

    def sections(self) -> dict[int, bytes]:
        """The sections that say all this."""
        types = unsigned(len(self._of_type)) + b"".join(map(unsigned, self._of_type))
        code = unsigned(len(self._bodies)) + b"".join(unsigned(len(body)) + body for body in self._bodies)
        return {wasm.FUNCTION: types, wasm.CODE: code}


def _types(body: bytes) -> list[tuple[bytes, bytes]]:
    count, at = read(body, 0)
    found = []
    for _ in range(count):
        if body[at] != _FUNCTION_TYPE:
            raise CannotShape("the module has types other than of functions")
        length, at = read(body, at + 1)
        parameters, at = body[at : at + length], at + length
        length, at = read(body, at)
        results, at = body[at : at + length], at + length
        found.append((parameters, results))
    return found


def _count_imports(body: bytes) -> int:
    count, at = read(body, 0)
    for _ in range(count):
        for _ in range(2):
            length, at = read(body, at)
            at += length
        if body[at] != 0:
            raise CannotShape("the module imports more than functions")
        _, at = read(body, at + 1)
    return count


def _numbers(body: bytes) -> list[int]:
    count, at = read(body, 0)
    found = []
    for _ in range(count):
        number, at = read(body, at)
        found.append(number)
    return found


def _bodies(body: bytes) -> list[bytes]:
    count, at = read(body, 0)
    found = []
    for _ in range(count):
        length, at = read(body, at)
        found.append(body[at : at + length])
        at += length
    return found

"""The guest's module as it is run: with the exports that are called, a bounded memory, and its slowest parts made
faster.

Whoever changes `binary.SHA256` has to find the numbers below anew, and those in `seek`; what no longer fits is refused.
"""

from typing import Final

from broker.tools.codemode.sandbox import wasm
from broker.tools.codemode.sandbox.functions import Functions
from broker.tools.codemode.sandbox.inline import Inliner
from broker.tools.codemode.sandbox.seek import add_seek
from broker.tools.codemode.sandbox.wasm import PAGE, CannotShape, read, unsigned

HOT: Final = (
    39, 52, 71, 84, 121, 257, 429, 432, 494, 495, 496, 497, 520, 521, 522, 530, 540, 551, 554, 558, 572, 575, 577,
    582, 583, 592, 593, 595, 616, 622, 630, 662, 669, 672, 674, 676, 678, 681, 682, 684, 688, 693, 695, 699, 702,
    710, 711, 712, 716, 729, 748, 757, 761, 762, 764, 767, 771, 774, 775, 776, 783, 786, 789, 792, 801, 802, 807,
    817, 824, 828, 829, 830, 834, 841, 846, 852, 853, 854, 872, 874, 880, 881, 883, 887, 888, 890, 892, 945, 951,
    954, 989, 998, 999, 1004, 1005, 1008, 1009, 1014, 1016, 1017, 1018, 1020, 1042, 1046, 1047, 1055, 1069, 1123,
    1134, 1135, 1136, 1138, 1182, 1185, 1190, 1197, 1198, 1239, 1244, 1246, 1256, 1266, 1379, 1437, 1455, 1584,
    1609, 1610, 1627, 1783, 1862, 1897, 1924, 1929, 1930, 1932, 1933, 1935, 1936, 1939, 1980,
)  # fmt: skip
"""Functions in which searches and small programs spend at least 0.4 % of their time, by `perf record` over the
programs of `bench.sandbox` with wasmtime's `perfmap` profiler."""


def shape(module: bytes, *, max_bytes: int, exports: frozenset[str]) -> bytes:
    """The module with only these exports and at most so much memory, and the same answers to everything, sooner.
    Raises CannotShape.
    """
    functions = Functions(module)
    add_seek(functions)
    Inliner(functions).into(HOT)
    return bounded(module, functions.sections(), max_bytes=max_bytes, exports=exports)


def bounded(module: bytes, others: dict[int, bytes], *, max_bytes: int, exports: frozenset[str]) -> bytes:
    """The module with `others` in place of its sections, only these exports, and at most so much memory. Raises
    CannotShape.
    """
    out = []
    for section, body in wasm.sections(module):
        if section == wasm.START:
            raise CannotShape("the module starts something by itself")
        if section == wasm.MEMORY:
            body = _memory(body, max_bytes)
        elif section == wasm.EXPORT:
            body = _only(body, exports)
        out.append((section, others.get(section, body)))
    return wasm.joined(module, out)


def _memory(body: bytes, max_bytes: int) -> bytes:
    count, at = read(body, 0)
    if count != 1 or body[at] > 1:
        raise CannotShape("the module has not one memory of 32 bits")
    least, _ = read(body, at + 1)
    return b"\x01\x01" + unsigned(least) + unsigned(max_bytes // PAGE)


def _only(body: bytes, exports: frozenset[str]) -> bytes:
    count, at = read(body, 0)
    kept = []
    for _ in range(count):
        length, name = read(body, at)
        _, after = read(body, name + length + 1)
        if body[name : name + length].decode() in exports:
            kept.append(body[at:after])
        at = after
    if len(kept) != len(exports):
        raise CannotShape("the module lacks exports it should have")
    return unsigned(len(kept)) + b"".join(kept)

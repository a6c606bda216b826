"""Fitting a module: what it keeps, what is put in the place of calls, and the search for a string."""

from collections.abc import Mapping

import pytest
import wasmtime as wt
from hypothesis import given
from hypothesis import strategies as st

from broker.tools.codemode.sandbox import seek
from broker.tools.codemode.sandbox.binary import guest_binary
from broker.tools.codemode.sandbox.engine import EXPORTS
from broker.tools.codemode.sandbox.functions import Functions
from broker.tools.codemode.sandbox.inline import Inliner
from broker.tools.codemode.sandbox.shape import HOT, bounded, shape
from broker.tools.codemode.sandbox.wasm import CALL, PAGE, CannotShape, instructions

MODULE = """(module (import "env" "far" (func $far (param i32) (result i32)))
 (memory (export "memory") 1) (data (i32.const 8) "old")
 (func $early (param $a i32) (param $b i64) (result i32) (local $c i32)
  (if (i32.eqz (local.get $a)) (then (return (i32.add (local.get $c) (i32.wrap_i64 (local.get $b))))))
  (local.set $c (i32.const 40))
  (block $out (loop $again (br_if $out (i32.const 1)) (br $again)))
  (i32.add (local.get $a) (local.get $c)))
 (func $leaf (param $a i32) (param $b i64) (result i32) (local $c i32)
  (if (i32.eqz (local.get $a)) (then (return (i32.add (local.get $c) (i32.wrap_i64 (local.get $b))))))
  (local.set $c (i32.const 40))
  (block $x (block $y (br_table $x $y (local.get $a))))
  (br 0 (i32.add (local.get $a) (local.get $c))))
 (func $middle (param i32) (result i32) (call $leaf (local.get 0) (i64.const 5)))
 (func $nothing (param i32) (local i64 f64))
 (func $myself (param i32) (result i32)
  (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 3)) (else (call $myself (i32.sub (local.get 0)
   (i32.const 1))))))
 (func $peek (export "peek") (param i32) (result i32)
  (call $nothing (i32.const 1))
  (i32.add (call $middle (local.get 0))
   (i32.add (call $leaf (i32.const 2) (i64.const 0))
    (i32.add (call $early (local.get 0) (i64.const 9))
     (i32.add (call $far (local.get 0)) (call $myself (i32.const 2)))))))
 (func (export "other")))"""
KEPT = frozenset({"memory", "peek"})
PEEK = 6


def instance(module: bytes) -> tuple[wt.Store, Mapping[str, object]]:
    store = wt.Store()
    far = wt.Func(store, wt.FuncType([wt.ValType.i32()], [wt.ValType.i32()]), lambda value: value * 1000)
    made = wt.Module(store.engine, module)
    return store, wt.Instance(store, made, [far] if made.imports else []).exports(store)


def calls(functions: Functions, index: int) -> list[int]:
    code = functions[index].code
    return [step.value for step in instructions(code, 0, len(code)) if step.code == CALL]


def test_only_what_is_wanted_is_kept_and_memory_is_bounded() -> None:
    module = bounded(bytes(wt.wat2wasm(MODULE)), {}, max_bytes=3 * PAGE, exports=KEPT)
    store, exports = instance(module)
    assert set(exports) == KEPT
    memory = exports["memory"]
    assert isinstance(memory, wt.Memory)
    memory.grow(store, 2)
    with pytest.raises(wt.WasmtimeError):
        memory.grow(store, 1)


@pytest.mark.parametrize(
    "module",
    [
        '(module (memory (export "memory") 1) (func $f (export "peek")) (start $f))',
        '(module (memory (export "memory") 1))',
        '(module (memory (export "memory") i64 1) (func (export "peek")))',
    ],
)
def test_other_modules_are_refused(module: str) -> None:
    with pytest.raises(CannotShape):
        bounded(bytes(wt.wat2wasm(module)), {}, max_bytes=PAGE, exports=KEPT)


def test_small_functions_stand_where_they_were_called() -> None:
    before = bytes(wt.wat2wasm(MODULE))
    functions = Functions(before)
    assert calls(functions, PEEK) == [4, 3, 2, 1, 0, 5]
    Inliner(functions).into([PEEK, 5])
    # What loops, is imported or calls itself stays a call.
    assert calls(functions, PEEK) == [1, 0, 5]
    after = bounded(before, functions.sections(), max_bytes=PAGE, exports=KEPT)
    answers = []
    for module in (before, after):
        store, exports = instance(module)
        peek = exports["peek"]
        assert isinstance(peek, wt.Func)
        answers.append([peek(store, value) for value in (0, 1, 2, 7)])
    assert answers[0] == answers[1]
    assert answers[0][0] == 5 + 42 + 9 + 0 + 3


def test_the_guest_is_fitted() -> None:
    binary = guest_binary()
    module = shape(binary, max_bytes=200 * 1024 * 1024, exports=EXPORTS)
    wt.Module.validate(wt.Engine(), module)
    before, after = Functions(binary), Functions(module)
    assert sum(len(calls(after, index)) for index in HOT) < sum(len(calls(before, index)) for index in HOT)


def test_a_guest_of_another_make_is_refused() -> None:
    with pytest.raises(CannotShape):
        shape(bytes(wt.wat2wasm(MODULE)), max_bytes=PAGE, exports=KEPT)


class Seeker:
    """`seek` alone, over two strings laid out as QuickJS does."""

    def __init__(self) -> None:
        text = seek._SEEK.replace("(memory 1) (func", '(memory (export "memory") 1) (func (export "seek")')
        self.store = wt.Store()
        exports = wt.Instance(self.store, wt.Module(self.store.engine, text), []).exports(self.store)
        found, memory = exports["seek"], exports["memory"]
        assert isinstance(found, wt.Func)
        assert isinstance(memory, wt.Memory)
        self.seek, self.memory = found, memory

    def put(self, at: int, text: bytes, *, parent: int = 0, offset: int = 0, wide: bool = False) -> None:
        kind = 1 if parent else 0
        head = (len(text) | wide << 31 | kind << 60).to_bytes(8, "little")
        place = parent.to_bytes(4, "little") + offset.to_bytes(4, "little")
        self.memory.write(self.store, bytes(4) + head, at)
        self.memory.write(self.store, place if parent else text, at + 28)

    def found(self, text: bytes, what: bytes, start: int) -> int:
        # The text ends where memory ends: reading behind it would trap.
        self.put(PAGE - 28 - len(text), text)
        self.put(64, what)
        last = len(text) - len(what)
        return int(self.seek(self.store, PAGE - 28 - len(text), 64, start, len(what), last))


SEEKER = Seeker()


@given(st.lists(st.sampled_from([b"a", b"b", b"ab", b"aab"]), min_size=1, max_size=40).map(b"".join), st.data())
def test_seeking_finds_what_find_finds(text: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, min(24, len(text))))
    cut = data.draw(st.integers(0, len(text) - length))
    what = data.draw(st.sampled_from([text[cut : cut + length], b"ab" * (length // 2), b"b" * length]))
    start = data.draw(st.integers(0, len(text) - len(what)))
    found = SEEKER.found(text, what, start)
    expected = text.find(what, start)
    if not what:
        assert found == start
    else:
        assert found == (expected if expected >= 0 else len(text) - len(what))


def test_what_it_does_not_know_it_leaves() -> None:
    SEEKER.put(1024, b"xxxx needle", wide=True)
    SEEKER.put(64, b"needle")
    assert SEEKER.seek(SEEKER.store, 1024, 64, 0, 6, 5) == 0
    SEEKER.put(1024, b"hay and needle, and more")
    SEEKER.put(2048, b"and needle, and", parent=1024, offset=4)
    assert SEEKER.seek(SEEKER.store, 2048, 64, 0, 6, 9) == 4
    SEEKER.put(4096, b"needle", parent=1024, offset=8)
    assert SEEKER.seek(SEEKER.store, 1024, 4096, 0, 6, 18) == 8
    assert SEEKER.seek(SEEKER.store, 1024, 64, 9, 6, 8) == 9

"""Baking a memory into a module."""

import pytest
import wasmtime as wt

from broker.tools.codemode.sandbox.bake import PAGE, CannotBake, bake

MODULE = """(module (memory (export "memory") 1) (global (export "sp") (mut i32) (i32.const 1000))
 (data (i32.const 8) "old")
 (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0))) (func (export "other")))"""
KEPT = frozenset({"memory", "sp", "peek"})


def test_an_instance_starts_with_the_memory() -> None:
    memory = bytearray(4 * PAGE)
    memory[5] = 7
    memory[3 * PAGE + 1] = 9
    baked = bake(wt.wat2wasm(MODULE), bytes(memory), stack_pointer=123_456, max_bytes=8 * PAGE, exports=KEPT)
    store = wt.Store()
    module = wt.Module(store.engine, baked)
    exports = wt.Instance(store, module, []).exports(store)
    assert set(exports) == KEPT
    peek, pointer, linear = exports["peek"], exports["sp"], exports["memory"]
    assert isinstance(peek, wt.Func)
    assert isinstance(pointer, wt.Global)
    assert isinstance(linear, wt.Memory)
    assert [peek(store, at) for at in (5, 8, 3 * PAGE + 1)] == [7, 0, 9]
    assert pointer.value(store) == 123_456
    assert linear.data_len(store) == 4 * PAGE
    linear.grow(store, 4)
    with pytest.raises(wt.WasmtimeError):
        linear.grow(store, 1)


@pytest.mark.parametrize(
    "module",
    [
        '(module (memory (export "memory") 1) (global (export "sp") (mut i64) (i64.const 1)) (func (export "peek")))',
        '(module (memory (export "memory") 1) (func $f (export "peek")) (start $f))',
        '(module (memory (export "memory") 1) (global (export "sp") (mut i32) (i32.const 1)))',
    ],
)
def test_other_modules_are_refused(module: str) -> None:
    with pytest.raises(CannotBake):
        bake(wt.wat2wasm(module), bytes(PAGE), stack_pointer=1, max_bytes=PAGE, exports=KEPT)

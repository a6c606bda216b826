"""Frames: what goes in comes out, and what no honest worker sends is refused."""

import contextlib
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.tools.codemode.sandbox import frames
from broker.tools.codemode.sandbox.errors import Tampered

U32 = st.integers(0, 2**32 - 1)


@given(U32, st.from_regex(r"[a-z][a-z_]{0,31}", fullmatch=True), st.binary(max_size=200))
def test_a_call_round_trips(call: int, name: str, argument: bytes) -> None:
    assert frames.unpack_call(frames.pack_call(call, name.encode(), argument)) == (call, name, argument)


@given(U32, st.booleans(), st.binary(max_size=200))
def test_an_answer_round_trips(call: int, ok: bool, value: bytes) -> None:
    assert frames.unpack_answer(frames.pack_answer(call, ok=ok, value=value)) == (call, ok, value)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_an_order_round_trips(code: bytes, context: bytes) -> None:
    order = frames.RunOrder(3, 0.5, 1 << 26, 200, 1 << 20, 1 << 23, 65536, 1 << 25, 1000, code, context)
    assert frames.RunOrder.unpack(order.pack()) == order


@given(st.floats(0, 10_000), st.integers(0, 200), st.binary(max_size=100))
def test_a_result_round_trips(cpu_ms: float, calls: int, value: bytes) -> None:
    told = {"ok": True, "error": None, "logs": [["log", "é"]], "log_dropped": 0}
    done = frames.Done.unpack(frames.Done(cpu_ms, calls, told, value).pack())
    assert (done.host_calls, done.told, done.value) == (calls, told, value)
    assert done.cpu_ms == pytest.approx(cpu_ms, abs=0.001)


@given(st.binary(max_size=300))
def test_hostile_payloads_are_refused_or_understood(payload: bytes) -> None:
    for unpack in (frames.unpack_call, frames.Done.unpack):
        with contextlib.suppress(Tampered):
            unpack(payload)


@pytest.mark.parametrize("name", [b"", b"A", b"a b", b"a" * 40, b"_x", b"caf\xc3\xa9", b"a\n"])
def test_strange_names_are_refused(name: bytes) -> None:
    with pytest.raises(Tampered):
        frames.unpack_call(struct.pack(">IB", 1, len(name)) + name + b"{}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'[1,"request",{"a":[1,2]}]', (1, b"request", b'{"a":[1,2]}')),
        (b'[12,"sleep"]', (12, b"sleep", b"null")),
        (b'[1,"request",null]', (1, b"request", b"null")),
        (b'["1","request",{}]', None),
        (b'[-1,"request",{}]', None),
        (b'[1,"Request",{}]', None),
        (b'[1,"request",{}', None),
        (b'[12345678901,"request",{}]', None),
        (b"", None),
    ],
)
def test_what_the_guest_asks(text: bytes, found: object) -> None:
    assert frames.split_message(text) == found


def test_a_deep_result_is_refused() -> None:
    told = b"[" * 100_000
    with pytest.raises(Tampered):
        frames.Done.unpack(struct.pack(">IIII", 0, 0, len(told), 0) + told)
    assert json.loads("1") == 1

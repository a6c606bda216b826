"""What the pool and a worker say to each other: frames of a header (length, kind, run) and a payload, over the worker's
two pipes.

Run ids are chosen by the pool and mean something on one worker only. Both sides check every length before reading.

| kind | way | payload |
|---|---|---|
| `I` | → | start: JSON, the images to load |
| `H` | ← | ready, or why not: JSON |
| `R` | → | run: the order of `pack_run` |
| `V` | → | a host call's answer: `pack_answer` |
| `X` | → ← | drop the run; always acknowledged, known or not |
| `C` | ← | a host call: `pack_call` |
| `W` | ← | the run waits for host calls |
| `D` | ← | the run is done: `pack_done` |

To each `R` and `V` a worker says `W` or `D` exactly once, unless the run is gone.
"""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.tools.codemode.sandbox.errors import Tampered

HEADER: Final = struct.Struct(">IcI")
START, HELLO, RUN, ANSWER, DROP, CALL, WAITING, DONE = b"I", b"H", b"R", b"V", b"X", b"C", b"W", b"D"
HELLO_BYTES: Final = 64 * 1024
LONGEST: Final = 32 * 1024 * 1024
"""No frame of a worker is longer, whatever its run allows."""

_RUN: Final = struct.Struct(">BfIIIIIIIII")
_ANSWER: Final = struct.Struct(">IB")
_CALL: Final = struct.Struct(">IB")
_DONE: Final = struct.Struct(">IIII")
CALL_OVERHEAD: Final = _CALL.size + 32
DONE_OVERHEAD: Final = _DONE.size

NAME: Final = re.compile(rb"[a-z][a-z_]{0,31}")
_MESSAGE: Final = re.compile(rb'\[(\d{1,9}),"([a-z][a-z_]{0,31})"(?:,|(?=\]))')


def frame(kind: bytes, run: int, payload: bytes = b"") -> bytes:
    """A frame as it is sent."""
    return HEADER.pack(len(payload), kind, run) + payload


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a worker needs to run a program. `image` counts from 0 in the order of the start frame; times are
    seconds.
    """

    image: int
    cpu_seconds: float
    heap_bytes: int
    host_calls: int
    message_bytes: int
    result_bytes: int
    log_bytes: int
    pending_bytes: int
    sleeps: int
    code: bytes
    context: bytes

    def pack(self) -> bytes:
        """As the payload of `R`."""
        head = _RUN.pack(
            self.image, self.cpu_seconds, self.heap_bytes, self.host_calls, self.message_bytes, self.result_bytes,
            self.log_bytes, self.pending_bytes, self.sleeps, len(self.code), len(self.context),
        )  # fmt: skip
        return head + self.code + self.context

    @classmethod
    def unpack(cls, payload: bytes) -> "RunOrder":
        """From the payload of `R`; the pool is believed."""
        image, cpu, heap, calls, message, result, log, pending, sleeps, code, context = _RUN.unpack_from(payload)
        start, middle = _RUN.size, _RUN.size + code
        end = middle + context
        texts = payload[start:middle], payload[middle:end]
        return cls(image, cpu, heap, calls, message, result, log, pending, sleeps, *texts)


def pack_answer(call: int, *, ok: bool, value: bytes) -> bytes:
    """The answer to host call `call`: JSON, or the JSON object that rejects."""
    return _ANSWER.pack(call, ok) + value


def unpack_answer(payload: bytes) -> tuple[int, bool, bytes]:
    """(call, ok, JSON)."""
    call, ok = _ANSWER.unpack_from(payload)
    return call, bool(ok), payload[_ANSWER.size :]


def split_message(text: bytes) -> tuple[int, bytes, bytes] | None:
    """(call, name, argument) of the guest's `[id,name,argument]`, the argument as the JSON text it is; None for
    anything else.
    """
    found = _MESSAGE.match(text)
    if found is None or not text.endswith(b"]"):
        return None
    return int(found[1]), found[2], text[found.end() : -1] or b"null"


def pack_call(call: int, name: bytes, argument: bytes) -> bytes:
    """A host call as the payload of `C`."""
    return _CALL.pack(call, len(name)) + name + argument


def unpack_call(payload: bytes) -> tuple[int, str, bytes]:
    """(call, name, argument), from a worker nobody believes. Raises Tampered."""
    if len(payload) < _CALL.size:
        raise Tampered("a host call cut short")
    call, length = _CALL.unpack_from(payload)
    name = payload[_CALL.size : _CALL.size + length]
    if len(name) != length or NAME.fullmatch(name) is None:
        raise Tampered("a host call without a proper name")
    return call, name.decode("ascii"), payload[_CALL.size + length :]


@dataclass(frozen=True, slots=True)
class Done:
    """How a run ended, as its worker tells it. `told` has `ok`, `error`, `logs` and `log_dropped`."""

    cpu_ms: float
    host_calls: int
    told: Mapping[str, Any]
    value: bytes

    def pack(self) -> bytes:
        """As the payload of `D`."""
        told = json.dumps(self.told, separators=(",", ":")).encode()
        cpu = min(int(self.cpu_ms * 1000), 0xFFFFFFFF)
        return _DONE.pack(cpu, self.host_calls, len(told), len(self.value)) + told + self.value

    @classmethod
    def unpack(cls, payload: bytes) -> "Done":
        """From a worker nobody believes. Raises Tampered."""
        if len(payload) < _DONE.size:
            raise Tampered("a result cut short")
        cpu, calls, told_length, length = _DONE.unpack_from(payload)
        if _DONE.size + told_length + length != len(payload):
            raise Tampered("a result whose lengths do not add up")
        start = _DONE.size
        try:
            told = json.loads(payload[start : start + told_length])
        except (ValueError, RecursionError) as error:
            raise Tampered("a result that is not JSON") from error
        if not isinstance(told, dict) or not isinstance(told.get("ok"), bool):
            raise Tampered("a result of the wrong shape")
        return cls(cpu / 1000, calls, told, payload[start + told_length :])

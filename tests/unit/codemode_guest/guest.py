"""Runs the guest's JavaScript in the real QuickJS, in this process and without a pool: one fresh heap per program."""

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import wasmtime as wt

from broker.tools.codemode.guest import sources
from broker.tools.codemode.sandbox.binary import guest_binary
from broker.tools.codemode.sandbox.engine import Guest, Imports, make_engine

Host = Callable[[str, Any], Any]
HEAP = 256 << 20


class Rejected(Exception):
    """What a host raises: the object that the program catches."""


@dataclass
class Ran:
    """All that a program said."""

    told: Mapping[str, Any]
    calls: list[tuple[str, Any]] = field(default_factory=list)
    logs: list[Mapping[str, str]] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)

    @property
    def value(self) -> Any:
        assert self.told["ok"], self.told
        return self.told["result"]

    @property
    def error(self) -> Mapping[str, Any]:
        assert not self.told["ok"], self.told
        found: Mapping[str, Any] = self.told["error"]
        return found


@cache
def _compiled() -> tuple[wt.Engine, Imports, wt.Module]:
    engine = make_engine()
    return engine, Imports(engine), wt.Module(engine, guest_binary())


def _evaluate(guest: Guest, code: bytes) -> int:
    where, out = guest.put(code), guest.put(bytes(4))
    status = guest.export("eval_code", where, len(code), out)
    assert status == 0, code[:80]
    return int(struct.unpack("<i", guest.read(out, 4))[0])


def _loaded(kind: str, chunks: Iterable[bytes] | None) -> tuple[Guest, int, int]:
    engine, imports, module = _compiled()
    guest = Guest(engine, imports, module, memory_bytes=HEAP)
    make = _evaluate(guest, "".join(text for _, text in sources(kind)).encode())
    name = guest.put(b"send")
    send = int(guest.export("new_function", name, 4))
    this = int(guest.export("new_undefined"))
    pair = guest.answer_of("call_function", make, this, guest.put(struct.pack("<i", send)), 1)
    if chunks is not None:
        left: Iterator[bytes] = iter(chunks)
        guest.on_send = lambda _name, _text: next(left, b"")
        function = guest.export("new_function", guest.put(b"next"), 4)
        guest.export("set_prop", guest.export("global_object"), guest.put(b"__next"), 6, function)
        _evaluate(guest, b"globalThis.__load(globalThis.__next); delete globalThis.__next; 0")
    return guest, guest.answer_of("get_index", pair, 0), guest.answer_of("get_index", pair, 1)


def no_host(name: str, argument: Any) -> Any:
    raise AssertionError((name, argument))


def run(
    code: str,
    host: Host = no_host,
    *,
    context: Mapping[str, Any] | None = None,
    kind: str = "execute",
    chunks: Iterable[bytes] | None = None,
    seed: float = 12345.0,
    most: float = 8e6,
) -> Ran:
    """Runs a program to its end. The host is asked in order; what it raises as Rejected rejects."""
    guest, start, deliver = _loaded(kind, chunks)
    ran = Ran({})
    said: list[bytes] = []

    def listen(_name: str, text: bytes) -> None:
        said.append(text)

    guest.on_send = listen
    arguments = (guest.text(code.encode("utf-8", "surrogatepass")), guest.text(json.dumps(context or {}).encode()))
    guest.call(start, *arguments, guest.number(seed), guest.number(most))
    guest.jobs()
    while said:
        message = said.pop(0)
        ran.messages.append(message)
        if message[:1] == b"r":
            assert not ran.told, "two results"
            ran.told = json.loads(message[1:])
        elif message[:1] == b"l":
            ran.logs.append(json.loads(message[1:]))
        else:
            assert message[:1] == b"c"
            number, name, argument = json.loads(message[1:])
            ran.calls.append((name, argument))
            try:
                ok, answer = b"1", host(name, argument)
            except Rejected as rejected:
                ok, answer = b"0", rejected.args[0]
            guest.call(deliver, guest.text(b"%d" % number), guest.text(ok), guest.text(json.dumps(answer).encode()))
            guest.jobs()
    guest.close()
    return ran


def answering(body: Any, status: int = 200) -> Host:
    """A host that answers every request with the same body."""
    return lambda _name, _argument: {"status": status, "body": body}


def envelope(result: Any, **info: Any) -> dict[str, Any]:
    made = {"success": True, "errors": [], "messages": [], "result": result}
    return made | ({"result_info": info} if info else {})

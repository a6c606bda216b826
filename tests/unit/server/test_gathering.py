"""Head and body of an answer leave in one piece; nothing is lost, reordered or kept back."""

import asyncio
from collections.abc import Iterable
from typing import Any

from broker.server.gathering import Gathering


class Wire:
    """A transport that notes every call."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def writelines(self, data: Iterable[bytes]) -> None:
        self.calls.append(tuple(data))

    def close(self) -> None:
        self.calls.append("close")

    def is_closing(self) -> bool:
        return "close" in self.calls


def gathering() -> tuple[Wire, Gathering]:
    wire = Wire()
    return wire, Gathering(wire, asyncio.get_running_loop())  # type: ignore[arg-type]


async def test_what_is_written_in_one_turn_leaves_in_pairs_and_in_order() -> None:
    wire, transport = gathering()
    for piece in (b"head", b"body", b"more"):
        transport.write(piece)
    assert wire.calls == [(b"head", b"body")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.calls == [(b"head", b"body"), b"more"]


async def test_a_piece_alone_leaves_at_the_end_of_the_turn() -> None:
    wire, transport = gathering()
    transport.write(b"continue")
    assert wire.calls == []
    await asyncio.sleep(0)
    assert wire.calls == [b"continue"]


async def test_closing_sends_what_was_held_first_and_everything_else_is_the_transports() -> None:
    wire, transport = gathering()
    transport.write(b"last")
    transport.close()
    await asyncio.sleep(0)
    assert wire.calls == [b"last", "close"]
    assert transport.is_closing()

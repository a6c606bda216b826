"""Waiting for a call: what is told on the way, and what ends it. Nothing here waits for a clock."""

import asyncio
import json
from typing import Any

import pytest

from broker.endpoints.mcp import patience
from broker.endpoints.mcp.message import Message
from broker.endpoints.mcp.relay import Relay
from broker.errors import Problem
from connectors.mcp_upstream.rounds import PROGRESS

CALL = Message("2025-11-25", 1, "tools/call", {}, {"progressToken": "p"})


class Client:
    """Reads what is written to it; hangs up when told to."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.got: list[Any] = []
        self.wrote = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.got.append(message)
        self.wrote.set()

    def events(self) -> list[Any]:
        bodies = b"".join(m["body"] for m in self.got if m["type"] == "http.response.body")
        return [json.loads(line[6:]) for line in bodies.decode().splitlines() if line.startswith("data: ")]


def progress(n: int) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": PROGRESS, "progress": n}}


async def test_what_is_told_at_the_very_end_is_told_before_the_answer() -> None:
    client, relay = Client(), Relay(CALL)

    async def work() -> bytes:
        relay.hear(progress(1))
        relay.hear(progress(2))
        return b'{"done":true}'

    assert await patience.wait(CALL, work(), client.receive, client.send, streams=True, relay=relay) is None
    told = client.events()
    assert [m.get("params", {}).get("progress") for m in told] == [1, 2, None]
    assert told[-1] == {"jsonrpc": "2.0", "id": 1, "result": {"done": True}}


async def test_a_client_that_takes_json_alone_is_told_nothing() -> None:
    client, relay = Client(), Relay(CALL)

    async def work() -> bytes:
        relay.hear(progress(1))
        return b"{}"

    assert await patience.wait(CALL, work(), client.receive, client.send, streams=False, relay=relay) == b"{}"
    assert client.got == []


async def test_a_refusal_after_the_stream_began_is_an_error_on_it() -> None:
    client, relay = Client(), Relay(CALL)

    async def work() -> bytes:
        relay.hear(progress(1))
        await client.wrote.wait()
        raise Problem("rate_limited", "too many")

    assert await patience.wait(CALL, work(), client.receive, client.send, streams=True, relay=relay) is None
    assert client.events()[-1]["error"]["data"]["code"] == "rate_limited"


async def test_a_request_taken_back_is_cancelled_and_gets_no_answer() -> None:
    client, relay = Client(), Relay(CALL)
    back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cancelled = False

    async def work() -> bytes:
        nonlocal cancelled
        relay.hear(progress(1))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise
        return b"{}"

    waiting = asyncio.ensure_future(
        patience.wait(CALL, work(), client.receive, client.send, streams=True, relay=relay, taken_back=back)
    )
    await client.wrote.wait()
    back.set_result(None)
    assert await waiting is None
    assert cancelled
    assert [m["method"] for m in client.events()] == ["notifications/progress"]
    assert client.got[-1]["more_body"] is False


async def test_a_hang_up_before_anything_was_written() -> None:
    client = Client()
    client.gone.set()
    work = asyncio.Event().wait()

    async def waits() -> bytes:
        await work
        return b"{}"

    with pytest.raises(patience.Gone):
        await patience.wait(CALL, waits(), client.receive, client.send, streams=True)

"""Waiting for a call on behalf of a client: a hang-up cancels it, and a long one shows signs of life.

The answer is JSON. Only a call of which something is told on the way, or that takes longer than `QUIET_SECONDS`, for a
client that reads event streams, becomes a stream: with progress notifications where the client gave a token, so that
neither it nor a proxy gives up on it.
"""

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final

from broker.endpoints.mcp.message import Message
from broker.endpoints.mcp.relay import Relay
from broker.endpoints.mcp.rpc import INTERNAL_ERROR, Refused, answer
from broker.endpoints.mcp.sse import Stream, Stuck, until_gone
from broker.endpoints.mcp.visit import problem_object
from broker.endpoints.rest.bounds import Receive, Send
from broker.errors import Problem

QUIET_SECONDS: Final = 5.0

_Result = Coroutine[Any, Any, bytes]


class Gone(Exception):
    """The client hung up, or took its request back; nobody waits for an answer."""


async def wait(
    message: Message,
    work: _Result,
    receive: Receive,
    send: Send,
    *,
    streams: bool,
    relay: Relay | None = None,
    taken_back: "asyncio.Future[None] | None" = None,
) -> bytes | None:
    """The result of `work`, or None where it has been written to the client as a stream. What `relay` hears is told on;
    `taken_back` ends it like a hang-up. Raises Gone, Stuck, and what `work` raises."""
    relay = relay or Relay(message)
    running = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(until_gone(receive))
    ends: set[asyncio.Future[Any]] = {running, gone} | ({taken_back} if taken_back is not None else set())
    stream = Stream(send)
    try:
        await _watch(ends, stream, relay if streams else None)
        if not running.done():
            # Cancelled upstream and settled as such, before this request counts as over.
            running.cancel("client disconnected")
            await asyncio.wait({running})
            if not gone.done() and stream.started:
                await stream.end()
                return None
            raise Gone
        if streams and not gone.done():
            await _tell(stream, relay)
        if not stream.started:
            return running.result()
        await stream.message(_last(message, running))
        await stream.end()
        return None
    except asyncio.CancelledError:
        if stream.started:
            raise Stuck("the call took too long") from None
        raise
    finally:
        gone.cancel()
        if not running.done():
            running.cancel("client disconnected")
            await asyncio.wait({running})


async def _watch(ends: "set[asyncio.Future[Any]]", stream: Stream, relay: Relay | None) -> None:
    """Until one of `ends` is done; meanwhile tells on what arrives, and that the call runs still."""
    began = monotonic()
    while True:
        arriving = asyncio.ensure_future(relay.arrived.wait()) if relay is not None and relay.speaks else None
        try:
            waited = ends if arriving is None else ends | {arriving}
            quiet = None if relay is None else QUIET_SECONDS
            done, _ = await asyncio.wait(waited, timeout=quiet, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if arriving is not None:
                arriving.cancel()
        if done & ends:
            return
        if relay is None:
            continue
        if done:
            await _tell(stream, relay)
            continue
        sign = relay.runs(monotonic() - began)
        await (stream.comment() if sign is None else stream.message(sign))


async def _tell(stream: Stream, relay: Relay) -> None:
    for told in relay.take():
        await stream.message(told)


def _last(message: Message, running: "asyncio.Future[bytes]") -> bytes:
    try:
        return answer(message.id, running.result())
    except Refused as refused:
        refused.id = message.id
        return refused.body()
    except Problem as problem:
        # The stream has begun: it is too late for an HTTP status.
        return Refused(INTERNAL_ERROR, problem.detail, data=problem_object(problem), id_=message.id).body()

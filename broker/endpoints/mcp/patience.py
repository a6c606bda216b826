"""Waiting for a call on behalf of a client: a hang-up cancels it, and a long one shows signs of life.

The answer is JSON. Only a call that takes longer than `QUIET_SECONDS`, for a client that reads event streams, becomes a
stream: with a progress notification where the client gave a token, so that neither it nor a proxy gives up on it.
"""

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final

from broker.endpoints.mcp.message import Message
from broker.endpoints.mcp.rpc import Refused, answer, notification
from broker.endpoints.mcp.sse import Stream, Stuck, until_gone
from broker.endpoints.rest.bounds import Receive, Send

QUIET_SECONDS: Final = 5.0

_Result = Coroutine[Any, Any, bytes]


class Gone(Exception):
    """The client hung up; nobody waits for an answer."""


async def wait(message: Message, work: _Result, receive: Receive, send: Send, *, streams: bool) -> bytes | None:
    """The result of `work`, or None where it has been written to the client as a stream. Raises Gone, Stuck, and
    what `work` raises."""
    running = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(until_gone(receive))
    stream = Stream(send)
    began = monotonic()
    try:
        while True:
            quiet = QUIET_SECONDS if streams else None
            await asyncio.wait({running, gone}, timeout=quiet, return_when=asyncio.FIRST_COMPLETED)
            if running.done() or gone.done():
                break
            await _sign_of_life(stream, message, monotonic() - began)
        if not running.done():
            raise Gone
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
            # Cancelled upstream and settled as such, before this request counts as over.
            running.cancel("client disconnected")
            await asyncio.wait({running})


async def _sign_of_life(stream: Stream, message: Message, seconds: float) -> None:
    token = message.meta.get("progressToken")
    if isinstance(token, bool) or not isinstance(token, str | int):
        await stream.comment()
        return
    told = {"progressToken": token, "progress": round(seconds, 1), "message": f"running for {seconds:.0f} s"}
    await stream.message(notification("notifications/progress", told))


def _last(message: Message, running: "asyncio.Future[bytes]") -> bytes:
    try:
        return answer(message.id, running.result())
    except Refused as refused:
        refused.id = message.id
        return refused.body()

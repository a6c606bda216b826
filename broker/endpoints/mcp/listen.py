"""`subscriptions/listen` (2026-07-28): a stream on which a client hears that its tools, or prompts, have changed.

It ends with its bearer: at expiry, at once when the bearer, its identity or its tenant is taken away, and when this
process is about to stop. What has changed is not told; the client lists again, as whoever it then is.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from broker.domain import Caller, Resolved
from broker.endpoints.mcp.answers import complete
from broker.endpoints.mcp.rpc import INVALID_PARAMS, Refused, answer, notification
from broker.endpoints.mcp.sse import Stream, until_gone
from broker.endpoints.mcp.versions import META_SUBSCRIPTION
from broker.endpoints.mcp.visit import Visit
from broker.endpoints.rest.bounds import Receive, Send
from broker.tools.watching import Watch

if TYPE_CHECKING:
    from broker.services import Services

LONGEST: Final = timedelta(hours=1)
"""Then the client listens anew: a stream is no place to stay for good."""

PING_SECONDS: Final = 15.0

KINDS: Final[Mapping[str, str]] = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}
"""What can be listened to, and what is said then. One thing stirs them all: what the caller may use has changed."""


async def listen(services: "Services", visit: Visit, resolved: Resolved, receive: Receive, send: Send) -> None:
    """Serves one stream to its end. Raises Refused and Problem `rate_limited` before it has begun."""
    wanted = visit.message.params.get("notifications")
    if not isinstance(wanted, dict):
        raise Refused(INVALID_PARAMS, "params.notifications must say what to listen to")
    kinds = {member: method for member, method in KINDS.items() if wanted.get(member) is True}
    asked = visit.asked(visit.place.connection)
    with services.watching.watch(visit.token, asked, resolved.caller) as watch:
        await services.watching.look([watch])
        stream = Stream(send)
        meta = {META_SUBSCRIPTION: visit.message.id}
        honoured: dict[str, Any] = dict.fromkeys(kinds, True)
        told = {"notifications": honoured, "_meta": meta}
        gone = asyncio.ensure_future(until_gone(receive))
        watch.stirred.clear()
        try:
            await stream.message(notification("notifications/subscriptions/acknowledged", told))
            changed = [notification(method, {"_meta": meta}) for method in kinds.values()]
            if await _stream(stream, watch, gone, changed, _seconds(resolved.caller)):
                await stream.message(answer(visit.message.id, complete(visit.message, {"_meta": meta})))
                await stream.end()
        finally:
            gone.cancel()


async def _stream(
    stream: Stream, watch: Watch, gone: "asyncio.Future[None]", changed: Sequence[bytes], seconds: float
) -> bool:
    """Writes until the end; whether the client is still there to be told of it."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not watch.ended and loop.time() < until:
        stirred = asyncio.ensure_future(watch.stir())
        try:
            pause = min(PING_SECONDS, until - loop.time())
            await asyncio.wait({stirred, gone}, timeout=max(0.0, pause), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stirred.cancel()
        if gone.done():
            return False
        if not stirred.done():
            await stream.comment()
        elif not watch.ended:
            for told in changed:
                await stream.message(told)
    return True


def _seconds(caller: Caller) -> float:
    expires_at = caller.bearer.expires_at
    longest = LONGEST if expires_at is None else min(LONGEST, expires_at - caller.now)
    return max(0.0, longest.total_seconds())

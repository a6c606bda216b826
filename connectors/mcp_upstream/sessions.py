"""Handshake and sessions of servers before 2026-07-28, kept per server and credential in this process.

A session belongs to the credential that opened it: its key is a digest over both, so no engineer's request ever carries
another's session. An account that sends no credential has sealed bytes of its own for that. Losing a session costs a
handshake.
"""

import asyncio
import contextlib
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import orjson

from connectors.base import RawAnswer
from connectors.errors import ConnectorError, EgressRefused, UpstreamFault, UpstreamTimeout, UpstreamUnreachable
from connectors.mcp_upstream import wire

MAX_SESSIONS: Final = 2_000
TAKE_BACK_SECONDS: Final = 1.0

Post = Callable[[tuple[tuple[str, str], ...], bytes], Awaitable[RawAnswer]]
"""Sends one message of a call, within its deadline."""

_SESSION_ID = re.compile(r"[\x21-\x7e]{1,512}")


@dataclass(slots=True)
class _Session:
    """What a handshake agreed on. Ids are never used twice in a session."""

    version: str
    id: str | None
    next_id: "count[int]" = field(default_factory=lambda: count(2))


class Sessions:
    """One per process and connector."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, _Session] = OrderedDict()

    async def send(self, post: Post, key: bytes, body: bytes) -> tuple[RawAnswer, int]:
        """Sends a request in the session of `key`, opening it first where there is none; the answer and its id.

        A session that the server no longer knows (404, 2025-11-25 transports) is opened anew, once: the request it
        refused so was not carried out. Raises UpstreamFault, whose `sent` is of the request itself.
        """
        session = self._kept.get(key)
        for attempt in (1, 2):
            if session is None:
                opened = await self._open(post, key)
                if isinstance(opened, RawAnswer):
                    return opened, wire.ID
                session = opened
            id_ = next(session.next_id)
            try:
                raw = await post(_headers(session), wire.with_id(body, id_))
            except asyncio.CancelledError:
                await _take_back(post, session, id_)
                raise
            if raw.status != 404 or session.id is None or attempt == 2:
                break
            self._kept.pop(key, None)
            session = None
        return raw, id_

    async def _open(self, post: Post, key: bytes) -> _Session | RawAnswer:
        """The session, or the answer that refused the credential."""
        try:
            session = await _handshake(post)
        except (UpstreamTimeout, TimeoutError):
            raise UpstreamTimeout("the server did not finish its handshake in time", sent=False) from None
        except EgressRefused:
            raise
        except UpstreamFault as fault:
            raise UpstreamUnreachable(f"no session could be opened: {fault}", sent=False) from None
        if isinstance(session, RawAnswer):
            return session
        self._kept[key] = session
        if len(self._kept) > MAX_SESSIONS:
            self._kept.popitem(last=False)
        return session


async def _take_back(post: Post, session: _Session, id_: int) -> None:
    """Tells the server that nobody waits for an answer (2025-11-25, basic/utilities/cancellation): in this era hanging
    up does not. The call it belongs to is still open; whether the server hears it changes nothing."""
    params = {"requestId": id_, "reason": "the caller gave up"}
    message = orjson.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    with contextlib.suppress(ConnectorError, TimeoutError):
        async with asyncio.timeout(TAKE_BACK_SECONDS):
            await post(_headers(session), message)


def key_of(
    origin: str, path: str, query: str, headers: Sequence[tuple[str, str]], sealed: Sequence[bytes] = ()
) -> bytes:
    """The key of a server and credential: what of it is sent, and what is not."""
    own = [part.hex() for part in sealed]
    return hashlib.sha256(orjson.dumps([origin, path, query, [list(h) for h in headers], own])).digest()


def _headers(session: _Session) -> tuple[tuple[str, str], ...]:
    headers, _ = wire.request(session.version, "", {})
    return headers if session.id is None else (*headers, ("Mcp-Session-Id", session.id))


async def _handshake(post: Post) -> _Session | RawAnswer:
    params = {"protocolVersion": wire.LEGACY[0], "capabilities": {}, "clientInfo": dict(wire.CLIENT)}
    _, body = wire.request(wire.LEGACY[0], "initialize", params)
    headers, _ = wire.request(wire.LEGACY[0], "", {})
    raw = await post(headers[:2], body)
    if raw.status in (401, 403):
        return raw
    reply = wire.read_reply(raw, wire.ID)
    version = None if reply.result is None else reply.result.get("protocolVersion")
    if version not in wire.LEGACY:
        raise UpstreamUnreachable(f"it answered {raw.status} to initialize and agreed on no version", sent=True)
    given = raw.headers.get("mcp-session-id")
    if given is not None and _SESSION_ID.fullmatch(given) is None:
        raise UpstreamUnreachable("its session id is malformed", sent=True)
    session = _Session(version, given)
    # Whether the server took the notification shows with the next request.
    await post(_headers(session), b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    return session

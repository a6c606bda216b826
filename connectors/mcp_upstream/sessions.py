"""Handshake and sessions of servers before 2026-07-28, kept per server and credential in this process.

A session belongs to the credential that opened it: its key is a digest over both, so no engineer's request ever carries
another's session. An account that sends no credential has sealed bytes of its own for that. What the caller's client
can be asked is agreed on in the handshake, and so is part of the key. Losing a session costs a handshake.
"""

import asyncio
import contextlib
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import orjson

from connectors.base import Json, RawAnswer
from connectors.errors import ConnectorError, EgressRefused, UpstreamFault, UpstreamTimeout, UpstreamUnreachable
from connectors.mcp_upstream import wire
from connectors.mcp_upstream.line import Headers, Line
from connectors.mcp_upstream.listening import Listening
from connectors.mcp_upstream.streams import AnswerWatch

MAX_SESSIONS: Final = 2_000
TAKE_BACK_SECONDS: Final = 1.0

Ask = Callable[[Headers, bytes, int, Listening], Awaitable[RawAnswer]]
"""Sends a request, with the session's headers and under the id given; its answer."""

_SESSION_ID = re.compile(r"[\x21-\x7e]{1,512}")


@dataclass(frozen=True, slots=True)
class Client:
    """For whom a session is: what the server is told that its client can be asked, and which client that is, where it
    can be asked anything; all others share one."""

    capabilities: Mapping[str, Json] = field(default_factory=dict)
    name: str = ""


@dataclass(slots=True)
class _Session:
    """What a handshake agreed on. Ids are never used twice in a session."""

    version: str
    id: str | None
    next_id: "count[int]" = field(default_factory=lambda: count(2))
    listening: Listening = field(default_factory=Listening)


class Sessions:
    """One per process and connector."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, _Session] = OrderedDict()

    async def send(self, line: Line, client: Client, body: bytes, ask: Ask) -> tuple[RawAnswer, int]:
        """Sends a request in the session of this line and client, opening it first where there is none; the answer and
        its id.

        A session that the server no longer knows (404, 2025-11-25 transports) is opened anew, once: the request it
        refused so was not carried out. Raises UpstreamFault, whose `sent` is of the request itself.
        """
        key = key_of(line, client)
        session = self._kept.get(key)
        if session is not None:
            self._kept.move_to_end(key)  # those not used for longest go first
        for attempt in (1, 2):
            if session is None:
                opened = await self._open(line, client, key)
                if isinstance(opened, RawAnswer):
                    return opened, wire.ID
                session = opened
            id_ = next(session.next_id)
            try:
                raw = await ask(_headers(session), wire.with_id(body, id_), id_, session.listening)
            except asyncio.CancelledError:
                await _take_back(line, session, id_)
                raise
            if raw.status != 404 or session.id is None or attempt == 2:
                break
            self._kept.pop(key, None)
            session = None
        return raw, id_

    async def _open(self, line: Line, client: Client, key: bytes) -> _Session | RawAnswer:
        """The session, or the answer that refused the credential."""
        try:
            session = await _handshake(line, client.capabilities)
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


async def _take_back(line: Line, session: _Session, id_: int) -> None:
    """Tells the server that nobody waits for an answer (2025-11-25, basic/utilities/cancellation): in this era hanging
    up does not. The call it belongs to is still open; whether the server hears it changes nothing."""
    params = {"requestId": id_, "reason": "the caller gave up"}
    message = orjson.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    with contextlib.suppress(ConnectorError, TimeoutError):
        async with asyncio.timeout(TAKE_BACK_SECONDS):
            await line.tell(_headers(session), message)


def key_of(line: Line, client: Client) -> bytes:
    """The key of a session: the server, the credential (what of it is sent, and what is not), and the client."""
    server, credential = line.prepared, line.authorisation
    parts = {
        "server": [server.origin, server.path, server.query],
        "credential": [credential.headers, [part.hex() for part in credential.needles]],
        "client": [client.name, client.capabilities],
    }
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).digest()


def _headers(session: _Session) -> Headers:
    headers, _ = wire.request(session.version, "", {})
    return headers if session.id is None else (*headers, ("Mcp-Session-Id", session.id))


async def _handshake(line: Line, capabilities: Mapping[str, Json]) -> _Session | RawAnswer:
    params = {"protocolVersion": wire.LEGACY[0], "capabilities": capabilities, "clientInfo": dict(wire.CLIENT)}
    _, body = wire.request(wire.LEGACY[0], "initialize", params)
    headers, _ = wire.request(wire.LEGACY[0], "", {})
    raw = await line.post(headers[:2], body, AnswerWatch(wire.ID))
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
    await line.tell(_headers(session), b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    return session

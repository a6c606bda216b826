"""Answers as JSON and as streams, and sessions of older servers."""

import asyncio
from typing import Any

import orjson
import pytest

from connectors.base import RawAnswer
from connectors.errors import UpstreamUnreachable
from connectors.mcp_upstream import wire
from connectors.mcp_upstream.sessions import Sessions, key_of

Headers = tuple[tuple[str, str], ...]


def stream(text: bytes) -> RawAnswer:
    return RawAnswer(200, {"content-type": "text/event-stream; charset=utf-8"}, text)


def json(value: object, *, session: str | None = None) -> RawAnswer:
    more = {} if session is None else {"mcp-session-id": session}
    return RawAnswer(200, {"content-type": "application/json", **more}, orjson.dumps(value))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_streams(end: bytes) -> None:
    lines = [
        b": a comment",
        b"event: message",
        b'data: {"jsonrpc":"2.0","method":"notifications/progress"}',
        b"",
        b'data: {"jsonrpc":"2.0","id":1,',
        b'data: "result":{"a":1}}',
        b"",
        b"",
    ]
    assert wire.read_reply(stream(end.join(lines)), 1).result == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [b"", b"data: {\n\n", b'data: {"id":1,"result":{}}', b'data: {"id":2,"result":{}}\n\n', b"data: []\n\n"],
)
def test_streams_that_hold_no_answer(body: bytes) -> None:
    with pytest.raises(UpstreamUnreachable) as caught:
        wire.read_reply(stream(body), 1)
    assert caught.value.sent is True


@pytest.mark.parametrize("id_", ["1", 1.0, True, None, 2, [1]])
def test_only_the_very_id_is_an_answer(id_: object) -> None:
    with pytest.raises(UpstreamUnreachable):
        wire.read_reply(json({"jsonrpc": "2.0", "id": id_, "result": {}}), 1)


def test_a_result_and_an_error_at_once_is_neither() -> None:
    with pytest.raises(UpstreamUnreachable):
        wire.read_reply(json({"id": 1, "result": {}, "error": {"code": 1, "message": ""}}), 1)


def test_header_values_carry_anything() -> None:
    assert wire.header_value("plain text") == "plain text"
    for odd in ("é", "a\nb", " a", "=?base64?eA==?="):
        assert wire.header_value(odd).startswith("=?base64?")
        assert wire.header_value(odd).isascii()


class Older:
    """A server with sessions, which forgets them when told."""

    def __init__(self) -> None:
        self.sessions = 0
        self.known: set[str] = set()
        self.calls: list[tuple[str, int]] = []
        self.refuses = 0

    async def post(self, headers: Headers, body: bytes) -> RawAnswer:
        message, given = orjson.loads(body), dict(headers)
        if self.refuses:
            return RawAnswer(self.refuses, {}, b"")
        if message["method"] == "initialize":
            assert "Mcp-Session-Id" not in given
            self.sessions += 1
            self.known.add(f"s{self.sessions}")
            found = {"protocolVersion": "2025-06-18"}
            return json({"id": message["id"], "result": found}, session=f"s{self.sessions}")
        if given["Mcp-Session-Id"] not in self.known:
            return RawAnswer(404, {}, b"")
        assert given["MCP-Protocol-Version"] == "2025-06-18"
        if "id" not in message:
            return RawAnswer(202, {}, b"")
        self.calls.append((given["Mcp-Session-Id"], message["id"]))
        return json({"id": message["id"], "result": {}})


async def test_sessions_are_opened_once_and_again_where_lost() -> None:
    older, sessions = Older(), Sessions()
    _, body = wire.request("2025-11-25", "tools/call", {"name": "x"})
    key = key_of("https://a.example", "/mcp", "", (("Authorization", "Bearer x"),))
    for _ in range(2):
        raw, id_ = await sessions.send(older.post, key, body)
        assert wire.read_reply(raw, id_).result == {}
    older.known.clear()
    await sessions.send(older.post, key, body)
    other = key_of("https://a.example", "/mcp", "", (("Authorization", "Bearer y"),))
    await sessions.send(older.post, other, body)
    assert [session for session, _ in older.calls] == ["s1", "s1", "s2", "s3"], "one credential, one session"
    assert len(set(older.calls)) == 4, "no id twice in a session"


async def test_a_refused_handshake_is_the_answer() -> None:
    older, sessions = Older(), Sessions()
    older.refuses = 401
    raw, _ = await sessions.send(older.post, b"k", wire.request("2025-11-25", "tools/list", {})[1])
    assert raw.status == 401
    older.refuses = 500
    with pytest.raises(UpstreamUnreachable) as caught:
        await sessions.send(older.post, b"k", wire.request("2025-11-25", "tools/list", {})[1])
    assert caught.value.sent is False, "the request itself was not sent"


async def test_a_call_given_up_is_taken_back_in_its_session() -> None:
    older, sessions, begun = Older(), Sessions(), asyncio.Event()
    taken: list[Any] = []

    async def post(headers: tuple[tuple[str, str], ...], body: bytes) -> RawAnswer:
        message = orjson.loads(body)
        if message["method"] == "tools/call":
            taken.append(message["id"])
            begun.set()
            await asyncio.Event().wait()
        if message["method"] == "notifications/cancelled":
            taken.append((dict(headers)["Mcp-Session-Id"], message["params"]["requestId"]))
            raise UpstreamUnreachable("gone", sent=True)
        return await older.post(headers, body)

    _, body = wire.request("2025-11-25", "tools/call", {"name": "x"})
    running = asyncio.ensure_future(sessions.send(post, b"k", body))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert taken == [2, ("s1", 2)]

"""Answers as JSON and as streams, and sessions of older servers."""

import asyncio
from time import monotonic
from typing import Any

import orjson
import pytest

from connectors.auth import Authorisation
from connectors.base import Operation, Prepared, RawAnswer
from connectors.errors import UpstreamUnreachable
from connectors.mcp_upstream import wire
from connectors.mcp_upstream.line import Headers, Line
from connectors.mcp_upstream.listening import Listening
from connectors.mcp_upstream.sessions import Client, Sessions

ORIGIN = "https://a.example"


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
        self.told: list[Any] = []

    async def send(self, *, headers: Headers, body: bytes, **_: Any) -> RawAnswer:
        message, given = orjson.loads(body), dict(headers)
        if self.refuses:
            return RawAnswer(self.refuses, {}, b"")
        if message["method"] == "initialize":
            assert "Mcp-Session-Id" not in given
            self.sessions += 1
            self.told.append(message["params"]["capabilities"])
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


def line_to(server: Any, credential: str = "x") -> Line:
    operation = Operation("tool:t", "POST", "/tools/t", "write")
    prepared = Prepared(operation=operation, method="POST", origin=ORIGIN, path="/mcp", headers=(), body=b"", meters=())
    authorisation = Authorisation((("Authorization", f"Bearer {credential}"),), (credential.encode(),))
    return Line(server, prepared, authorisation, (ORIGIN,), monotonic() + 60)


async def send(sessions: Sessions, line: Line, body: bytes, client: Client | None = None) -> tuple[RawAnswer, int]:
    async def ask(headers: Headers, body: bytes, _id: int, _listening: Listening) -> RawAnswer:
        return await line.post(headers, body)

    return await sessions.send(line, client or Client(), body, ask)


async def test_sessions_are_opened_once_and_again_where_lost() -> None:
    older, sessions = Older(), Sessions()
    _, body = wire.request("2025-11-25", "tools/call", {"name": "x"})
    line = line_to(older)
    for _ in range(2):
        raw, id_ = await send(sessions, line, body)
        assert wire.read_reply(raw, id_).result == {}
    older.known.clear()
    await send(sessions, line, body)
    await send(sessions, line_to(older, "y"), body)
    assert [session for session, _ in older.calls] == ["s1", "s1", "s2", "s3"], "one credential, one session"
    assert len(set(older.calls)) == 4, "no id twice in a session"


async def test_a_client_that_can_be_asked_has_a_session_of_its_own() -> None:
    older, sessions = Older(), Sessions()
    _, body = wire.request("2025-11-25", "tools/call", {"name": "x"})
    form: dict[str, Any] = {"elicitation": {"form": {}}}
    for client in (Client(), Client(form, "priya:1"), Client(form, "priya:2"), Client(form, "priya:1"), Client()):
        await send(sessions, line_to(older), body, client)
    assert [session for session, _ in older.calls] == ["s1", "s2", "s3", "s2", "s1"]
    assert older.told == [{}, form, form]


async def test_a_session_in_use_is_not_pushed_out_by_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.mcp_upstream.sessions.MAX_SESSIONS", 2)
    older, sessions = Older(), Sessions()
    _, body = wire.request("2025-11-25", "tools/call", {"name": "x"})
    for made_up in range(4):
        await send(sessions, line_to(older), body)
        await send(sessions, line_to(older), body, Client({"roots": {}}, f"priya:{made_up}"))
    await send(sessions, line_to(older), body)
    assert [session for session, _ in older.calls][::2] == ["s1"] * 5


async def test_a_refused_handshake_is_the_answer() -> None:
    older, sessions = Older(), Sessions()
    older.refuses = 401
    raw, _ = await send(sessions, line_to(older), wire.request("2025-11-25", "tools/list", {})[1])
    assert raw.status == 401
    older.refuses = 500
    with pytest.raises(UpstreamUnreachable) as caught:
        await send(sessions, line_to(older), wire.request("2025-11-25", "tools/list", {})[1])
    assert caught.value.sent is False, "the request itself was not sent"


async def test_a_call_given_up_is_taken_back_in_its_session() -> None:
    older, sessions, begun = Older(), Sessions(), asyncio.Event()
    taken: list[Any] = []

    class Slow:
        async def send(self, *, headers: Headers, body: bytes, **more: Any) -> RawAnswer:
            message = orjson.loads(body)
            if message["method"] == "tools/call":
                taken.append(message["id"])
                begun.set()
                await asyncio.Event().wait()
            if message["method"] == "notifications/cancelled":
                taken.append((dict(headers)["Mcp-Session-Id"], message["params"]["requestId"]))
                raise UpstreamUnreachable("gone", sent=True)
            return await older.send(headers=headers, body=body, **more)

    _, body = wire.request("2025-11-25", "tools/call", {"name": "x"})
    running = asyncio.ensure_future(send(sessions, line_to(Slow()), body))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert taken == [2, ("s1", 2)]

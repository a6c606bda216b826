"""Whose a session with an older server is."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from connectors.base import Operation, Prepared, RawAnswer
from connectors.mcp_upstream import wire
from connectors.mcp_upstream.config import check_credential
from connectors.mcp_upstream.connector import McpConnector
from vault.secret import Secret

ORIGIN = "https://mcp.example.com"
VERSION = "2025-06-18"


class Server:
    """Hands out session ids, and remembers in which session each tool was called."""

    def __init__(self) -> None:
        self.opened = 0
        self.called_in: list[str | None] = []

    async def send(self, *, headers: Any, body: bytes, **_: Any) -> RawAnswer:
        asked = orjson.loads(body)
        given = {"content-type": "application/json"}
        if asked["method"] == "initialize":
            self.opened += 1
            return self._answer(asked, {"protocolVersion": VERSION}, {**given, "mcp-session-id": f"s{self.opened}"})
        if "id" not in asked:
            return RawAnswer(202, {}, b"")
        self.called_in.append(dict(headers).get("Mcp-Session-Id"))
        return self._answer(asked, {"content": []}, given)

    @staticmethod
    def _answer(asked: Mapping[str, Any], result: Any, headers: dict[str, str]) -> RawAnswer:
        return RawAnswer(200, headers, orjson.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}))


async def _call(connector: McpConnector, server: Server, kind: str, secret: bytes) -> None:
    headers, body = wire.request(VERSION, "tools/call", {"name": "t", "arguments": {}})
    operation = Operation("tool:t", "POST", "/tools/t", "write")
    prepared = Prepared(
        operation=operation, method="POST", origin=ORIGIN, path="/mcp", headers=headers, body=body, meters=()
    )
    http: Any = server
    await connector.send(http, prepared, kind, Secret(secret), allowed_origins=(ORIGIN,), timeout_seconds=30)


@pytest.mark.parametrize(
    "credential",
    [{"kind": "none"}, {"kind": "bearer", "token": "a"}, {"kind": "header", "name": "X-Key", "value": "a"}],
)
async def test_a_session_is_one_accounts_even_where_nothing_is_sent(credential: dict[str, str]) -> None:
    connector, server = McpConnector(), Server()
    kind, ones, _ = check_credential(credential)
    others = check_credential(credential if kind == "none" else {**credential, list(credential)[-1]: "b"})[1]
    for secret in (ones, others, ones):
        await _call(connector, server, kind, secret)
    assert server.called_in == ["s1", "s2", "s1"]

"""Clients of the older eras are asked while their call waits, by servers of either era."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ElicitRequestParams, ElicitResult

from bench.harness import Installed
from tests.e2e.mcp.conftest import Endpoint
from tests.e2e.mcp_upstream.conftest import Connect, Connected, McpServers

ABLE: dict[str, Any] = {"elicitation": {"form": {}}}
ADA = {"action": "accept", "content": {"name": "Ada"}}


@pytest.fixture
def up(servers: McpServers, connect: Connect) -> Connected:
    """A server of the handshake era."""
    return connect(f"{servers.url}/asks/mcp", asks_while_waiting=True)


class Person:
    """Who answers every form with the same name, and what they were asked."""

    def __init__(self, *, answers: bool = True) -> None:
        self.asked: list[str] = []
        self.answers = answers

    async def __call__(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
        self.asked.append(params.message)
        return (
            ElicitResult(action="accept", content={"name": "Ada"}) if self.answers else ElicitResult(action="decline")
        )


@asynccontextmanager
async def client(running: Installed[Any], up: Connected, person: Person | None) -> AsyncIterator[Client]:
    """The SDK's client of 2025-11-25."""
    headers, url = {"authorization": f"Bearer {up.api.key}"}, f"{running.url}/t/{up.kit.name}/mcp"
    # No connection is used twice: each request may reach the other process.
    limits = httpx2.Limits(max_keepalive_connections=0)
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, limits=limits, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode="legacy", elicitation_callback=person) as made,
    ):
        yield made


def text(result: CallToolResult) -> str:
    return str(getattr(result.content[0], "text", ""))


async def test_a_person_is_asked_by_an_older_server(running_server: Installed[Any], up: Connected) -> None:
    person = Person()
    async with client(running_server, up, person) as made:
        for _ in range(6):
            assert text(await made.call_tool("up_greets", {})) == "accept:Ada"
        assert text(await made.call_tool("up_greets", {"times": 3})) == "accept:Ada accept:Ada accept:Ada"
        assert text(await made.call_tool("up_greets_aside", {})) == "accept:Ada"
        together = await asyncio.gather(*(made.call_tool("up_greets", {}) for _ in range(8)))
        assert {text(result) for result in together} == {"accept:Ada"}
        person.answers = False
        assert text(await made.call_tool("up_greets", {})) == "decline:"
    assert set(person.asked) == {"up asks: What is your name?"}


async def test_and_by_a_newer_one(running_server: Installed[Any], servers: McpServers, connect: Connect) -> None:
    up = connect(f"{servers.url}/everything/mcp", asks_while_waiting=True)
    person = Person()
    async with client(running_server, up, person) as made:
        done = await made.call_tool("up_test_input_required_result_elicitation", {})
        assert text(done) == "Hello, Ada!"
    assert person.asked == ["up asks: What is your name?"]


async def test_nobody_is_asked_who_cannot_be_or_where_no_admin_wants_it(
    running_server: Installed[Any], servers: McpServers, connect: Connect, up: Connected
) -> None:
    async with client(running_server, up, None) as made:
        assert (await made.call_tool("up_greets", {})).is_error
    quiet = connect(f"{servers.url}/asks/mcp", "quiet")
    person = Person()
    async with client(running_server, quiet, person) as made:
        assert (await made.call_tool("quiet_greets", {})).is_error
    assert person.asked == []


def test_a_session_is_given_only_to_whom_something_may_be_asked(
    servers: McpServers, connect: Connect, up: Connected
) -> None:
    connect(f"{servers.url}/asks/mcp", "quiet")

    def begun(capabilities: Any, path: str = "") -> str | None:
        here = Endpoint(up.api, f"/t/{up.kit.name}/mcp{path}")
        params = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "t"}}
        reply = here.legacy("initialize", params)
        assert reply.status_code == 200
        found: str | None = reply.headers.get("mcp-session-id")
        return found

    assert str(begun(ABLE)).endswith(".f")
    assert str(begun({"elicitation": {"form": {}, "url": {}}, "roots": {}, "sampling": {}})).endswith(".furs")
    useless: list[Any] = [{}, {"elicitation": None}, [], "x", {"tools": {}}]
    for nothing in useless:
        assert begun(nothing) is None
    assert begun(ABLE, "/quiet") is None
    assert begun(ABLE, "/nowhere") is None
    assert begun(ABLE) != begun(ABLE)


def asking(up: Connected) -> "tuple[Endpoint, dict[str, str], dict[str, Any]]":
    here = Endpoint(up.api, f"/t/{up.kit.name}/mcp")
    headers = {**here.headers, "mcp-protocol-version": "2025-11-25", "mcp-session-id": f"{'A' * 22}.f"}
    params = {"name": "up_greets", "arguments": {}}
    return here, headers, {"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": params}


def test_only_the_one_who_was_asked_can_answer(up: Connected) -> None:
    here, headers, body = asking(up)
    other = up.kit.identity()
    up.kit.grant({"identifier": other}, "destructive", "up")
    theirs = up.kit.stand.server.api(up.kit.session(other)["token"])

    def post(api: Any, id_: object, result: object) -> int:
        message = {"jsonrpc": "2.0", "id": id_, "result": result}
        given = {**here.headers, "mcp-protocol-version": "2025-11-25"}
        return int(api.send("POST", here.path, json=message, headers=given).status_code)

    with here.api.http.stream("POST", here.path, json=body, headers=headers) as reply:
        lines = (json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: "))
        question = next(lines)
        assert question["method"] == "elicitation/create"
        id_ = question["id"]
        for wrong in (id_[:-1] + ("A" if id_[-1] != "A" else "B"), id_ + "x", "", 7, None, "x" * 5_000):
            assert post(up.api, wrong, ADA) in (202, 400)
        for _ in range(4):  # either process
            assert post(theirs, id_, {"action": "accept", "content": {"name": "Eve"}}) == 202
        for _ in range(4):
            assert post(up.api, id_, ADA) == 202
        assert next(lines)["result"]["content"][0]["text"] == "accept:Ada", "and the first answer holds"
    theirs.close()


def test_an_answer_that_cannot_be_used_is_none(up: Connected) -> None:
    here, headers, body = asking(up)
    for result in ({"error": {"code": -1, "message": "no"}}, {"result": 5}, {"result": {"content": "x" * 6_000}}):
        with here.api.http.stream("POST", here.path, json=body, headers=headers) as reply:
            lines = (json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: "))
            message = {"jsonrpc": "2.0", "id": next(lines)["id"], **result}
            assert here.post(message, mcp_protocol_version="2025-11-25").status_code == 202
            assert next(lines)["result"]["isError"]

"""Whoever is known and refused over MCP is on record, once, with the reason; a message without form is not."""

import select
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from bench.harness import Installed
from bench.kit import Api, TenantKit
from tests.e2e.mcp.conftest import Endpoint, message
from tests.e2e.mcp.test_listen import listening
from tests.e2e.mcp_upstream.conftest import Connected, McpServers

LISTEN = {"notifications": {"toolsListChanged": True}}
LARGE = 26 * 1024 * 1024


class Rig:
    """An engineer on two connections, and others who ask for what they may not have."""

    def __init__(self, installed: Installed[McpServers]) -> None:
        self.installed = installed
        self.kit: TenantKit = installed.tenant()
        self.other: TenantKit = installed.tenant()
        self.path = f"/t/{self.kit.name}/mcp"
        self._open: list[Api] = []
        identifier = self.kit.identity()
        for name in ("up", "aside"):
            config = {"url": f"{installed.upstream.url}/everything/mcp"}
            wanted = {"name": name, "connector": "mcp", "config": config}
            self.kit.platform.ok("POST", "/v1/connections", wanted)
            credential = {"kind": "bearer", "token": "good-token"}
            body = {"connection_name": name, "identifier": identifier, "credential": credential}
            self.kit.admin.ok("PUT", "/v1/connected_accounts", body)
            self.kit.grant({"identifier": identifier}, "destructive", name)
        self.engineer = Connected(self.kit, "up", identifier)
        self.stranger = self.kit.identity()

    def at(self, rest: str = "", *, path: str | None = None) -> Endpoint:
        """The engineer at the tenant's URL, or below it."""
        return Endpoint(self.engineer.api, path or self.path + rest)

    def by(self, token: str, rest: str = "", **headers: str) -> Endpoint:
        """Somebody else there."""
        self._open.append(self.kit.stand.server.api(token))
        return Endpoint(self._open[-1], self.path + rest, headers)

    def anew(self) -> None:
        """The engineer with another session: a flood is one of a bearer's."""
        self._open.append(self.engineer.api)
        self.engineer.api = self.kit.stand.server.api(self.kit.session(self.engineer.identifier)["token"])

    def refusals(self) -> dict[str, dict[str, Any]]:
        """What is on record, by id."""
        items = self.kit.admin.ok("GET", "/v1/audit/events?kind=refusal&page_size=200")["items"]
        return {item["id"]: item for item in items}

    def close(self) -> None:
        for api in (*self._open, self.engineer.api):
            api.close()
        self.kit.close()
        self.other.close()


@pytest.fixture(scope="module")
def rig(running_server: Installed[McpServers]) -> Iterator[Rig]:
    made = Rig(running_server)
    yield made
    made.close()


Act = Callable[[Rig], Any]


@dataclass(frozen=True)
class Case:
    """One refusal: how it comes about, and what is to be on record of it."""

    act: Act
    reason: str
    facts: Mapping[str, Any]


def case(act: Act, reason: str, **facts: Any) -> Case:
    return Case(act, reason, facts)


def asks(method: str, rest: str = "", *, meta: Mapping[str, Any] | None = None, **params: Any) -> Act:
    """The engineer asks."""
    return lambda rig: rig.at(rest).ask(method, params, **(meta or {}))


def calls(name: str, arguments: Any = None, rest: str = "", **more: Any) -> Act:
    """The engineer calls a tool."""
    return asks("tools/call", rest, name=name, arguments=arguments or {}, **more)


def older(method: str, **params: Any) -> Act:
    return lambda rig: rig.at().legacy(method, params)


def narrowed(rig: Rig) -> Any:
    token = rig.kit.session(rig.engineer.identifier, connections=["aside"])["token"]
    assert rig.by(token, "/up").ask("tools/list").status_code == 403


def stranger(rig: Rig) -> Any:
    rig.by(rig.kit.session(rig.stranger)["token"]).ask("tools/call", {"name": "up_waits", "arguments": {}})


def agent(identifiers: list[str], named: str | None) -> Act:
    def act(rig: Rig) -> Any:
        key = rig.kit.key("agent", identifiers=identifiers)["key"]
        headers = {} if named is None else {"x-keyreeve-identifier": named}
        assert rig.by(key, **headers).ask("tools/list").status_code in (403, 404, 422)

    return act


def operator(rig: Rig) -> Any:
    assert rig.by(rig.kit.key("operator", role="auditor")["key"]).ask("tools/list").status_code == 403


def elsewhere(rig: Rig) -> Any:
    assert rig.at(path=f"/t/{rig.other.name}/mcp").ask("tools/list").status_code == 401


def streams(rig: Rig) -> Any:
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(listening(rig.at()))
        assert rig.at().ask("subscriptions/listen", LISTEN).status_code == 429


def large(rig: Rig) -> Any:
    """Three announce more than there is room for; no byte of it is sent, and one of them is told."""
    host, _, port = rig.installed.url.removeprefix("http://").partition(":")
    head = (
        f"POST {rig.path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {rig.engineer.api.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {LARGE}\r\n\r\n"
    )
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(3)]
        for sock in socks:
            sock.sendall(head.encode())
        told, _, _ = select.select(socks, [], [], 30)
        assert [sock.recv(12) for sock in told] == [b"HTTP/1.1 429"]


FORGED: dict[str, Any] = {"inputResponses": {"confirm": {"action": "accept"}}, "requestState": "forged"}
NO_DEADLINE = {"keyreeve/deadline_seconds": "soon"}
PROMPT = {"type": "ref/prompt", "name": "up_none"}
ARGUMENT = {"name": "a", "value": "b"}
CODEMODE = "?codemode=search_and_execute"

CASES: dict[str, Case] = {
    # tools
    "a tool that is not there": case(calls("up_none"), "unknown_tool", tool_name="up_none", connection_name="up"),
    "a name that no tool has": case(calls("No!"), "unknown_tool", tool_name="No!"),
    "a connection that is not there": case(calls("nowhere_tool"), "unknown_connection", tool_name="nowhere_tool"),
    "a tool that the URL leaves out": case(
        calls("up_test_simple_text", rest="?tools=up_waits"), "unknown_tool", tool_name="up_test_simple_text"
    ),
    "a tool of another connection's URL": case(
        calls("up_waits", rest="/aside"), "unknown_tool", tool_name="aside_up_waits", connection_name="aside"
    ),
    "a tool without an account": case(stranger, "not_connected", tool_name="up_waits", connection_name="up"),
    "a limit that is none": case(calls("up_waits", meta=NO_DEADLINE), "invalid_input", tool_name="up_waits"),
    "an account that is none": case(calls("up_waits", {"connected_account_id": "x"}), "invalid_input"),
    "a state that was forged": case(calls("up_waits", **FORGED), "invalid_input", tool_name="up_waits"),
    "answers that are none": case(calls("up_waits", inputResponses=5), "invalid_input"),
    "a listing of nowhere": case(asks("tools/list", "/nowhere"), "unknown_connection", operation="tools/list"),
    "a listing from nowhere": case(asks("tools/list", cursor=""), "invalid_input", operation="tools/list"),
    # the other shapes
    "discover: another tool": case(calls("up_waits", rest="?discover=1"), "unknown_tool"),
    "discover: a tool that is not there": case(calls("call_tool", {"name": "up_none"}, "?discover=1"), "unknown_tool"),
    "discover: a search for nothing": case(calls("find_tools", {"query": 5}, "?discover=1"), "invalid_input"),
    "portal: another tool": case(calls("up_waits", rest=CODEMODE), "unknown_tool"),
    "portal: no program": case(calls("execute", rest=CODEMODE), "invalid_input", tool_name="execute"),
    "portal: a key": case(
        calls("execute", {"code": "1"}, CODEMODE, meta={"keyreeve/idempotency_key": "k"}), "invalid_input"
    ),
    # prompts, resources, completions
    "a prompt that is not there": case(asks("prompts/get", name="up_none"), "not_found", operation="prompts/get"),
    "a prompt's wrong arguments": case(
        asks("prompts/get", name="up_test_simple_prompt", arguments={"a": 1}), "invalid_input", tool_name="up_prompts"
    ),
    "a prompt's forged state": case(asks("prompts/get", name="up_test_simple_prompt", **FORGED), "invalid_input"),
    "prompts from nowhere": case(asks("prompts/list", cursor=5), "invalid_input", operation="prompts/list"),
    "a resource that nobody has": case(asks("resources/read", uri="no+a:b"), "not_found", operation="resources/read"),
    "an older client's resource": case(older("resources/read", uri="no+a:b"), "not_found", operation="resources/read"),
    "resources from nowhere": case(asks("resources/list", cursor="x"), "invalid_input", operation="resources/list"),
    "resources too late": case(
        asks("resources/list", "/up", meta=NO_DEADLINE), "invalid_input", tool_name="up_resources", connection_name="up"
    ),
    "a subscription to what nobody has": case(older("resources/subscribe", uri="no+a:b"), "not_found"),
    "a completion of no prompt": case(
        asks("completion/complete", ref=PROMPT, argument=ARGUMENT), "not_found", operation="completion/complete"
    ),
    "a completion of no template": case(
        asks("completion/complete", ref={"type": "ref/resource", "uri": "a:b"}, argument=ARGUMENT), "not_found"
    ),
    "a completion of nothing": case(asks("completion/complete", ref={}), "invalid_input"),
    # streams, and who may come in
    "a stream for nothing": case(asks("subscriptions/listen"), "invalid_input", operation="subscriptions/listen"),
    "a stream too many": case(streams, "rate_limited", operation="subscriptions/listen"),
    "a large body too many": case(large, "rate_limited"),
    "a connection out of reach": case(narrowed, "forbidden", connection_name="up"),
    "an agent key for nobody": case(agent(["*"], None), "invalid_input", identifier=None),
    "an agent key for somebody else": case(agent(["a@acme.example"], "b@acme.example"), "forbidden", identifier=None),
    "an agent key for nobody known": case(agent(["*"], "b@acme.example"), "unknown_identity", identifier=None),
    "an operator key": case(operator, "forbidden", identifier=None),
    "another tenant's URL": case(elsewhere, "forbidden"),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_refusal_is_on_record(rig: Rig, kind: str) -> None:
    wanted = CASES[kind]
    rig.anew()
    before = rig.refusals()
    wanted.act(rig)
    found = [item for id_, item in rig.refusals().items() if id_ not in before]
    assert [item["reason"] for item in found] == [wanted.reason], found
    assert wanted.facts.items() <= {**dict.fromkeys(wanted.facts), **found[0]}.items()
    assert found[0]["outcome"] == "refused"


def test_a_message_without_form_is_not(rig: Rig) -> None:
    before = rig.refusals()
    here = rig.at()
    for wrong in ([], [message("ping")], 5, {"jsonrpc": "1.0"}, {**message("ping"), "method": 5}):
        assert here.post(wrong, mcp_protocol_version="2026-07-28").status_code == 400
    assert here.ask("no/method").status_code == 404
    assert here.legacy("tools/call", {"name": 5}).json()["error"]["code"] == -32602
    # What a server behind us refuses is on record as its call.
    assert here.ask("resources/read", {"uri": "up+test://none"}).status_code == 400
    assert rig.refusals() == before


def test_a_flood_of_them_is_counted(rig: Rig) -> None:
    here = rig.by(rig.kit.session(rig.stranger)["token"])
    before = rig.refusals()
    for _ in range(30):
        here.ask("prompts/get", {"name": "up_none"})
    assert len(rig.refusals().keys() - before.keys()) == 20

"""What a server behind us asks of the caller's client, how far it says it is, and calls that are given up."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.mcp.conftest import Endpoint
from tests.e2e.mcp.test_listen import stream
from tests.e2e.mcp_upstream.conftest import Connect, Connected, McpServers

ABLE = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
NAMED = {"user_name": {"action": "accept", "content": {"name": "Ada"}}}
CONFIRMED = {"confirm": {"action": "accept", "content": {"ok": True}}}


def at(up: Connected) -> Endpoint:
    """The engineer at the tenant's URL."""
    return Endpoint(up.api, f"/t/{up.kit.name}/mcp")


def asked(here: Endpoint, tool: str, arguments: Any = None, *, able: Any = None, **more: Any) -> httpx.Response:
    """A tools/call by a client that can be asked."""
    params = {"name": tool, "arguments": arguments or {}, **more}
    return here.ask("tools/call", params, capabilities=ABLE if able is None else able)


@pytest.fixture
def up(servers: McpServers, connect: Connect) -> Connected:
    return connect(f"{servers.url}/everything/mcp", asks=["elicitation", "sampling", "roots"])


def test_a_person_is_asked_and_told_who_asks(up: Connected) -> None:
    here = at(up)
    first = asked(here, "up_test_input_required_result_elicitation").json()["result"]
    assert first["resultType"] == "input_required"
    request = first["inputRequests"]["user_name"]
    assert request["params"]["message"] == "up asks: What is your name?"
    assert "requestState" not in first
    done = asked(here, "up_test_input_required_result_elicitation", inputResponses=NAMED).json()["result"]
    assert done["content"][0]["text"] == "Hello, Ada!"


def test_a_servers_state_comes_back_to_it_alone(up: Connected) -> None:
    here, tool = at(up), "up_test_input_required_result_request_state"
    state = asked(here, tool).json()["result"]["requestState"]
    assert "confirming" not in state, "what the server says to itself is not the client's to read"
    done = asked(here, tool, inputResponses=CONFIRMED, requestState=state).json()["result"]
    assert done["content"][0]["text"] == "state-ok"


def test_a_state_that_was_forged_or_moved_is_refused(up: Connected) -> None:
    here, tool = at(up), "up_test_input_required_result_request_state"
    state = asked(here, tool).json()["result"]["requestState"]

    def refused(where: Endpoint, name: str = tool, given: Any = state, **arguments: Any) -> None:
        reply = asked(where, name, arguments, inputResponses=CONFIRMED, requestState=given)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, -32602), reply.text

    for forged in (
        state[:-2] + ("AA" if state[-2:] != "AA" else "BB"),
        state + "x",
        "",
        "confirming.0",
        5,
        None,
        [state],
    ):
        refused(here, given=forged)
    refused(here, changed=True)
    refused(here, "up_test_input_required_result_tampered_state")
    refused(Endpoint(up.api, f"/t/{up.kit.name}/mcp/up"))
    other = up.kit.identity()
    up.kit.grant({"identifier": other}, "destructive", "up")
    body = {"connection_name": "up", "identifier": other, "credential": {"kind": "bearer", "token": "good-token"}}
    up.kit.admin.ok("PUT", "/v1/connected_accounts", body)
    api = up.kit.stand.server.api(up.kit.session(other)["token"])
    refused(Endpoint(api, here.path))
    mine = asked(Endpoint(api, here.path), tool).json()["result"]["requestState"]
    refused(here, given=mine)
    api.close()


def test_only_what_client_and_admin_allow_is_asked(servers: McpServers, up: Connected) -> None:
    here = at(up)
    sample = "up_test_input_required_result_sampling"
    assert "capital_question" in asked(here, sample).json()["result"]["inputRequests"]
    for able in ({}, {"elicitation": {}}, {"sampling": "yes"}):
        refused = asked(here, sample, able=able).json()["result"]
        assert refused["isError"], "a client that did not declare it is not asked"
        assert "Keyreeve passes no such request on" in refused["content"][0]["text"]
    missing = asked(here, "up_test_missing_capability", able={})
    assert missing.status_code == 400
    assert missing.json()["error"]["data"] == {"requiredCapabilities": {"sampling": {}}}
    version = up.kit.admin.ok("GET", "/v1/connections/up")["version"]
    config = {"url": f"{servers.url}/everything/mcp"}
    up.kit.platform.ok("PATCH", "/v1/connections/up", {"config": config, "version": version})
    assert asked(here, sample).json()["result"]["isError"], "sampling is not asked for unless an admin says so"
    wanted = asked(here, "up_test_input_required_result_capabilities").json()["result"]["inputRequests"]
    assert list(wanted) == ["user_name"]
    assert up.call("test_input_required_result_elicitation")["is_error"], "REST has nobody to ask"


def test_credentials_are_asked_for_in_no_form_and_pages_are_https(up: Connected) -> None:
    here = at(up)
    refused = asked(here, "up_asks_for_a_password").json()["result"]
    assert refused["isError"]
    assert "reads like a credential" in refused["content"][0]["text"]
    page = asked(here, "up_opens_a_page", {"url": "https://docs.example/a"}).json()["result"]
    assert page["inputRequests"]["page"]["params"]["url"] == "https://docs.example/a"
    for url in ("http://docs.example/", "javascript:alert(1)", "https://a b", "file:///etc/passwd"):
        assert asked(here, "up_opens_a_page", {"url": url}).json()["result"]["isError"]


def test_answers_that_nobody_asked_for(up: Connected) -> None:
    here = at(up)
    for wrong in (None, 5, [], {"user_name": 5}):
        reply = asked(here, "up_test_input_required_result_elicitation", inputResponses=wrong)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, -32602)
    once = {"keyreeve/idempotency_key": "k1"}
    params = {"name": "up_test_input_required_result_elicitation", "arguments": {}}
    reply = here.ask("tools/call", params, capabilities=ABLE, **once)
    assert reply.json()["result"]["isError"], "an answer that is kept is no question"


def test_progress_arrives_while_the_call_runs(servers: McpServers, up: Connected) -> None:
    params = {"name": "up_waits", "arguments": {}}
    with stream(at(up), "tools/call", params, progressToken="mine") as events:
        heard: list[dict[str, Any]] = []
        while len(heard) < 3:
            event = events.next()
            assert event is not None
            # A sign of life of our own, on a machine that is busy, has no total.
            heard += [event["params"]] if "total" in event["params"] else []
        begun = heard[0]["progress"]
        assert [{**told, "progress": told["progress"] - begun, "total": told["total"] - begun} for told in heard] == [
            {"progressToken": "mine", "progress": n, "total": 100, "message": f"{n} %"} for n in (0, 50, 100)
        ]
        mine = [t for t in became(servers) if t["name"] == "waits"]
        assert mine[-1] == {"name": "waits", "token": "progress", "became": "started"}
    # The client has hung up: the server's side ends, and the audit says how.
    until(lambda: [t for t in became(servers) if t["name"] == "waits"][-1]["became"] == "cancelled")
    until(lambda: outcome(up, "tool:waits") == "cancelled")


def test_without_a_token_nothing_is_told(up: Connected) -> None:
    reply = at(up).ask("tools/call", {"name": "up_test_tool_with_progress", "arguments": {}})
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["result"]["content"] == [{"type": "text", "text": "done"}]


def test_an_older_client_hears_progress_and_takes_its_call_back(servers: McpServers, up: Connected) -> None:
    here = at(up)
    params = {"name": "up_waits", "arguments": {}, "_meta": {"progressToken": 7}}
    body = {"jsonrpc": "2.0", "id": "call-1", "method": "tools/call", "params": params}
    headers = {**here.headers, "mcp-protocol-version": "2025-11-25"}
    with here.api.http.stream("POST", here.path, json=body, headers=headers) as reply:
        lines = (line for line in reply.iter_lines() if line.startswith("data: "))
        first = json.loads(next(lines).removeprefix("data: "))
        assert first["params"]["progressToken"] == 7
        until(lambda: became(servers)[-1:] == [{"name": "waits", "token": "progress", "became": "started"}])
        other = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "call-2"}}
        assert here.post(other, mcp_protocol_version="2025-11-25").status_code == 202
        assert became(servers)[-1]["became"] == "started", "another's request is not this one"
        mine = {**other, "params": {"requestId": "call-1", "reason": "enough"}}
        assert here.post(mine, mcp_protocol_version="2025-11-25").status_code == 202
        assert all("result" not in json.loads(line.removeprefix("data: ")) for line in lines)
    until(lambda: became(servers)[-1]["became"] == "cancelled")
    until(lambda: outcome(up, "tool:waits") == "cancelled")


def test_a_prompt_asks_too(up: Connected) -> None:
    here, params = at(up), {"name": "up_test_input_required_result_prompt"}
    first = here.ask("prompts/get", params, capabilities=ABLE).json()["result"]
    assert first["inputRequests"]["user_context"]["params"]["message"].startswith("up asks: ")
    answers = {"user_context": {"action": "accept", "content": {"context": "tests"}}}
    done = here.ask("prompts/get", {**params, "inputResponses": answers}, capabilities=ABLE).json()["result"]
    assert done["messages"][0]["content"]["text"] == "Context: tests"


def became(servers: McpServers) -> list[dict[str, Any]]:
    """What became of the streamed calls of the fixture server."""
    found: list[dict[str, Any]] = httpx.get(f"{servers.url}/everything/told", trust_env=False).json()
    return found


def outcome(up: Connected, operation: str) -> str | None:
    """How the newest call of an operation ended."""
    items = up.kit.admin.ok("GET", "/v1/audit/events")["items"]
    return next((item["outcome"] for item in items if item.get("operation") == operation), None)


def until(holds: Callable[[], bool]) -> None:
    """Waits until it holds, at most half a minute."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)

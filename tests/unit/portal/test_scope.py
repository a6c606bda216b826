"""What a program may name, and what it is told of it."""

import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from broker.errors import Problem
from broker.tools.codemode.portal.asked import Shown
from broker.tools.codemode.portal.scope import DEFINITIONS_BYTES, Api, Scope, told

CONNECT = {
    "connection_name": "gh",
    "reason": "not_connected",
    "hint": "connect",
    "fix": "user",
    "connect_url": "http://x/c",
}


def shown(name: str, description: str = "d") -> Shown:
    schema = {"type": "object", "properties": {"text": {"type": "string", "description": description}}}
    return Shown(name, name, {"name": name, "title": name, "description": description, "inputSchema": schema})


def scope(*names: str, **more: Any) -> Scope:
    tools: Mapping[str, Shown] = {name: shown(name) for name in names}
    apis = {"cf": Api("cf", execute=True, search=True)}
    return Scope(**{"tools": tools, "apis": apis, "unavailable": (CONNECT,), "programs": {"cf_execute": "cf"}} | more)


def refused(within: Scope, name: str) -> Problem:
    with pytest.raises(Problem) as caught:
        within.tool(name)
    return caught.value


def test_unknown_tools() -> None:
    within = scope("up_echo", "my-up_send-mail")
    assert within.tool("up_echo").full_name == "up_echo"
    assert "`up_echo`" in (refused(within, "up_ecko").hint or "")
    assert "`my-up_send-mail`" in (refused(within, "my_up_send_mail").hint or "")
    assert "`up_echo`" in (refused(within, "echo").hint or "")
    assert 'connections["cf"]' in (refused(within, "cf_execute").hint or "")
    assert refused(within, "gh_search_issues").extra == {"connect_url": "http://x/c"}
    for odd in ("__proto__", "constructor", "then", "", "x" * 128):
        assert refused(within, odd).code == "unknown_tool"


def test_apis() -> None:
    within = scope()
    assert within.api(None, to="execute").name == within.api("cf", to="search").name == "cf"
    with pytest.raises(Problem, match="no connection 'nope'"):
        within.api("nope", to="execute")
    closed = scope(apis={"cf": Api("cf", search=True), "dns": Api("dns", search=True)})
    with pytest.raises(Problem, match="not_granted"):
        closed.api("cf", to="execute")
    with pytest.raises(Problem, match="name the connection"):
        closed.api(None, to="search")
    with pytest.raises(Problem, match="no connection has an API"):
        closed.api(None, to="execute")


def test_definitions_are_given_where_they_are_asked_for() -> None:
    within = scope("up_echo")
    assert told(within, definitions=False)["tools"] == [{"name": "up_echo", "connection": "up"}]
    whole = told(within, definitions=True)
    assert whole["tools"][0]["inputSchema"]["type"] == "object"
    assert whole["unavailable"] == [
        {"connection": "gh", "available": False, **{k: v for k, v in CONNECT.items() if k != "connection_name"}}
    ]


@pytest.mark.parametrize(("length", "schemas"), [(100, True), (900, False), (9_000, False)])
def test_definitions_are_bounded(length: int, schemas: bool) -> None:
    tools = {f"up_t{n}": shown(f"up_t{n}", f"{n} " + "x" * length) for n in range(1000)}
    found = told(scope(tools=tools), definitions=True)["tools"]
    assert len(found) == 1000
    assert len(orjson.dumps(found)) <= DEFINITIONS_BYTES * 1.2
    assert ("inputSchema" in json.dumps(found[0])) is schemas

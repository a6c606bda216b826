"""Configurations and credentials that are taken, and those that are not."""

from typing import Any

import pytest

from connectors.errors import InvalidConfig, InvalidInput
from connectors.mcp_upstream.config import check_config, check_credential
from connectors.mcp_upstream.naming import tool_name
from connectors.mcp_upstream.ready import READY


def test_defaults() -> None:
    assert check_config({"url": "HTTPS://MCP.example.com/mcp"}) == {
        "url": "https://mcp.example.com/mcp",
        "prefix": True,
        "read_tools": [],
        "asks": ["elicitation"],
        "asks_while_waiting": False,
        "auth": "any",
    }
    assert check_config({"url": "https://mcp.example.com"})["url"] == "https://mcp.example.com/"
    assert check_config({"url": "https://mcp.example.com/a?b=c"})["url"] == "https://mcp.example.com/a?b=c"
    for ready in READY.values():
        assert check_config({"ready": ready.name})["url"] == ready.url
        assert ready.url.startswith("https://")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"url": 1},
        {"url": "mcp.example.com"},
        {"url": "https://user:pw@mcp.example.com/"},
        {"url": "https://mcp.example.com/#x"},
        {"url": "https://mcp.example.com/../x"},
        {"url": "https://mcp.example.com\\@evil.example/"},
        {"url": "file:///etc/passwd"},
        {"url": "https://mcp.example.com/\r\nX: y"},
        {"ready": "unknown"},
        {"ready": "github", "url": "https://evil.example/"},
        {"url": "https://a.example/", "prefix": 1},
        {"url": "https://a.example/", "read_tools": "all"},
        {"url": "https://a.example/", "read_tools": [1]},
        {"url": "https://a.example/", "asks": "elicitation"},
        {"url": "https://a.example/", "asks": ["passwords"]},
        {"url": "https://a.example/", "asks_while_waiting": "yes"},
        {"url": "https://a.example/", "more": 1},
    ],
)
def test_refused_configurations(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        check_config(config)


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"kind": "oauth"},
        {"kind": "bearer"},
        {"kind": "bearer", "token": "a b"},
        {"kind": "bearer", "token": "a\r\nX: y"},
        {"kind": "none", "token": "x"},
        {"kind": "header", "name": "Cookie", "value": "x"},
        {"kind": "header", "name": "Mcp-Session-Id", "value": "x"},
        {"kind": "header", "name": "Host", "value": "x"},
        {"kind": "header", "name": "X-Forwarded-For", "value": "x"},
        {"kind": "header", "name": "X Y", "value": "x"},
        {"kind": "header", "name": "X-Key", "value": "x\ny"},
        {"kind": "header", "name": "X-Key", "value": "schlüssel"},
    ],
)
def test_refused_credentials(credential: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        check_credential(credential)


def test_names_are_short_safe_and_stable() -> None:
    assert tool_name("up", "list_zones") == "up_list_zones"
    assert tool_name("up", "connect") != "up_connect"
    assert tool_name("up", "a.b") != tool_name("up", "a/b")
    assert tool_name("up", "é") == tool_name("up", "é")
    assert len(tool_name("a" * 24, "x" * 128)) <= 60

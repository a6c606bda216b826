"""Finding tools by words."""

from typing import Any

import pytest

from broker.endpoints.mcp import discovery
from broker.errors import Problem

TOOLS: list[dict[str, Any]] = [
    {"name": f"cf_{name}", "title": title, "description": text, "inputSchema": {}, "annotations": {}}
    for name, title, text in (
        ("dns-list", "List DNS records", "Records of a zone."),
        ("purge", "Purge the cache", "Drops what is cached of a zone."),
        ("zones", "List zones", "Zones you may see."),
    )
]


def names(**arguments: Any) -> list[str]:
    return [tool["name"] for tool in discovery.find(TOOLS, [], arguments)["tools"]]


def test_the_best_come_first() -> None:
    assert names(query="dns records")[0] == "cf_dns-list"
    assert names(query="PURGE cache") == ["cf_purge"]
    assert names(query="zone", limit=1) == ["cf_zones"]
    assert names(query="") == ["cf_dns-list", "cf_purge", "cf_zones"]
    assert names(query="kubernetes") == []


@pytest.mark.parametrize(
    "arguments", [{}, {"query": 1}, {"query": "x", "limit": 0}, {"query": "x", "limit": True}, {"query": "x", "q": 1}]
)
def test_wrong_questions(arguments: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        discovery.find(TOOLS, [], arguments)


def test_a_call_inside_a_call() -> None:
    assert discovery.read_call({"name": "cf_x"}) == ("cf_x", {})
    assert discovery.read_call({"name": "cf_x", "arguments": {"a": 1}}) == ("cf_x", {"a": 1})
    for wrong in ({}, {"name": ""}, {"name": "x", "arguments": []}, {"name": "x", "zone": 1}):
        with pytest.raises(Problem):
            discovery.read_call(wrong)

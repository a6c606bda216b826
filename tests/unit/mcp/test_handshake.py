"""What a session id of the older eras says, and what nobody can make it say."""

from typing import Any

import pytest

from broker.endpoints.mcp.handshake import capabilities_of, session_id

BOTH: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}}


@pytest.mark.parametrize(
    ("declared", "read"),
    [
        ({"elicitation": {}}, {"elicitation": {"form": {}}}),
        ({"elicitation": {"form": {"applyDefaults": True}}}, {"elicitation": {"form": {}}}),
        ({"elicitation": {"url": {}}}, {"elicitation": {"url": {}}}),
        (BOTH, BOTH),
        ({"sampling": {"tools": {}}, "roots": {"listChanged": True}}, {"sampling": {}, "roots": {}}),
        ({**BOTH, "sampling": {}, "roots": {}, "tools": {}}, {**BOTH, "sampling": {}, "roots": {}}),
    ],
)
def test_it_says_what_the_client_declared(declared: dict[str, Any], read: dict[str, Any]) -> None:
    found = session_id(declared)
    assert found is not None
    assert capabilities_of(found) == read
    assert found != session_id(declared)


@pytest.mark.parametrize("declared", [None, {}, [], "elicitation", {"elicitation": True}, {"tools": {}}])
def test_who_can_be_asked_nothing_has_none(declared: Any) -> None:
    assert session_id(declared) is None


@pytest.mark.parametrize(
    "given", [None, "", ".f", "A" * 22, "A" * 22 + ".", "A" * 22 + ".x", "A" * 23 + ".f", "A" * 9_000]
)
def test_other_ids_say_nothing(given: str | None) -> None:
    assert capabilities_of(given) == {}

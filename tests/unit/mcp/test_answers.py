"""Results as the protocol's own schemas want them, in each era."""

from typing import Any
from uuid import UUID

import orjson
import pytest
from mcp_types import methods

from broker.endpoints.mcp import answers, discovery
from broker.endpoints.mcp.message import Message
from broker.endpoints.mcp.visit import problem_object
from broker.errors import Problem
from broker.tools.results import Result

EXECUTION = UUID(int=7)
MODERN = Message("2026-07-28", 1, "x", {})
LEGACY = Message("2025-11-25", 1, "x", {"protocolVersion": "2025-06-18"})
BOTH = pytest.mark.parametrize("message", [MODERN, LEGACY], ids=["modern", "legacy"])


def valid(method: str, message: Message, encoded: bytes) -> dict[str, Any]:
    """The result, if the SDK takes it as one of that method at that version."""
    found: dict[str, Any] = orjson.loads(encoded)
    methods.validate_server_result(method, message.version, found)
    return found


@BOTH
def test_a_tool_s_answer(message: Message) -> None:
    result = Result(EXECUTION, is_error=False, data=orjson.Fragment(b'{"n":12345678901234567890123}'))
    found = valid("tools/call", message, answers.complete(message, answers.tool_result(result)))
    assert found["content"] == [{"type": "text", "text": '{"n":12345678901234567890123}'}]
    assert found["isError"] is False
    assert found["_meta"]["keyreeve/execution_id"] == str(EXECUTION)
    assert ("resultType" in found) is message.modern


@BOTH
def test_an_error_is_structured(message: Message) -> None:
    error = {"code": "upstream_error", "detail": "no such zone", "fix": "model", "status": 404}
    result = Result(EXECUTION, is_error=True, data={"success": False}, error=error, warnings=("look out",))
    found = valid("tools/call", message, answers.complete(message, answers.tool_result(result)))
    assert found["isError"] is True
    assert found["structuredContent"] == error
    assert found["content"][-1]["text"] == "look out"


def test_what_a_program_printed_follows_its_answer() -> None:
    result = Result(EXECUTION, is_error=False, data=1, logs=({"level": "warn", "text": "slow"}, "x"))
    assert answers.tool_result(result)["content"][1:] == [{"type": "text", "text": "warn: slow\nlog: x"}]


@BOTH
def test_a_refusal_is_a_result_and_holds_no_secret(message: Message) -> None:
    token = "krv_st_" + "a" * 60
    problem = Problem("budget_exhausted", f"about {token}", retry_after=7, execution_id=str(EXECUTION))
    found = valid("tools/call", message, answers.complete(message, answers.refusal(problem)))
    assert found["isError"] is True
    assert found["structuredContent"]["retry_after"] == 7
    assert set(found["structuredContent"]) == {"code", "detail", "fix", "retry_after", "execution_id"}
    assert token not in str(found)


def test_what_is_only_for_http_is_left_out() -> None:
    assert set(problem_object(Problem("unavailable", "x"))) == {"code", "detail", "fix"}


@BOTH
def test_lists(message: Message) -> None:
    found = valid("tools/list", message, answers.listing(message, {"tools": [*discovery.TOOLS]}))
    assert found.get("cacheScope") == ("private" if message.modern else None)


def test_beginnings() -> None:
    found = valid("server/discover", MODERN, answers.discovered(MODERN))
    assert found["supportedVersions"] == ["2026-07-28"]
    begun = valid("initialize", LEGACY, answers.initialized(LEGACY))
    assert begun["protocolVersion"] == "2025-06-18"
    unknown = Message("2025-11-25", 1, "x", {"protocolVersion": "1999-01-01"})
    assert valid("initialize", unknown, answers.initialized(unknown))["protocolVersion"] == "2025-11-25"

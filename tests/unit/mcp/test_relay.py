"""Progress told on: only of this very call, only ever more, and bounded."""

import json
import math
from typing import Any

from broker.endpoints.mcp.message import Message
from broker.endpoints.mcp.relay import MAX_MESSAGE, MAX_TOLD, MAX_WAITING, Relay
from connectors.mcp_upstream.rounds import PROGRESS


def relay(token: object = "mine") -> Relay:
    return Relay(Message("2026-07-28", 1, "tools/call", {}, {"progressToken": token}))


def told(progress: object, token: object = PROGRESS, **more: Any) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": token, "progress": progress, **more}}


def heard(one: Relay) -> list[dict[str, Any]]:
    return [json.loads(message)["params"] for message in one.take()]


def test_it_is_told_under_the_callers_token() -> None:
    one = relay(7)
    one.hear(told(0.5, total=1, message="a\u200bb"))
    assert one.arrived.is_set()
    assert heard(one) == [{"progressToken": 7, "progress": 0.5, "total": 1, "message": "ab"}]
    assert not one.arrived.is_set()


def test_what_is_not_of_this_call_is_dropped() -> None:
    one = relay()
    for message in (
        told(1, token="other"),
        told("1"),
        told(True),
        told(math.nan),
        {"method": "notifications/message", "params": {}},
        {"method": "notifications/progress"},
    ):
        one.hear(message)
    assert heard(one) == []
    for token in (None, True, 1.5, [], "x" * 1001):
        deaf = relay(token)
        deaf.hear(told(1))
        assert heard(deaf) == []
        assert deaf.runs(5) is None


def test_it_only_grows() -> None:
    one = relay()
    for progress in (1, 1, 0, 3, 2):
        one.hear(told(progress))
    assert [p["progress"] for p in heard(one)] == [1, 3]
    assert one.runs(60) is None, "the server tells how far it is: we need not"


def test_what_the_server_tells_follows_what_we_told() -> None:
    one = relay()
    assert one.runs(5.04) is not None
    one.hear(told(0.1, total=1))
    one.hear(told(1, total=1))
    assert heard(one) == [
        {"progressToken": "mine", "progress": 5.1, "total": 6.0},
        {"progressToken": "mine", "progress": 6.0, "total": 6.0},
    ]


def test_it_is_bounded() -> None:
    one = relay()
    one.hear(told(0, message="m" * 10_000))
    assert len(heard(one)[0]["message"]) == MAX_MESSAGE
    for n in range(1, MAX_TOLD + 500):
        one.hear(told(n))
    waiting = heard(one)
    assert len(waiting) == MAX_WAITING
    assert waiting[-1]["progress"] == MAX_TOLD - 1

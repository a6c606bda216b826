"""What the server behind a call says before its answer, told on where its caller waits: how far the call is, and what
it asks the caller's client (of the older eras, which answer while the call waits).

It is heard where the call is sent; the two are in different tasks of one process. What is told of the progress only
ever grows, as the protocol wants (2026-07-28, basic/utilities/progress), also where we told the caller that the call
runs before the server said anything.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from broker.domain import Caller
from broker.endpoints.mcp.message import Message
from broker.endpoints.mcp.rpc import notification
from broker.tools.questions import Questions
from broker.tools.results import dumps
from connectors.mcp_upstream.rounds import PROGRESS
from connectors.mcp_upstream.screening import screen

MAX_WAITING: Final = 64
MAX_TOLD: Final = 2_000
"""Notifications of one call; more tell nobody anything."""
MAX_MESSAGE: Final = 500
MAX_READ: Final = 2_000
"""Characters of a message that are looked at: looking for what hides costs more than the rest of a notification."""

Json = dict[str, Any]


class Relay:
    """One call's. `token` is the caller's own, None where it wants to hear nothing of the progress; `questions` is
    there where its client can be asked."""

    def __init__(self, message: Message, questions: Questions | None = None) -> None:
        token = message.meta.get("progressToken")
        valid = isinstance(token, str | int) and not isinstance(token, bool) and len(str(token)) <= 1_000
        self.token: str | int | None = token if valid else None
        self.questions = questions
        self.arrived = asyncio.Event()
        self.heard = 0
        self._waiting: deque[Json] = deque(maxlen=MAX_WAITING)
        self._asked: dict[str, Json] = {}
        self._last = -math.inf
        self._shift = 0.0

    @property
    def speaks(self) -> bool:
        """Whether anything may have to be told on before the answer."""
        return self.token is not None or self.questions is not None

    async def ask(self, caller: Caller, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Puts a request (`{method, params}`) to the caller's client, for as long as the call waits; its result."""
        if self.questions is None:
            return None
        with self.questions.put(caller) as (id_, answer):
            self._asked[id_] = {"jsonrpc": "2.0", "id": id_, **request}
            self.arrived.set()
            try:
                return await answer
            finally:
                self._asked.pop(id_, None)

    def hear(self, message: Mapping[str, Any]) -> None:
        """A notification of the server's. Any but the progress of this very call is dropped."""
        params = message.get("params")
        if message.get("method") != "notifications/progress" or not isinstance(params, Mapping):
            return
        progress, total = _number(params.get("progress")), _number(params.get("total"))
        if self.token is None or params.get("progressToken") != PROGRESS or progress is None:
            return
        if self.heard >= MAX_TOLD:
            return
        if not self.heard and self._last > 0:
            self._shift = self._last
        value = progress + self._shift if self._shift else progress
        if value <= self._last:
            return
        self.heard += 1
        self._last = value
        told: Json = {"progressToken": self.token, "progress": value}
        if total is not None:
            told["total"] = total + self._shift if self._shift else total
        if isinstance(params.get("message"), str):
            told["message"] = screen(params["message"][:MAX_READ], MAX_MESSAGE).text
        self._waiting.append(told)
        self.arrived.set()

    def runs(self, seconds: float) -> bytes | None:
        """A notification that the call runs still, where the server tells nothing itself; None: nothing to be told."""
        if self.token is None or self.heard:
            return None
        self._last = round(seconds, 1)
        told = {"progressToken": self.token, "progress": self._last, "message": f"running for {seconds:.0f} s"}
        return notification("notifications/progress", told)

    def take(self) -> list[bytes]:
        """What was heard and asked since the last time, as messages."""
        self.arrived.clear()
        asked, self._asked = self._asked, {}
        taken = [dumps(question) for question in asked.values()]
        taken += [notification("notifications/progress", told) for told in self._waiting]
        self._waiting.clear()
        return taken


def _number(value: object) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value

"""Questions to the clients of calls under way, and their answers: these come in requests of their own (MCP until
2025-11-25), and so to whichever process of the installation they happen to reach.

A question's id is sealed for the identity it is put to: nobody makes one up, and nobody answers another's. An answer
for a process elsewhere is sealed too, for what people type into forms is for no other reader of the database's notices.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
import structlog

from broker.clock import Clock
from broker.db.notices import TROUBLE, Notices
from broker.domain import Caller
from broker.errors import Problem
from broker.tools.carried import Carried

_log = structlog.get_logger(__name__)

CHANNEL: Final = "keyreeve_answered"

MAX_ANSWER: Final = 5_000
"""Bytes of one answer: sealed and spelled out it fits into a notice, which holds less than 8,000."""
MAX_ID: Final = 100
TELLING: Final = 8
"""Answers on their way to other processes at a time; others wait."""

Reply = Mapping[str, Any] | None
"""A client's result; None where it refused, or said what cannot be used."""


class Questions:
    """One per process."""

    def __init__(self, notices: Notices, carried: Carried, clock: Clock) -> None:
        self._notices = notices
        self._carried = carried
        self._clock = clock
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._telling = asyncio.Semaphore(TELLING)
        notices.hear(CHANNEL, self._heard)

    @contextlib.contextmanager
    def put(self, caller: Caller) -> "Iterator[tuple[str, asyncio.Future[Reply]]]":
        """The id of a question to this caller's client, and its answer once that comes."""
        id_ = self._carried.seal(_bound(caller), self._clock.now())
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = answer
        try:
            yield id_, answer
        finally:
            del self._waiting[id_]
            answer.cancel()

    async def answered(self, caller: Caller, id_: object, reply: Reply) -> None:
        """A client's answer: handed to the call that waits for it, wherever it runs. What answers no question that was
        put to this identity is nothing."""
        if not isinstance(id_, str) or len(id_) > MAX_ID:
            return
        now = self._clock.now()
        try:
            self._carried.open(id_, _bound(caller), now)
        except Problem:
            return
        content = _content(reply)
        if id_ in self._waiting:
            self._hand_over(id_, content)
            return
        sealed = self._carried.seal(id_.encode(), now, content)
        try:
            async with self._telling:
                await self._notices.tell(CHANNEL, f"{id_} {sealed}")
        except TROUBLE as error:
            _log.warning("answer_not_told", error=type(error).__name__)

    def _heard(self, payload: str) -> None:
        id_, _, sealed = payload.partition(" ")
        if id_ in self._waiting:
            with contextlib.suppress(Problem):
                self._hand_over(id_, self._carried.open(sealed, id_.encode(), self._clock.now()))

    def _hand_over(self, id_: str, content: bytes) -> None:
        answer = self._waiting[id_]
        if not answer.done():
            answer.set_result(orjson.loads(content))


def _content(reply: Reply) -> bytes:
    """The answer as it travels: none where it is too long, or holds a number that JSON has but few can read."""
    try:
        content = orjson.dumps(reply)
    except orjson.JSONEncodeError:
        return b"null"
    return content if len(content) <= MAX_ANSWER else b"null"


def _bound(caller: Caller) -> bytes:
    identity = None if caller.identity is None else str(caller.identity.id)
    return orjson.dumps(["question", str(caller.tenant_id), identity])

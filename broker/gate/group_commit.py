"""Group commit: statements of one kind that are wanted at the same time share a round trip, a transaction and a flush.

While statements of this process are under way, those that come after them wait, at most for one's end, and then go
together. With nothing under way a statement goes at once and by itself: a quiet server pays nothing, and the busier it
is, the less each costs. A group commits or fails as a whole.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar

Asked = TypeVar("Asked")
Got = TypeVar("Got")
_In = TypeVar("_In", contravariant=True)
_Out = TypeVar("_Out", covariant=True)

LANES: Final = 2
"""Groups of one kind under way at once: one is in the database while the other's answers are read."""
MOST: Final = 32
"""Members of a group: bounds for how long one flush holds locks."""


class Statement(Protocol[_In, _Out]):
    """What is asked. An answer of None from `alone` or `together`: nothing was done, and it is to be asked `patiently`.

    `repeatable`: asking twice does what asking once does, so whoever is cancelled need not wait for the group's end.
    """

    repeatable: bool

    async def alone(self, asked: _In) -> _Out | None:
        """Asks one, and waits for no lock that somebody may hold for long."""

    async def together(self, asked: Sequence[_In]) -> Sequence[_Out | None]:
        """Asks several in one transaction, in their order, and waits for no lock that somebody may hold for long."""

    async def patiently(self, asked: _In) -> _Out:
        """Asks one, and waits for whatever it must wait for."""

    def order(self, asked: _In) -> bytes:
        """Sorts a group: rows are locked in an order that is the same in every process."""


class _Member(Generic[Asked, Got]):
    """One that waits. `group`: the task that has its statement under way."""

    __slots__ = ("answer", "asked", "group")

    def __init__(self, asked: Asked, answer: "asyncio.Future[Got | None]") -> None:
        self.asked = asked
        self.answer = answer
        self.group: asyncio.Task[None] | None = None


class GroupCommit(Generic[Asked, Got]):
    """One per kind of statement and process."""

    def __init__(self, statement: Statement[Asked, Got]) -> None:
        self._statement = statement
        self._under_way = 0
        self._waiting: deque[_Member[Asked, Got]] = deque()

    async def ask(self, asked: Asked) -> Got:
        """The answer to one. Raises what the statement raises; where `together` raises, every member of the group.

        Cancelled before its group has left, nothing was asked. Cancelled later, the group's end is waited for, unless
        the statement is repeatable: whoever then undoes what was asked comes after it.
        """
        found = await (self._at_once(asked) if self._under_way < LANES and not self._waiting else self._in_group(asked))
        return await self._statement.patiently(asked) if found is None else found

    async def _at_once(self, asked: Asked) -> Got | None:
        self._under_way += 1
        try:
            return await self._statement.alone(asked)
        finally:
            self._lane_free()

    async def _in_group(self, asked: Asked) -> Got | None:
        member: _Member[Asked, Got] = _Member(asked, asyncio.get_running_loop().create_future())
        self._waiting.append(member)
        try:
            return await member.answer
        except asyncio.CancelledError:
            if member.group is not None and not self._statement.repeatable:
                await asyncio.wait([member.group])
            raise

    def _lane_free(self) -> None:
        """Whoever waits takes it."""
        group: list[_Member[Asked, Got]] = []
        while self._waiting and len(group) < MOST:
            member = self._waiting.popleft()
            if not member.answer.done():  # else its caller has left
                group.append(member)
        if not group:
            self._under_way -= 1
            return
        group.sort(key=lambda m: self._statement.order(m.asked))
        task = asyncio.get_running_loop().create_task(self._run(group))
        for member in group:
            member.group = task

    async def _run(self, group: Sequence[_Member[Asked, Got]]) -> None:
        """Answers every member, whatever happens, and leaves the lane."""
        try:
            answers = await self._statement.together([m.asked for m in group])
        except Exception as error:  # noqa: BLE001 - it is each member's to handle
            for member in group:
                if not member.answer.done():
                    member.answer.set_exception(error)
        else:
            for member, answer in zip(group, answers, strict=True):
                if not member.answer.done():
                    member.answer.set_result(answer)
        finally:
            for member in group:
                member.answer.cancel()  # no effect but where this task itself was cancelled
            self._lane_free()

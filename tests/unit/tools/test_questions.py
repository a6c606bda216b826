"""Questions and their answers: between processes, and between people."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from broker.tools.carried import Carried
from broker.tools.questions import CHANNEL, MAX_ANSWER, Questions
from tests.unit.policy.facts import NOW, caller

ADA = {"action": "accept", "content": {"name": "Ada"}}


class Notices:
    """Hands every notice to all processes; keeps what went over the wire."""

    def __init__(self) -> None:
        self.hearers: list[Callable[[str], None]] = []
        self.told: list[str] = []

    def hear(self, channel: str, heard: Callable[[str], None]) -> None:
        assert channel == CHANNEL
        self.hearers.append(heard)

    async def tell(self, channel: str, payload: str) -> None:
        assert channel == CHANNEL
        assert len(payload.encode()) < 8_000
        self.told.append(payload)
        for heard in self.hearers:
            heard(payload)


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at


def process(notices: Any, clock: Clock | None = None) -> Questions:
    return Questions(notices, Carried(b"k" * 32), clock or Clock())


PRIYA = caller()
ALEX = replace(PRIYA, identity=replace(PRIYA.identity, id=UUID(int=99)))  # type: ignore[type-var]
ELSEWHERE = replace(PRIYA, tenant_id=UUID(int=98))


@pytest.mark.parametrize("through", [0, 1])
async def test_an_answer_reaches_the_call_whichever_process_it_comes_to(through: int) -> None:
    notices = Notices()
    processes = [process(notices), process(notices)]
    with processes[0].put(PRIYA) as (id_, answer):
        await processes[through].answered(PRIYA, id_, ADA)
        assert await answer == ADA
        await processes[through].answered(PRIYA, id_, {"action": "cancel"})
        assert answer.result() == ADA, "the first one holds"
    assert len(notices.told) == 2 * through
    assert "Ada" not in "".join(notices.told)
    await processes[0].answered(PRIYA, id_, ADA)


async def test_nobody_else_answers_and_nothing_is_told_of_what_was_never_asked() -> None:
    notices = Notices()
    here, there = process(notices), process(notices)
    with here.put(PRIYA) as (id_, answer):
        for who in (ALEX, ELSEWHERE, replace(PRIYA, identity=None)):
            for where in (here, there):
                await where.answered(who, id_, ADA)
        for wrong in (None, 7, "", "x", id_ + "x", id_[:-4] + "AAAA", "x" * 9_000):
            await there.answered(PRIYA, wrong, ADA)
        assert notices.told == []
        assert not answer.done()


async def test_answers_are_bounded_and_questions_expire() -> None:
    notices, clock = Notices(), Clock()
    here, there = process(notices, clock), process(notices, clock)
    with here.put(PRIYA) as (id_, answer):
        await there.answered(PRIYA, id_, {"content": "x" * MAX_ANSWER})
        assert await answer is None
    with here.put(PRIYA) as (id_, answer):
        await there.answered(PRIYA, id_, {"content": "x" * (MAX_ANSWER - 100)})
        assert await answer is not None
    with here.put(PRIYA) as (id_, answer):
        clock.at += timedelta(hours=1)
        await there.answered(PRIYA, id_, ADA)
        assert not answer.done()


@pytest.mark.parametrize("odd", [{"content": {"n": 2**70}}, {"content": {"n": -(2**64)}}])
async def test_an_answer_that_json_of_others_cannot_hold_is_none(odd: Any) -> None:
    notices = Notices()
    here, there = process(notices), process(notices)
    for where in (here, there):
        with here.put(PRIYA) as (id_, answer):
            await where.answered(PRIYA, id_, odd)
            assert await answer is None


async def test_a_notice_that_is_none_of_ours_is_nothing() -> None:
    notices = Notices()
    here = process(notices)
    with here.put(PRIYA) as (id_, answer):
        for payload in ("", " ", "x y", id_, f"{id_} ", f"{id_} AAAA", f"{id_} {id_}"):
            await notices.tell(CHANNEL, payload)
        assert not answer.done()


async def test_a_database_that_is_away_loses_the_answer_and_no_more() -> None:
    class Away(Notices):
        async def tell(self, channel: str, payload: str) -> None:
            raise ConnectionResetError

    away = Away()
    here, there = process(away), process(away)
    with here.put(PRIYA) as (id_, answer):
        await there.answered(PRIYA, id_, ADA)
        assert not answer.done()

"""Who goes with whom, who waits, and what a fault or a leaving caller does to the others."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.gate.group_commit import LANES, MOST, GroupCommit


class Table:
    """A statement that answers `n * 2`, when it is let. Negative: a fault; 1000 and above: only patiently."""

    def __init__(self, *, repeatable: bool = False) -> None:
        self.repeatable = repeatable
        self.groups: list[list[int]] = []
        self.patient: list[int] = []
        self.let = asyncio.Event()
        self.let_group = self.let
        self.open = 0
        self.most_open = 0

    async def _go(self, let: asyncio.Event) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await let.wait()
        finally:
            self.open -= 1

    async def alone(self, asked: int) -> int | None:
        self.groups.append([asked])
        await self._go(self.let)
        return self._answer(asked)

    async def together(self, asked: Sequence[int]) -> Sequence[int | None]:
        self.groups.append(list(asked))
        await self._go(self.let_group)
        return [self._answer(a) for a in asked]

    async def patiently(self, asked: int) -> int:
        self.patient.append(asked)
        return asked * 2

    def order(self, asked: int) -> bytes:
        return abs(asked).to_bytes(4, "big")

    def _answer(self, asked: int) -> int | None:
        if asked < 0:
            raise ValueError(asked)
        return None if asked >= 1000 else asked * 2


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_with_nothing_under_way_a_statement_goes_at_once_and_alone() -> None:
    table = Table()
    table.let.set()
    group: GroupCommit[int, int] = GroupCommit(table)
    assert [await group.ask(n) for n in (3, 1, 2)] == [6, 2, 4]
    assert table.groups == [[3], [1], [2]]


async def test_those_that_come_meanwhile_go_together_in_order_and_no_more_than_fit() -> None:
    table = Table()
    group: GroupCommit[int, int] = GroupCommit(table)
    asked = list(range(LANES + MOST + 3, 0, -1))
    tasks = [asyncio.create_task(group.ask(n)) for n in asked]
    await _settled()
    assert len(table.groups) == LANES, "the rest waits"
    table.let.set()
    assert await asyncio.gather(*tasks) == [n * 2 for n in asked]
    waited = sorted(asked[LANES:], reverse=True)
    assert table.groups[LANES:] == [sorted(waited[:MOST]), sorted(waited[MOST:])]
    assert table.most_open == LANES


async def test_what_cannot_be_had_at_once_is_asked_patiently_and_outside_the_lanes() -> None:
    table = Table()
    table.let.set()
    group: GroupCommit[int, int] = GroupCommit(table)
    assert await asyncio.gather(*(group.ask(n) for n in (1000, 1, 2, 2000, 3))) == [2000, 2, 4, 4000, 6]
    assert sorted(table.patient) == [1000, 2000]


async def test_a_fault_is_every_members_of_its_group_and_nobody_elses() -> None:
    table = Table()
    group: GroupCommit[int, int] = GroupCommit(table)
    first = [asyncio.create_task(group.ask(n)) for n in range(LANES)]
    bad = [asyncio.create_task(group.ask(n)) for n in (7, -8, 9)]
    await _settled()
    table.let.set()
    found = await asyncio.gather(*first, *bad, return_exceptions=True)
    assert found[:LANES] == [n * 2 for n in range(LANES)]
    assert [type(f) for f in found[LANES:]] == [ValueError] * 3
    assert await group.ask(5) == 10, "the lane is free again"


async def test_whoever_leaves_before_its_group_was_never_asked() -> None:
    table = Table()
    group: GroupCommit[int, int] = GroupCommit(table)
    tasks = [asyncio.create_task(group.ask(n)) for n in range(LANES + 3)]
    await _settled()
    tasks[LANES].cancel()
    table.let.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[LANES], asyncio.CancelledError)
    assert table.groups[LANES:] == [[LANES + 1, LANES + 2]]


@pytest.mark.parametrize("repeatable", [False, True])
async def test_whoever_leaves_later_comes_after_its_group_unless_repeating_is_harmless(repeatable: bool) -> None:
    table = Table(repeatable=repeatable)
    table.let_group = asyncio.Event()
    group: GroupCommit[int, int] = GroupCommit(table)
    first = [asyncio.create_task(group.ask(n)) for n in range(LANES)]
    late = [asyncio.create_task(group.ask(n)) for n in (7, 8)]
    await _settled()
    table.let.set()
    await asyncio.gather(*first)
    await _settled()
    assert table.groups[-1] == [7, 8]
    late[0].cancel()
    await _settled()
    assert late[0].done() is repeatable
    table.let_group.set()
    assert await late[1] == 16, "the others are not disturbed"
    with pytest.raises(asyncio.CancelledError):
        await late[0]


@given(
    asked=st.lists(st.integers(0, 1200), min_size=1, max_size=120),
    pauses=st.lists(st.integers(0, 3), min_size=1, max_size=10),
    leaving=st.sets(st.integers(0, 119)),
)
@settings(max_examples=60, deadline=None)
def test_everyone_gets_the_answer_to_its_own_question(asked: list[int], pauses: list[int], leaving: set[int]) -> None:
    async def run() -> None:
        table = Table()
        table.let.set()
        group: GroupCommit[int, int] = GroupCommit(table)
        tasks = []
        for n, one in enumerate(asked):
            tasks.append(asyncio.create_task(group.ask(one)))
            for _ in range(pauses[n % len(pauses)]):
                await asyncio.sleep(0)
            if n in leaving:
                tasks[n].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for n, one in enumerate(asked):
            assert found[n] == one * 2 or (n in leaving and isinstance(found[n], asyncio.CancelledError))
        assert all(len(g) <= MOST for g in table.groups)
        assert table.most_open <= LANES
        assert await group.ask(4) == 8
        assert table.groups[-1] == [4], "no lane was lost"

    asyncio.run(run())

"""Calls of one principal, and calls that are refused, at once in two processes: no two groups stand in a circle."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.gate.round_trips import Admission, AdmitStatement
from broker.ids import new_id
from connectors.base import Meter
from tests.integration.gate.world import Node, Upstream, World

MANY = Meter("rest", 1200, 300)
FEW = Meter("graphql", 320, 300)


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of groups of admissions that were undone."""
    found: list[int] = []
    together = AdmitStatement.together

    async def admits(it: AdmitStatement, asked: Sequence[Admission]) -> Any:
        answers = await together(it, asked)
        if all(a is None for a in answers):
            found.append(len(asked))
        return answers

    monkeypatch.setattr(AdmitStatement, "together", admits)
    return found


async def test_calls_of_one_and_of_two_meters_of_a_principal_never_stand_in_a_circle(
    world: World, node: Node, upstream: Upstream, undone: list[int]
) -> None:
    other = Node(node.db, node.vault_)
    shared = new_id().bytes * 2
    people = [await world.person(f"p{n}", shared) for n in range(4)]
    with capture_logs() as logs:
        for round_ in range(6):
            calls = []
            for n in range(24):
                meters = (MANY,) if (n + round_) % 2 else (MANY, FEW)
                gate = (node if n % 3 else other).gate
                calls.append(gate.perform(await world.call(people[n % 4], upstream), upstream.prepared(meters=meters)))
            done = await asyncio.gather(*calls)
            assert [d.answer.status for d in done] == [200] * 24
    assert not undone
    assert not [entry for entry in logs if entry["event"] == "group_undone"]


async def test_calls_beyond_their_budgets_never_stand_in_a_circle(world: World, node: Node, undone: list[int]) -> None:
    """A principal whose budget refuses is asked again without what was remembered of it."""
    upstream = Upstream(limit=1)
    other = Node(node.db, node.vault_)
    people = [await world.person(f"p{n}") for n in range(8)]
    for gate in (node.gate, other.gate):
        await asyncio.gather(
            *[gate.perform(await world.call(p, upstream), upstream.prepared()) for p in people], return_exceptions=True
        )
    undone.clear()
    for _ in range(6):
        forth = [node.gate.perform(await world.call(p, upstream), upstream.prepared()) for p in people * 3]
        back = [other.gate.perform(await world.call(p, upstream), upstream.prepared()) for p in people[::-1] * 3]
        done = await asyncio.gather(*forth, *back, return_exceptions=True)
        assert {getattr(d, "code", d) for d in done} == {"budget_exhausted"}
    assert not undone

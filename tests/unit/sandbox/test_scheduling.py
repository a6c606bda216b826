"""Fairness, without clock or processes."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from broker.tools.codemode.sandbox.scheduling import HALF_LIFE_SECONDS, Place, Turns, Usage, choose

A, B, C = (UUID(int=number) for number in range(3))


def place(
    runs: int = 0, owed: int = 0, *, room: bool = True, mine: bool = False, heavy: bool = False, slow: bool = False
) -> Place:
    return Place(runs, owed, room, mine, heavy, slow)


def take_all(turns: Turns[str]) -> list[str]:
    taken = []
    while (found := turns.take(lambda _tenant, _item: True, lambda item: item)) is not None:
        taken.append(found[0])
    return taken


def test_tenants_take_turns() -> None:
    turns: Turns[str] = Turns()
    for item in ("a1", "a2", "a3", "a4"):
        turns.add(A, item)
    turns.add(B, "b1")
    turns.add(C, "c1")
    assert take_all(turns) == ["a1", "b1", "c1", "a2", "a3", "a4"]
    assert turns.count == 0


def test_who_cannot_go_holds_up_nobody() -> None:
    turns: Turns[str] = Turns()
    turns.add(A, "image")
    turns.add(A, "plain")
    turns.add(B, "plain")
    looked: list[str] = []

    def where(_tenant: UUID, item: str) -> bool | None:
        looked.append(item)
        return None if item == "image" else True

    assert turns.take(where, lambda item: item) == ("plain", True)
    assert turns.items() == ["plain", "image"] or turns.items() == ["image", "plain"]


def test_of_those_alike_one_is_tried() -> None:
    turns: Turns[str] = Turns()
    for number in range(50):
        turns.add(A, f"x{number}")
    tried: list[str] = []
    assert turns.take(lambda _tenant, item: tried.append(item), lambda item: item[0]) is None
    assert tried == ["x0"]


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(0, 9)), max_size=60))
def test_nothing_is_lost_and_nobody_is_passed_over(items: list[tuple[UUID, int]]) -> None:
    turns: Turns[tuple[UUID, int, int]] = Turns()
    for number, (tenant, kind) in enumerate(items):
        turns.add(tenant, (tenant, kind, number))
    order = []
    while (found := turns.take(lambda _tenant, _item: True, lambda item: item)) is not None:
        order.append(found[0])
    assert sorted(item[2] for item in order) == list(range(len(items)))
    for tenant in (A, B, C):
        mine = [item[2] for item in order if item[0] == tenant]
        assert mine == sorted(mine)
    for position, item in enumerate(order):  # between two of one tenant, each other one that waits has its turn
        later = [other for other in order[position + 1 :] if other[0] == item[0]]
        if later:
            between = {other[0] for other in order[position + 1 : order.index(later[0])]}
            waiting = {other[0] for other in order[position + 1 :]} - {item[0]}
            assert between == waiting


def test_removing() -> None:
    turns: Turns[str] = Turns()
    turns.add(A, "a")
    turns.remove(B, "a")
    turns.remove(A, "b")
    assert turns.waiting(A) == turns.count == 1
    turns.remove(A, "a")
    assert turns.count == 0


def test_usage_decays() -> None:
    usage = Usage()
    usage.add(A, 1.0, now=100.0)
    assert usage.heavy(A, 100.0)
    assert usage.seconds(A, 100.0 + HALF_LIFE_SECONDS) == 0.5
    assert not usage.heavy(A, 100.0 + HALF_LIFE_SECONDS)
    assert usage.seconds(B, 100.0) == 0.0


def test_the_emptiest_place() -> None:
    assert choose([place(3, 1), place(2, 1), place(9, 0)], heavy=False) == 2
    assert choose([place(3), place(2)], heavy=False) == 1
    assert choose([place(room=False)], heavy=False) is None


def test_one_tenant_never_holds_all_workers() -> None:
    assert choose([place(mine=True, owed=5), place()], heavy=False) == 0
    assert choose([place(mine=True, room=False), place()], heavy=False) is None
    assert choose([place(mine=True), place(), place(), place()], heavy=False) is not None


def test_the_heavy_keep_to_themselves() -> None:
    assert choose([place(heavy=True), place()], heavy=False) == 1
    assert choose([place(heavy=True), place(room=False)], heavy=False) is None
    assert choose([place(heavy=True, owed=9), place()], heavy=True) == 0
    assert choose([place(heavy=True, room=False), place()], heavy=True) is None
    assert choose([place(), place()], heavy=True) == 0


def test_with_one_worker_all_share_it() -> None:
    assert choose([place(heavy=True)], heavy=False) == 0
    assert choose([place(heavy=True)], heavy=True) == 0
    assert choose([], heavy=False) is None


def test_workers_that_give_way_are_for_those_who_compute_much() -> None:
    places = [place(slow=True), place(runs=3)]
    assert choose(places, heavy=False) == 1
    assert choose([place(slow=True), place(runs=3, owed=2)], heavy=False) == 0, "it is not left idle"
    assert choose(places, heavy=True) == 0
    # Better one that gives way than none.
    assert choose([place(slow=True), place(room=False)], heavy=False) == 0
    assert choose([place(slow=True, room=False), place()], heavy=True) == 1

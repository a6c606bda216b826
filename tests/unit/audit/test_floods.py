"""Flood control: what is written one by one, what is counted, and that nothing is lost."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from broker.audit.floods import FloodGate

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_twenty_a_minute_and_then_one_count() -> None:
    gate: FloodGate[str] = FloodGate()
    written = [gate.admit("k", f"c{i}", START + timedelta(seconds=i / 10))[0] for i in range(50)]
    assert written == [True] * 20 + [False] * 30
    assert gate.due(START + timedelta(seconds=59)) == []
    (flood,) = gate.due(START + timedelta(seconds=60))
    assert (flood.suppressed, flood.context, flood.since) == (30, "c49", START)
    assert gate.admit("k", "again", START + timedelta(seconds=61)) == (True, [])


def test_a_clock_that_steps_back_does_not_hold_a_window_open() -> None:
    gate: FloodGate[str] = FloodGate(limit=1)
    gate.admit("k", "a", START)
    gate.admit("k", "b", START)
    assert [f.suppressed for f in gate.due(START - timedelta(hours=1))] == [1]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.floats(0, 30)), max_size=200),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_written_and_counted_together_are_all(steps: list[tuple[int, float]], limit: int, capacity: int) -> None:
    gate: FloodGate[int] = FloodGate(limit=limit, capacity=capacity)
    now = START
    written = counted = 0
    for key, seconds in steps:
        now += timedelta(seconds=seconds)
        admitted, due = gate.admit(key, key, now)
        written += admitted
        counted += sum(f.suppressed for f in due)
        assert len(gate._windows) <= capacity
    counted += sum(f.suppressed for f in gate.close())
    assert written + counted == len(steps)

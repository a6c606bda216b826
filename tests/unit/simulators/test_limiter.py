"""The simulator's limiter counts exactly: it is the judge in the budget tests."""

from hypothesis import given
from hypothesis import strategies as st

from connectors.simulators.cloudflare.limiter import Limiter

gaps = st.lists(st.integers(0, 400), min_size=1, max_size=120)


def times_of(gaps: list[int]) -> list[float]:
    now, times = 0.0, []
    for gap in gaps:
        now += gap / 8  # exact in binary
        times.append(now)
    return times


def most_by_hand(times: list[float], seconds: float) -> int:
    return max(sum(1 for u in times if start <= u < start + seconds) for start in times)


@given(gaps, st.integers(1, 400))
def test_max_in_window_is_what_counting_by_hand_gives(steps: list[int], eighths: int) -> None:
    times = times_of(steps)
    limiter = Limiter(limit=10**9)
    for t in times:
        limiter.arrive("p", t)
    assert limiter.max_in_window("p", eighths / 8) == most_by_hand(times, eighths / 8)


@given(gaps, st.integers(1, 8), st.integers(1, 60), st.integers(0, 60))
def test_never_lets_more_than_the_limit_through_in_any_window(
    steps: list[int], limit: int, window: int, block: int
) -> None:
    limiter = Limiter(limit, float(window), float(block))
    passed = [t for t in times_of(steps) if limiter.arrive("p", t).allowed]
    assert passed
    assert most_by_hand(passed, float(window)) <= limit


@given(gaps, st.integers(1, 60))
def test_keeps_no_one_waiting_below_the_limit(steps: list[int], window: int) -> None:
    times = times_of(steps)
    limiter = Limiter(most_by_hand(times, float(window)), float(window))
    assert all(limiter.arrive("p", t).allowed for t in times)


def test_over_the_limit_every_call_is_refused_until_the_block_ends() -> None:
    limiter = Limiter(limit=3, window=10, block=300)
    assert [limiter.arrive("p", 0.0).remaining for _ in range(3)] == [2, 1, 0]
    refused = limiter.arrive("p", 5.0)
    assert not refused.allowed
    assert refused.reset_seconds == 300
    assert not limiter.arrive("p", 304.9).allowed  # the window is long empty: it is the block
    assert limiter.arrive("p", 305.0).allowed


def test_principals_do_not_share() -> None:
    limiter = Limiter(limit=1)
    assert limiter.arrive("a", 0).allowed
    assert limiter.arrive("b", 0).allowed
    assert not limiter.arrive("a", 1).allowed
    assert limiter.counts() == {"a": {"arrived": 2, "refused": 1}, "b": {"arrived": 1, "refused": 0}}


def test_spending_elsewhere_leaves_less() -> None:
    limiter = Limiter(limit=10)
    limiter.spend("p", 7, 0.0)
    assert limiter.arrive("p", 1.0).remaining == 2
    assert limiter.max_in_window("p", 300) == 1, "only what came through this door is an arrival"

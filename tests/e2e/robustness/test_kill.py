"""`kill -9` under load, in short. The long form: `python -m bench.kill`."""

from collections.abc import Iterator

import pytest
import pytest_asyncio

from bench.harness import Stand
from bench.kill import BACK_SECONDS, Battery, Verdict, kinds


@pytest.fixture(scope="module")
def battery(stand: Stand) -> Iterator[Battery]:
    made = Battery(stand, engineers=12)
    yield made
    made.close()


@pytest_asyncio.fixture(scope="module")
async def verdict(battery: Battery) -> Verdict:
    return await battery.go(kinds(server=3, postgres=2), concurrency=8, rest=0.5)


@pytest.mark.slow
async def test_nothing_reached_the_upstream_without_an_intent(verdict: Verdict) -> None:
    assert verdict.arrived > 100, "there was load"
    assert verdict.without_intent == 0
    assert verdict.twice == 0


async def test_no_acknowledged_call_was_lost(verdict: Verdict) -> None:
    assert verdict.answered > 100
    assert verdict.lost == 0


async def test_service_came_back(verdict: Verdict) -> None:
    assert len(verdict.back) == 5
    assert {kind: seconds for kind, seconds in verdict.back if seconds > BACK_SECONDS} == {}


async def test_a_database_that_is_away_is_unavailable_and_not_a_fault(verdict: Verdict) -> None:
    assert set(verdict.statuses) <= {200, 503}


async def test_a_stopped_installation_starts_where_it_was(stand: Stand, battery: Battery, verdict: Verdict) -> None:
    """After all kills: an orderly stop, a start, and keys, sessions, accounts and audit are still there."""
    assert stand.server.stop() == 0
    stand.server.start()
    one = battery.people[0]
    assert one.api.call("GET /zones").json()["is_error"] is False
    assert battery.kit.admin.ok("GET", "/v1/audit/events?kind=call")["items"]

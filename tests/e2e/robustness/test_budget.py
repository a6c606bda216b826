"""One principal saturated from several processes: what is counted at the upstream, not what we think."""

import pytest

from bench.harness import Stand
from bench.load import prepare, run

LIMIT = 1200


@pytest.mark.slow
async def test_never_more_than_the_budget_and_nearly_all_of_it(stand: Stand) -> None:
    """The whole budget of one window in a burst. The long form, two real windows: `python -m bench.budget_windows`."""
    kit = stand.tenant()
    kit.connection()
    first = kit.engineer()
    email = next(
        user["email"]
        for user in stand.simulator.control("GET", "/credentials")["users"]
        if user["principal"] == first.principal
    )
    second = kit.engineer(email=email)
    assert first.principal == second.principal, "two tokens of one user share one budget"
    host = stand.url.removeprefix("http://")
    body = {"tool_name": "cloudflare_call", "tool_input": {"operation": "GET /zones"}}
    requests = [
        prepare("POST", "/v1/tools/execute", host=host, bearer=one.session, body=body) for one in (first, second)
    ]
    name, _, port = host.partition(":")
    ok = 0
    for _ in range(10):
        sample = await run(lambda n: requests[n % 2], host=name, port=int(port), concurrency=12, seconds=2)
        ok += sample.statuses[200]
        assert set(sample.statuses) <= {200, 429}, sample.odd
        if sample.statuses[200] == 0:
            break
    counted = stand.simulator.control("GET", "/max_in_window", principal=first.principal, seconds=300)["max"]
    assert counted <= LIMIT
    assert counted >= LIMIT * 0.99
    refusal = first.api.call("GET /zones")
    assert (refusal.status_code, refusal.json()["code"]) == (429, "budget_exhausted")
    assert 1 <= refusal.json()["retry_after"] <= 300
    assert refusal.headers["retry-after"] == str(refusal.json()["retry_after"])
    shown = [item for item in kit.admin.ok("GET", "/v1/budgets")["items"] if item["remaining"] == 0]
    assert shown
    for part in (first, second, kit):
        part.close()

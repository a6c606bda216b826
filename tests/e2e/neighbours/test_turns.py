"""Large bodies: a tenant that keeps a serving process busy with them is told to wait, and nobody else is."""

from collections.abc import Callable
from typing import Any

import httpx

from bench.harness import Stand
from bench.kit import Engineer, TenantKit

DENSE: list[object] = [{"a": {}}] * 150_000


def _call(engineer: Engineer, zone: str, **more: Any) -> httpx.Response:
    return engineer.api.call("GET /zones/{zone_id}/dns_records", path_params={"zone_id": zone}, **more)


def test_large_bodies_are_paid_for_by_the_tenant_that_sends_them(
    running_server: Stand, make_kit: Callable[[], TenantKit]
) -> None:
    hot, neighbour = make_kit(), make_kit()
    for kit in (hot, neighbour):
        kit.connection()
    first, second, other = hot.engineer(), hot.engineer(), neighbour.engineer()
    zone = running_server.simulator.zones["example.com"]
    for _ in range(100):
        reply = _call(first, zone, body=DENSE)
        if reply.status_code == 429:
            break
        assert reply.status_code == 422, reply.text
    problem = reply.json()
    assert (reply.status_code, problem["code"], problem["sent"]) == (429, "rate_limited", False)
    assert int(reply.headers["retry-after"]) == problem["retry_after"] >= 1
    assert _call(other, zone, body=DENSE).status_code == 422, "another tenant may"
    for engineer in (first, second, other):
        assert _call(engineer, zone).status_code == 200, "and small bodies are not large ones"


def test_what_one_session_reads_its_whole_tenant_pays_for(
    running_server: Stand, make_kit: Callable[[], TenantKit]
) -> None:
    kit = make_kit()
    kit.connection()
    zone = running_server.simulator.zones["example.com"]
    refused = 0
    for _ in range(100):  # each by a session that this process has never seen
        refused += _call(kit.engineer(), zone, body=DENSE).status_code == 429
        if refused:
            break
    assert refused

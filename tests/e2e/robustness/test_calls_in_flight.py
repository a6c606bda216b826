"""What becomes of calls in flight: the client hangs up, the server drains, the server is killed."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from bench.load import prepare
from bench.processes import send_signal


@pytest.fixture(scope="module")
def kit(stand: Stand) -> Iterator[TenantKit]:
    made = stand.tenant()
    made.connection()
    yield made
    made.close()


@pytest.fixture
def engineer(kit: TenantKit) -> Iterator[Engineer]:
    made = kit.engineer()
    yield made
    made.close()


def until(seconds: float, what: Any) -> Any:
    """What `what` gives once it gives anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def events(kit: TenantKit, engineer: Engineer, **query: str) -> list[dict[str, Any]]:
    wanted = httpx.QueryParams({"identifier": engineer.identifier, "kind": "call", **query})
    return kit.admin.ok("GET", f"/v1/audit/events?{wanted}")["items"]


def purge(stand: Stand, tag: str, **more: Any) -> dict[str, Any]:
    """A write that the simulator carries out: one purge."""
    tool_input = {
        "operation": "POST /zones/{zone_id}/purge_cache",
        "path_params": {"zone_id": stand.simulator.zones["example.com"]},
        "body": {"files": [f"https://example.com/{tag}"]},
    }
    return {"tool_name": "cloudflare_call", "tool_input": tool_input, **more}


def arrived(stand: Stand, engineer: Engineer) -> int:
    return len(stand.simulator.journal(principal=engineer.principal, contains="purge_cache"))


async def touch(stand: Stand, statement: str) -> None:
    """One statement as the database's superuser."""
    conn = await asyncpg.connect(**stand.server.database())
    await conn.execute(statement)
    await conn.close()


def test_a_client_that_hangs_up_cancels_its_call(stand: Stand, kit: TenantKit, engineer: Engineer) -> None:
    stand.simulator.fault("hang", match={"principal": engineer.principal, "path": "/zones$"})
    host, _, port = stand.url.removeprefix("http://").partition(":")
    body = {"tool_name": "cloudflare_call", "tool_input": {"operation": "GET /zones"}}
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(prepare("POST", "/v1/tools/execute", host=f"{host}:{port}", bearer=engineer.session, body=body))
        until(5, lambda: events(kit, engineer, outcome="open"))
    began = time.monotonic()
    found = until(5, lambda: events(kit, engineer, outcome="cancelled"))
    assert time.monotonic() - began < 3
    assert len(found) == 1
    assert found[0]["sent"] in (True, "unknown"), "it may have taken effect, and says so"
    execution = kit.admin.ok("GET", f"/v1/executions/{found[0]['execution_id']}")
    assert execution["calls"][0]["outcome"] == "cancelled"
    budget = kit.admin.ok("GET", "/v1/budgets")["items"]
    assert any(item["used"] > 0 for item in budget), "a cancelled call that may have been sent is paid for"


def test_an_answer_that_is_lost_is_not_asked_for_again(stand: Stand, kit: TenantKit, engineer: Engineer) -> None:
    """A write whose connection is cut after it took effect: unknown, and sent once."""
    fault = {"kind": "reset", "times": 1, "match": {"principal": engineer.principal}, "params": {"apply": True}}
    stand.simulator.control("POST", "/faults", fault)
    reply = engineer.api.send("POST", "/v1/tools/execute", json=purge(stand, "lost"))
    assert (reply.status_code, reply.json()["code"]) == (502, "outcome_unknown"), reply.text
    assert reply.json()["sent"] in (True, "unknown")
    assert arrived(stand, engineer) == 1
    assert [e["outcome"] for e in events(kit, engineer) if e["effect"] != "read"] == ["unknown"]


async def test_an_idempotency_key_survives_the_crash(stand: Stand, engineer: Engineer) -> None:
    """Killed with the call in flight: repeating it answers that it is running or unknown, and sends nothing."""
    stand.simulator.fault("latency", match={"principal": engineer.principal}, seconds=3.0)
    call = purge(stand, "crash", idempotency_key="crash-1", deadline_seconds=5)
    broken: list[Exception] = []

    def ask() -> None:
        try:
            engineer.api.send("POST", "/v1/tools/execute", json=call)
        except httpx.HTTPError as error:
            broken.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(5, lambda: arrived(stand, engineer) == 1)
    stand.server.process.kill()
    asking.join()
    assert broken
    stand.server.start()
    for _ in range(3):
        reply = engineer.api.send("POST", "/v1/tools/execute", json=call)
        assert (reply.status_code, reply.json()["code"]) == (409, "idempotency_in_progress"), reply.text
        assert 1 <= reply.json()["retry_after"] <= 40, "it is not in progress for ever"
    # The wait for its deadline and grace, shortened.
    await touch(stand, "update broker.idempotency set deadline_at = now() where state = 'running'")
    reply = engineer.api.send("POST", "/v1/tools/execute", json=call)
    assert (reply.status_code, reply.json()["code"]) == (502, "outcome_unknown"), reply.text
    assert arrived(stand, engineer) == 1
    other = purge(stand, "another", idempotency_key="crash-1")
    assert engineer.api.send("POST", "/v1/tools/execute", json=other).json()["code"] == "idempotency_conflict"


def test_an_idempotency_key_sends_once(stand: Stand, engineer: Engineer) -> None:
    call = purge(stand, "once", idempotency_key="once-1")
    first = engineer.api.send("POST", "/v1/tools/execute", json=call).json()
    again = engineer.api.send("POST", "/v1/tools/execute", json=call).json()
    assert first["replayed"] is False
    assert again["replayed"] is True
    assert again["data"] == first["data"]
    assert arrived(stand, engineer) == 1


def test_sigterm_drains(stand: Stand, kit: TenantKit, engineer: Engineer) -> None:
    """A call in flight is finished and answered; the server then ends of itself, with 0."""
    stand.simulator.fault("latency", match={"principal": engineer.principal}, seconds=2.0)
    replies: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: replies.append(engineer.api.call("GET /zones")))
    asking.start()
    until(5, lambda: events(kit, engineer, outcome="open"))
    send_signal(stand.server.process.pid, signal.SIGTERM)
    time.sleep(0.5)
    began = time.monotonic()
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{stand.url}/healthz", timeout=2, trust_env=False)
    asking.join()
    assert stand.server.stop() == 0
    assert time.monotonic() - began < 15
    assert [reply.status_code for reply in replies] == [200]
    assert json.loads(replies[0].content)["is_error"] is False
    stand.server.start()
    assert [e["outcome"] for e in events(kit, engineer)] == ["ok"]

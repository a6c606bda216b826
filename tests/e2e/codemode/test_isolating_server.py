"""A server with `--sandbox-isolate`, and what the audit says of a program whose server was killed."""

import os
import signal
import threading
from collections.abc import Iterator

import asyncpg
import httpx
import pytest

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from tests.e2e.codemode.kit import (
    PATH,
    SLEEPING,
    all_arrived,
    arrived,
    assert_lost,
    body,
    oldest,
    running,
    sandboxes,
    until,
)


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with Stand(arguments=["--sandbox-isolate"]) as made:
        yield made


@pytest.fixture
def kits(stand: Stand) -> Iterator[list[TenantKit]]:
    made = [stand.tenant(), stand.tenant()]
    for kit in made:
        kit.connection()
    yield made
    for kit in made:
        kit.close()


@pytest.fixture
def both(kits: list[TenantKit]) -> Iterator[list[Engineer]]:
    made = [kit.engineer() for kit in kits]
    yield made
    for one in made:
        one.close()


def test_every_run_has_a_worker_to_itself(stand: Stand, kits: list[TenantKit], both: list[Engineer]) -> None:
    reply = kits[0].platform.send("PATCH", f"/v1/tenants/{kits[0].name}", json={"sandbox": {"isolate": False}})
    assert reply.status_code == 422, "an installation that isolates isolates everybody"
    for one in both:
        answer = one.api.ok("POST", PATH, body("async () => { globalThis.leak = 1; return 1 }"))
        assert answer["data"] == 1, answer
        assert one.api.ok("POST", PATH, body("async () => typeof leak"))["data"] == "undefined"
    search = {"tool_name": "cloudflare_search", "tool_input": {"query": "list zones"}}
    assert not both[0].api.ok("POST", PATH, search)["is_error"]
    with running(both[0], SLEEPING % 5000) as first, running(both[1], SLEEPING % 5000) as second:
        all_arrived(stand, both)
        cells = (now := sandboxes(stand)) - oldest(now, 2)
        assert len(cells) == 2
    assert (first[0]["data"], second[0]["data"]) == (1, 1)
    until(lambda: not cells & sandboxes(stand))


def test_a_killed_worker_ends_its_own_run_alone(stand: Stand, kits: list[TenantKit], both: list[Engineer]) -> None:
    with running(both[0], SLEEPING % 8000) as first, running(both[1], SLEEPING % 8000) as second:
        all_arrived(stand, both)
        # Two shared workers, unused here, were started with the server; two more have a run each.
        cells = (now := sandboxes(stand)) - oldest(now, 2)
        assert len(cells) == 2
        os.kill(min(cells), signal.SIGKILL)
    lost, went_on = sorted((first[0], second[0]), key=lambda answer: not answer["is_error"])
    assert (went_on["is_error"], went_on["data"]) == (False, 1)
    assert_lost(lost)
    kit, engineer = (kits[0], both[0]) if first[0]["is_error"] else (kits[1], both[1])
    wanted = {"kind": "execution", "execution_id": lost["execution_id"]}
    (done,) = kit.admin.ok("GET", "/v1/audit/events", params=wanted)["items"]
    assert (done["outcome"], done["calls"]) == ("error", 1)
    assert engineer.api.ok("POST", PATH, body("async () => 1 + 1"))["data"] == 2


async def test_a_program_of_a_killed_server_ends_in_the_audit(
    stand: Stand, kits: list[TenantKit], both: list[Engineer]
) -> None:
    kit, engineer = kits[0], both[0]
    zone = stand.simulator.zones["example.com"]
    stand.simulator.fault("latency", match={"principal": engineer.principal, "path": "/dns_records$"}, seconds=5.0)
    code = f"""async () => {{
      await cloudflare.request({{method: "POST", path: "/zones/{zone}/purge_cache",
        body: {{files: ["https://example.com/killed"]}}}});
      return cloudflare.request({{path: "/zones/{zone}/dns_records"}});
    }}"""
    broken: list[Exception] = []

    def ask() -> None:
        try:
            engineer.api.send("POST", PATH, json=body(code, intent="purge one file"))
        except httpx.HTTPError as error:
            broken.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: arrived(stand, engineer, "/dns_records"))
    stand.server.process.kill()
    asking.join()
    assert broken, "the server was there to answer"
    stand.server.start()
    wanted = {"kind": "execution", "identifier": engineer.identifier}
    assert kit.admin.ok("GET", "/v1/audit/events", params=wanted)["items"] == []
    # The wait for the process to be given up, shortened.
    conn = await asyncpg.connect(**stand.server.database())
    for table in ("open_calls", "open_executions"):
        await conn.execute(f"update broker.{table} set deadline_at = now() - interval '1 h'")
    await conn.close()
    (done,) = until(lambda: kit.admin.ok("GET", "/v1/audit/events", params=wanted)["items"])
    assert (done["outcome"], done["calls"], done["intent"]) == ("unknown", 2, "purge one file")
    assert done["summary"] == {"error": "swept", "writes": 1, "made": [f"POST /client/v4/zones/{zone}/purge_cache"]}
    kept = kit.admin.ok("GET", f"/v1/executions/{done['execution_id']}/code")
    assert (kept["code"], kept["code_digest"]) == (code, done["code_digest"])
    shown = kit.admin.ok("GET", f"/v1/executions/{done['execution_id']}")
    assert [call["outcome"] for call in shown["calls"]] == ["ok", "unknown"]

"""Programs in trouble: the client hangs up, the worker is killed. What else runs does not notice."""

import os
import signal
import socket
from typing import Any

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from bench.load import prepare
from tests.e2e.codemode.kit import PATH, SLEEPING, arrived, assert_lost, body, running, sandboxes, until


def items(tenant: TenantKit, kind: str, engineer: Engineer, **query: str) -> list[dict[str, Any]]:
    wanted = {"kind": kind, "identifier": engineer.identifier, **query}
    found: list[dict[str, Any]] = tenant.admin.ok("GET", "/v1/audit/events", params=wanted)["items"]
    return found


def test_a_client_that_hangs_up_stops_its_program(running_server: Stand, tenant: TenantKit, engineer: Engineer) -> None:
    running_server.simulator.fault("hang", match={"principal": engineer.principal, "path": "/dns_records$"})
    code = f"""async () => {{
      await cloudflare.request({{path: "/zones"}});
      await cloudflare.request({{path: "/zones/{running_server.simulator.zones["example.com"]}/dns_records"}});
      return (await cloudflare.request({{path: "/zones"}})).result.length;
    }}"""
    host, _, port = running_server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(prepare("POST", PATH, host=f"{host}:{port}", bearer=engineer.session, body=body(code)))
        until(lambda: arrived(running_server, engineer, "/dns_records"))
    (done,) = until(lambda: items(tenant, "execution", engineer))
    assert (done["outcome"], done["summary"]["error"], done["calls"]) == ("error", "cancelled", 2)
    calls = items(tenant, "call", engineer)
    assert sorted(call["outcome"] for call in calls) == ["cancelled", "ok"]
    assert {call["execution_id"] for call in calls} == {done["execution_id"]}
    shown = tenant.admin.ok("GET", f"/v1/executions/{done['execution_id']}")
    assert [call["outcome"] for call in shown["calls"]] == ["ok", "cancelled"]
    assert arrived(running_server, engineer) == 2, "what came after was never asked"


def test_killed_workers_end_their_runs_and_are_replaced(
    running_server: Stand, tenant: TenantKit, engineer: Engineer
) -> None:
    """That a neighbour's run in another worker goes on: test_isolating_server.py."""
    engineer.api.ok("POST", PATH, body("async () => 1"))
    with running(engineer, SLEEPING % 25_000) as answers:
        until(lambda: arrived(running_server, engineer))
        killed = sandboxes(running_server)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
    assert_lost(answers[0])
    (done,) = items(tenant, "execution", engineer, execution_id=answers[0]["execution_id"])
    assert (done["outcome"], done["calls"]) == ("error", 1)
    # The pool is whole again, and good.
    until(lambda: len(sandboxes(running_server) - killed) >= 2)
    assert engineer.api.ok("POST", PATH, body("async () => 1 + 1"))["data"] == 2

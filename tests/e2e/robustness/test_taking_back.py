"""A client of 2025-11-25 takes its call back, and another process than the one that runs the call hears it.

Which process a connection reaches is settled by stopping the other while it is opened.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from bench.harness import Stand
from bench.kit import Engineer, TenantKit
from bench.processes import send_signal

HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
CALL = {"name": "cloudflare_zones-get", "arguments": {}}


@pytest.fixture(scope="module")
def kit(stand: Stand) -> Iterator[TenantKit]:
    made = stand.tenant()
    made.connection(tools=["GET /zones"])
    yield made
    made.close()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing meanwhile."""
    send_signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        send_signal(pid, signal.SIGCONT)


class Client:
    """One connection of an engineer, and the process behind it."""

    def __init__(self, stand: Stand, kit: TenantKit, engineer: Engineer, *, avoiding: int) -> None:
        headers = {**HEADERS, "authorization": f"Bearer {engineer.session}", "user-agent": "older"}
        self.path = f"/t/{kit.name}/mcp"
        self.http = httpx.Client(base_url=stand.url, headers=headers, timeout=60, trust_env=False)
        self.status: int | None = None
        self._calling: threading.Thread | None = None
        with stopped(avoiding):
            assert self.post({"id": 0, "method": "ping"}) == 200

    def post(self, message: dict[str, Any], session: str = "s1") -> int:
        """The status of a message."""
        body = {"jsonrpc": "2.0", **message}
        return self.http.post(self.path, json=body, headers={"mcp-session-id": session}).status_code

    def call(self, id_: str) -> None:
        """Makes the call, and goes on."""

        def run() -> None:
            self.status = self.post({"id": id_, "method": "tools/call", "params": CALL})

        self._calling = threading.Thread(target=run)
        self._calling.start()

    def take_back(self, id_: str, session: str = "s1") -> None:
        """Says that the call is no longer wanted."""
        assert self.post({"method": "notifications/cancelled", "params": {"requestId": id_}}, session) == 202

    def answered(self) -> int | None:
        """The status that the call had in the end."""
        assert self._calling is not None
        self._calling.join(30)
        return self.status

    def close(self) -> None:
        self.http.close()


def outcomes(kit: TenantKit, engineer: Engineer) -> list[str]:
    items = kit.admin.ok("GET", f"/v1/audit/events?identifier={engineer.identifier}&kind=call")["items"]
    return [item["outcome"] for item in items]


def becomes(kit: TenantKit, engineer: Engineer, outcome: str) -> None:
    """Waits until that is the outcome of the engineer's one call, at most half a minute."""
    end = time.monotonic() + 30
    while outcomes(kit, engineer) != [outcome]:
        assert time.monotonic() < end, outcomes(kit, engineer)
        time.sleep(0.05)


def test_a_call_is_taken_back_by_way_of_another_process(stand: Stand, kit: TenantKit) -> None:
    running, hearing = stand.server.workers()
    mine, other = kit.engineer(), kit.engineer()
    callers = [Client(stand, kit, one, avoiding=hearing) for one in (mine, other)]
    takers = [Client(stand, kit, one, avoiding=running) for one in (mine, other)]
    try:
        for engineer, caller in zip((mine, other), callers, strict=True):
            stand.simulator.fault("hang", match={"principal": engineer.principal, "path": "/zones$"})
            caller.call("call-1")
            becomes(kit, engineer, "open")
        takers[0].take_back("call-2")
        takers[0].take_back("call-1", session="s2")
        takers[1].take_back("call-1")
        becomes(kit, other, "cancelled")
        assert callers[1].answered() == 499
        assert outcomes(kit, mine) == ["open"], "the same id of another bearer or session is another request"
        takers[0].take_back("call-1")
        becomes(kit, mine, "cancelled")
        assert callers[0].answered() == 499
    finally:
        stand.simulator.clear_faults()
        for client in (*callers, *takers):
            client.close()
        mine.close()
        other.close()

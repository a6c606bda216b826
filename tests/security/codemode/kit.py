"""Who attacks: an engineer with a destructive grant, a reader, and what the simulator saw of either."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from bench.harness import Stand
from bench.kit import EVERYTHING, Engineer, TenantKit

PATH = "/v1/tools/execute"


@dataclass
class Side:
    """One engineer, and the short way to run a program."""

    stand: Stand
    kit: TenantKit
    engineer: Engineer

    def run(self, code: str, *, tool: str = "cloudflare_execute", **more: Any) -> dict[str, Any]:
        """The answer, whatever it is."""
        written = code
        for name, value in self.names().items():
            written = written.replace(name, value)
        body = {"tool_name": tool, "tool_input": {"code": written}, **more}
        return self.engineer.api.ok("POST", PATH, body)

    def names(self) -> dict[str, str]:
        """What stands for what in a program."""
        upstream = self.stand.simulator
        return {
            "ZONE": upstream.zones["example.com"],
            "ACCOUNT": upstream.account_id,
            "OTHER": "f" * 32,
            "PORT": upstream.address.rpartition(":")[2],
        }

    def seen(self, since: int) -> list[dict[str, Any]]:
        """What arrived from this engineer's principal since an entry's number."""
        return self.stand.simulator.journal(since=since, principal=self.engineer.principal)

    def audited(self, execution_id: str) -> list[dict[str, Any]]:
        """Everything the audit has of an execution."""
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {"execution_id": execution_id, "page_size": 100}
        while True:
            page = self.kit.admin.ok("GET", "/v1/audit/events", params=params)
            found += page["items"]
            if not page["next_page_token"]:
                return found
            params["page_token"] = page["next_page_token"]


def side(stand: Stand, *, access: str = "destructive", permissions: tuple[str, ...] = EVERYTHING) -> Side:
    """A tenant of its own with a connection and an engineer."""
    kit = stand.tenant()
    kit.connection()
    return Side(stand, kit, kit.engineer(access=access, permissions=permissions))


def closed(which: Side) -> None:
    """Gives its clients back."""
    with closing(which.kit), closing(which.engineer):
        pass


def total(stand: Stand) -> int:
    """How many requests the simulator has had."""
    return int(stand.simulator.control("GET", "/counters")["requests"])

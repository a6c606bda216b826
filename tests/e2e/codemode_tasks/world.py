"""What a task runs in: an account of its own at the simulator, with one zone, and an engineer who may do everything.

Programs are run over REST with a session, as an agent would: searches over the published description where it is at
hand, requests over the simulator's. What differs from run to run (ids, times) is written as placeholders, numbered by
first appearance, so that equal ones stay equal.
"""

import gzip
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.harness import Stand
from bench.kit import Api, TenantKit
from connectors.simulators.cloudflare.groups import GROUPS

DESCRIPTION: Final = Path(__file__).resolve().parents[4] / "shared" / "data" / "cloudflare-openapi-2026-07.json.gz"
PUBLISHED: Final = "described"
"""The connection whose description is the published one."""
EXECUTED: Final = "cloudflare"
EXPECTED: Final = Path(__file__).with_name("expected")

_CHANGING: Final = (
    ("uuid", re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")),
    ("id", re.compile(r"\b[0-9a-f]{32}\b")),
    ("time", re.compile(r"\b20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|\+00:00)")),
)


@dataclass(frozen=True)
class Task:
    """What an agent was asked, and the programs that it answered with.

    `search` runs over the published description, `before` makes what the task finds there, `execute` does the work:
    each a program, in which `ZONE` stands for the name of the task's zone. `guarded` operations need a grant that
    names them (so do, in the published description, writes of which it says no permission); `access` is what the
    session allows; `fails` says that the answer is to be an error.
    """

    name: str
    asked: str
    search: str
    execute: str
    before: str = ""
    records: tuple[Mapping[str, Any], ...] = ()
    buckets: tuple[str, ...] = ()
    guarded: tuple[str, ...] = ()
    access: str | None = None
    dry_run: bool = False
    fails: bool = False


class World:
    """The tenant that every task runs in, and its two connections. `published`: the published description is here."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.kit: TenantKit = stand.tenant()
        self.kit.connection(EXECUTED)
        self.published = DESCRIPTION.exists()
        if self.published:
            file = stand.data_dir / "specs" / "published.json"
            file.write_bytes(gzip.decompress(DESCRIPTION.read_bytes()))
            file.chmod(0o644)
            # What a credential lacks is shown too: its permissions are the simulator's few.
            self.kit.connection(PUBLISHED, spec={"source": file.name}, permission_check="advise")

    def searched(self, task: Task) -> Any:
        """What the task's search answers, over the published description or else the simulator's."""
        connection = PUBLISHED if self.published else EXECUTED
        identifier = self.kit.identity(f"searching-{task.name}@acme.example")
        token = self.stand.simulator.token(permissions=list(GROUPS))
        self.kit.account(identifier, token["value"], connection)
        self.kit.grant({"identifier": identifier}, "destructive", connection)
        if task.guarded:
            self.kit.grant({"identifier": identifier}, "destructive", connection, operations=list(task.guarded))
        api = self._api(identifier, task.access)
        try:
            return settled(told(self._run(api, f"{connection}_search", task.search)))
        finally:
            api.close()

    def executed(self, task: Task) -> Any:
        """What the task's program answers, in an account of its own."""
        simulator, slug = self.stand.simulator, task.name.replace("_", "-")
        email = f"{slug}@acme.example"
        simulator.control("POST", "/users", {"email": email})
        simulator.control("POST", "/accounts", {"name": slug, "members": [email], "buckets": list(task.buckets)})
        records = [{"ttl": 300, **record} for record in task.records]
        simulator.control("POST", "/zones", {"name": zone_of(task), "account": slug, "records": records})
        wanted = {"user": email, "name": "agent", "permissions": list(GROUPS), "accounts": [slug]}
        token = simulator.control("POST", "/tokens", wanted)
        identifier = self.kit.identity(f"{task.name}@acme.example")
        self.kit.account(identifier, token["value"], EXECUTED)
        self.kit.grant({"identifier": identifier}, "destructive", EXECUTED)
        if task.guarded:
            self.kit.grant({"identifier": identifier}, "destructive", EXECUTED, operations=list(task.guarded))
        if task.before:
            with_all = self._api(identifier, None)
            made = self._run(with_all, f"{EXECUTED}_execute", task.before.replace("ZONE", zone_of(task)))
            with_all.close()
            assert not made["is_error"], made["error"]
        api = self._api(identifier, task.access)
        try:
            program = task.execute.replace("ZONE", zone_of(task))
            answer = self._run(api, f"{EXECUTED}_execute", program, dry_run=task.dry_run)
        finally:
            api.close()
        return settled(told(answer))

    def _api(self, identifier: str, access: str | None) -> Api:
        restricted = {} if access is None else {"access": access}
        return self.stand.server.api(self.kit.session(identifier, **restricted)["token"])

    @staticmethod
    def _run(api: Api, tool: str, code: str, **more: Any) -> dict[str, Any]:
        body = {"tool_name": tool, "tool_input": {"code": code}, **{k: v for k, v in more.items() if v}}
        return api.ok("POST", "/v1/tools/execute", body)


def zone_of(task: Task) -> str:
    """The name of the task's zone."""
    return f"{task.name.replace('_', '-')}.example"


def told(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What of an answer is kept: its data or error, the calls that were made, the logs."""
    kept: dict[str, Any] = {"data": answer["data"]}
    if answer["is_error"]:
        named = ("code", "kind", "detail", "hint", "fix", "line", "status", "errors")
        kept = {"error": {name: answer["error"][name] for name in named if name in answer["error"]}}
    calls = [f"{c['method']} {c['path']} {c['status'] or 'not sent'} {c['effect']}" for c in answer["calls"]]
    return kept | {name: value for name, value in (("calls", calls), ("logs", answer["logs"])) if value}


def settled(found: Any) -> Any:
    """`found` with what changes from run to run replaced by placeholders. A path's id counts as well."""
    text = json.dumps(found, ensure_ascii=False)
    for kind, pattern in _CHANGING:
        numbers: dict[str, int] = {}
        counted = itertools.count(1)

        def named(
            match: re.Match[str], kind: str = kind, numbers: dict[str, int] = numbers, counted: Any = counted
        ) -> str:
            ident = match.group()
            if ident not in numbers:
                numbers[ident] = next(counted)
            return f"<{kind} {numbers[ident]}>"

        text = pattern.sub(named, text)
    return json.loads(text)


def expected(group: str) -> dict[str, Any]:
    """The kept outputs of a group's tasks, by name: `{search, execute}`."""
    file = EXPECTED / f"{group}.json"
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return kept

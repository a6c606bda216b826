"""What MCP servers declare is looked at again by itself: each in its turn, by a key that nobody holds."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio

from broker.accounts.definitions import DefinitionPins
from broker.accounts.pinning import Refreshed
from broker.accounts.rechecking import Overheard, Rechecks, says_unknown
from broker.db.database import Database
from broker.domain import Caller
from broker.errors import Problem
from broker.identity.roles import allows
from broker.ids import new_id
from broker.jobs.definitions_check import EVERY, KEY_NAME, DefinitionsCheck
from broker.metrics import Metrics
from connectors.base import Answer, RateHint
from connectors.http import HttpClient
from connectors.mcp_upstream.definitions import dump, read
from connectors.mcp_upstream.streams import LISTENER
from tests.integration.accounts.world import World, _calls, make
from tests.integration.connectors.upstream import client, upstream
from vault.binding import CredentialBinding


@dataclass
class Pins:
    """Notes what is looked at, and says what it is told to."""

    looked: list[tuple[Caller, str]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    pending: bool = False

    async def check(self, caller: Caller, row: Any) -> Refreshed:
        self.looked.append((caller, row.name))
        if row.name in self.failing:
            raise Problem("upstream_unreachable", "no answer")
        return Refreshed("0" * 64, applied=False, pending=self.pending, report={"changed": self.pending})

    def names(self) -> list[str]:
        found = [name for _, name in self.looked]
        self.looked.clear()
        return found


class Checked:
    """A tenant with connections to servers, and the job."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pins = Pins()
        self.job = DefinitionsCheck(
            db=world.db,
            clock=world.base.clock,
            metrics=Metrics(),
            pins=self.pins,  # type: ignore[arg-type]
        )

    async def connection(self, name: str, *, status: str = "active") -> Any:
        connection_id, now = new_id(), self.world.base.clock.now()
        await self.world.execute(
            "insert into broker.connections (tenant_id, id, name, connector, config, origins, created_at) values "
            "(:t, :c, :name, 'mcp', '{}', array['https://a.example'], :now)",
            c=connection_id,
            name=name,
            now=now,
        )
        await self.world.execute(
            "insert into broker.accounts (tenant_id, id, connection_id, status, kind, created_at) values "
            "(:t, :a, :c, :status, 'bearer', :now)",
            a=new_id(),
            c=connection_id,
            status=status,
            now=now,
        )
        await self.world.execute(
            "insert into broker.definitions (tenant_id, connection_id, url, digest, document, tools, fetched_at) "
            "values (:t, :c, 'https://a.example/', repeat('0', 64), '{}', 0, :then)",
            c=connection_id,
            then=now - timedelta(hours=1),
        )
        return connection_id

    async def age(self, name: str, by: timedelta) -> None:
        await self.world.execute(
            "update broker.definitions d set checked_at = checked_at - cast(:by as interval) from broker.connections c "
            "where d.tenant_id = :t and c.tenant_id = d.tenant_id and c.id = d.connection_id and c.name = :name",
            by=by,
            name=name,
        )

    async def run(self) -> list[str]:
        await self.job.run()
        return self.pins.names()


@pytest_asyncio.fixture
async def checked(db: Database, tmp_path: Path) -> AsyncIterator[Checked]:
    async with make(db, tmp_path) as world:
        yield Checked(world)


async def test_each_in_its_turn(checked: Checked) -> None:
    await checked.connection("a")
    await checked.connection("b")
    await checked.connection("unused", status="needs_reauth")
    checked.pins.failing.add("a")
    assert sorted(await checked.run()) == ["a", "b"], "none that has no account to ask with"
    assert await checked.run() == [], "also not the one that failed"
    await checked.age("b", EVERY)
    assert await checked.run() == ["b"]


async def test_a_server_that_knows_a_tool_no_longer_is_looked_at_soon(checked: Checked) -> None:
    connection_id = await checked.connection("a")
    await checked.run()
    await Rechecks(checked.world.db).soon((await checked.world.admin()).tenant_id, connection_id)
    assert await checked.run() == ["a"]
    errors = {"detail": "x", "errors": [{"code": -32602, "message": "unknown tool"}]}
    assert says_unknown(Answer(200, None, True, errors, None, 0, 0, RateHint()))
    assert not says_unknown(Answer(200, None, True, {"detail": "x"}, None, 0, 0, RateHint()))


def test_what_a_server_says_beside_an_answer_is_overheard() -> None:
    heard: list[Any] = []
    token = LISTENER.set(heard.append)
    try:
        with Overheard() as overheard:
            for method in ("notifications/progress", "notifications/tools/list_changed"):
                assert not overheard.changed
                listener = LISTENER.get()
                assert listener is not None
                listener({"method": method})
        assert overheard.changed
        assert len(heard) == 2, "whoever listened before hears it too"
        assert LISTENER.get() == heard.append
    finally:
        LISTENER.reset(token)


async def test_it_asks_by_a_key_that_may_nothing_else_and_can_be_revoked(checked: Checked) -> None:
    await checked.connection("a")
    await checked.job.run()
    ((caller, _),) = checked.pins.looked
    assert caller.actor == f"agent:{KEY_NAME}"
    assert caller.identity is None
    assert not allows(caller, "connections.write")
    await checked.age("a", EVERY)
    await checked.job.run()
    assert len({seen.bearer.id for seen, _ in checked.pins.looked}) == 1, "one key"
    checked.pins.looked.clear()
    await checked.world.execute(
        "update broker.bearers set revoked_at = now() where tenant_id = :t and name = :name", name=KEY_NAME
    )
    await checked.age("a", EVERY)
    assert await checked.run() == [], "an admin who revoked it has stopped the checks"


def tool(description: str) -> dict[str, Any]:
    return {"name": "t", "description": description, "inputSchema": {"type": "object"}}


async def declares(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server whose tool has another description than was pinned."""
    length = int(next(line for line in head.lower().splitlines() if line.startswith(b"content-length")).split()[1])
    asked = json.loads(await reader.readexactly(length))
    found: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    if asked["method"] == "tools/list":
        found = {"tools": [tool("after")]}
    body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": found}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def planted(checked: Checked, origin: str) -> None:
    """A connection to `origin` whose pinned tool was described otherwise, and an account that needs no credential."""
    world, base = checked.world, checked.world.base
    connection_id = await checked.connection("a", status="active")
    caller = await world.admin()
    pinned = read("2026-07-28", [tool("before")])
    (account,) = await world.rows("select id from broker.accounts where tenant_id = :t")
    credential_id = new_id()
    binding = CredentialBinding(caller.tenant_id, account.id, credential_id, 1, "none", (origin,))
    async with world.db.tenant(caller.tenant_id) as conn:
        await base.sealed_storage.put_credential(conn, binding, b"none", base.clock.now())
    for statement in (
        "update broker.connections set config = jsonb_build_object('url', cast(:url as text)), "
        "origins = array[cast(:origin as text)] where tenant_id = :t and id = :c",
        "update broker.accounts set credential_id = :k, kind = 'none', principal = 'p', "
        "principal_key = decode(repeat('ab', 32), 'hex') where tenant_id = :t and connection_id = :c",
        "update broker.definitions set url = :url, digest = :digest, document = :document, tools = 1 "
        "where tenant_id = :t and connection_id = :c",
    ):
        given = {"url": f"{origin}/mcp", "origin": origin, "k": credential_id, "digest": pinned.digest}
        given |= {"document": dump(pinned), "c": connection_id}
        await world.execute(statement, **{name: value for name, value in given.items() if f":{name}" in statement})


async def test_through_the_gate_a_change_is_held_back(checked: Checked) -> None:
    world, base = checked.world, checked.world.base
    async with upstream(declares) as running, client(running.origin.removeprefix("http://")) as http:
        assert isinstance(http, HttpClient)
        await planted(checked, running.origin)
        dispatch, _, maintenance = _calls(base, http, world.learning)
        pins = DefinitionPins(
            db=world.db, trail=base.trail, maintenance=maintenance, views=world.views, clock=base.clock
        )
        job = DefinitionsCheck(db=world.db, clock=base.clock, metrics=Metrics(), pins=pins)
        assert await job.run() == 1
        await dispatch.close()
    (row,) = await world.rows("select held, pending_digest from broker.definitions where tenant_id = :t")
    assert list(row.held) == ["t"]
    assert row.pending_digest is not None
    (change,) = await world.changed("connection.spec_pending")
    assert change["actor"] == f"agent:{KEY_NAME}"

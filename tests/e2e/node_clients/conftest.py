"""What the clients of other houses are tried against, and with."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bench.harness import Installed, Simulator, Stand
from bench.kit import Engineer, TenantKit
from tests.clients.claude import DOCUMENT, ClaudeCode
from tests.clients.node import installed
from tests.e2e.model_api import ModelApi, models
from tests.security.canary import find, search

__all__ = ["models"]

Expire = Callable[[TenantKit, Engineer], None]


class SeededStand(Stand):
    """An installation whose operator gave it Claude Code's own description, as one does that cannot fetch it."""

    def __init__(self) -> None:
        Installed.__init__(self, _seeded)


def _seeded(folder: Path) -> Simulator:
    seeds = folder / "data" / "clients"
    seeds.mkdir(parents=True)
    (seeds / "claude-code.json").write_text(json.dumps(DOCUMENT))
    return Simulator(folder)


@pytest.fixture(scope="session")
def seeded_server() -> Iterator[Stand]:
    """It, for all tests of this folder that sign Claude Code in."""
    installed("claude")
    with SeededStand() as stand:
        yield stand
        hits = search(stand)
        faults = [line for line in stand.server.logs().splitlines() if b'"unhandled"' in line]
    assert not faults, faults[0][:1500]
    assert not hits, hits


@pytest.fixture
def seeded_tenant(seeded_server: Stand) -> Iterator[TenantKit]:
    """A tenant of it, with a connection that has a typed tool which changes something."""
    kit = seeded_server.tenant()
    kit.connection(tools=["POST /zones/{zone_id}/purge_cache"])
    yield kit
    kit.close()


@pytest.fixture
def acme(tenant: TenantKit) -> TenantKit:
    """A tenant of the shared installation, likewise."""
    tenant.connection(tools=["POST /zones/{zone_id}/purge_cache"])
    return tenant


@pytest.fixture
def claude(tmp_path: Path, models: ModelApi, request: pytest.FixtureRequest) -> Iterator[ClaudeCode]:
    """Claude Code in a home of its own. No upstream token may be found there afterwards, nor in what its model read."""
    installed("claude")
    home = tmp_path / "home"
    home.mkdir()
    made = ClaudeCode(home, models)
    yield made
    told = json.dumps([talk.script.requests for talk in made.talks]).encode()
    upstream = {
        token["value"]
        for stand in _stands(request)
        for token in stand.simulator.control("GET", "/credentials")["tokens"]
    }
    assert upstream, "no canaries were planted"
    assert find({"the model": told, **made.files()}, upstream) == []


def _stands(request: pytest.FixtureRequest) -> list[Stand]:
    return [request.getfixturevalue(n) for n in ("running_server", "seeded_server") if n in request.fixturenames]


@pytest.fixture
def expire() -> Expire:
    """Makes an engineer's sessions, but for sign-ins, end now, as if their minutes were over."""

    def act(kit: TenantKit, engineer: Engineer) -> None:
        # In the database, whose word is the only one: an API that ends a session says `revoked`, not `expired`.
        done = asyncio.run(_expire(kit.stand.server.database(), engineer.identifier))
        assert done > 0

    return act


async def _expire(database: dict[str, Any], identifier: str) -> int:
    connection = await asyncpg.connect(**database)
    try:
        status: str = await connection.execute(
            """
            update broker.bearers b set expires_at = now()
              from broker.identities i
             where i.tenant_id = b.tenant_id and i.id = b.identity_id and i.identifier = $1
               and b.kind = 'session' and b.expires_at between now() and now() + interval '1 day'""",
            identifier,
        )
    finally:
        await connection.close()
    return int(status.split()[-1])

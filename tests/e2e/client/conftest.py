"""The client against a running installation: an engineer who may do everything, and an agent key."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from keyreeve import AsyncKeyreeve, Keyreeve

from bench.harness import Stand
from bench.kit import Engineer, TenantKit

ZONES = {"operation": "GET /zones"}
CALL = "cloudflare_call"


@dataclass
class World:
    """What a test works with."""

    stand: Stand
    kit: TenantKit
    engineer: Engineer
    key: str

    def client(self, **options: Any) -> Keyreeve:
        """A blocking client with the agent key."""
        return Keyreeve(self.stand.url, self.key, **options)

    def async_client(self, **options: Any) -> AsyncKeyreeve:
        """An async client with the agent key."""
        return AsyncKeyreeve(self.stand.url, self.key, **options)

    def calls(self, path: str) -> int:
        """How many requests with this engineer's token arrived upstream at a path."""
        found = self.stand.simulator.journal(principal=self.engineer.principal)
        return len([one for one in found if one["path"].endswith(path)])

    def latency(self, seconds: float, times: int | None = 1) -> None:
        """Slows this engineer's upstream calls down."""
        match = {"principal": self.engineer.principal}
        self.stand.simulator.fault("latency", times=times, match=match, seconds=seconds)

    async def expire(self, session_id: str) -> None:
        """Lets a session's time be over."""
        connection = await asyncpg.connect(**self.stand.server.database())
        try:
            done = await connection.execute(
                "update broker.bearers set expires_at = now() - interval '1 s' where id = $1::uuid", session_id
            )
            assert done == "UPDATE 1"
        finally:
            await connection.close()


@pytest.fixture
def world(running_server: Stand, make_kit: Callable[[], TenantKit]) -> Iterator[World]:
    kit = make_kit()
    kit.connection()
    engineer = kit.engineer()
    yield World(running_server, kit, engineer, str(kit.key("agent", identifiers=["*"])["key"]))
    engineer.close()
    running_server.simulator.clear_faults()

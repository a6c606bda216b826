"""What a program is told of its caller is told of one connection: what is granted on others says nothing about it."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from broker.domain import Grant
from broker.ids import new_id
from broker.tools.codemode.searching import Searching
from connectors.base import Permissions

NOW = datetime(2026, 11, 21, tzinfo=UTC)
HERE, ELSEWHERE = new_id(), new_id()


def grant(connection_id: UUID, zones: tuple[str, ...] | None, expires_at: datetime | None = None) -> Grant:
    return Grant(new_id(), "everyone", connection_id, None, "read", None, None, zones, "own", expires_at)


async def zones_told(*grants: Grant) -> Any:
    clock: Any = SimpleNamespace(now=lambda: NOW)
    nothing: Any = None
    connector = SimpleNamespace(reachable_zones=lambda _: ("here", "there"), reachable_accounts=lambda _: None)
    job: Any = SimpleNamespace(
        resolved=SimpleNamespace(caller=SimpleNamespace(identity=None), grants=grants),
        connection=SimpleNamespace(id=HERE),
        view=SimpleNamespace(name="cf", connector=connector),
    )
    reach: Any = SimpleNamespace(access="read", sentence="You may read")
    told = await Searching(nothing, clock)._whoami(job, None, Permissions("unknown"), reach)
    return told["zones"]


async def test_only_the_connections_own_grants_count_and_only_while_they_live() -> None:
    mine = grant(HERE, ("here",))
    assert await zones_told(mine) == ["here"]
    assert await zones_told(mine, grant(ELSEWHERE, ("there",))) == ["here"]
    assert await zones_told(mine, grant(ELSEWHERE, None)) == ["here"]
    assert await zones_told(mine, grant(HERE, None, NOW - timedelta(seconds=1))) == ["here"]
    assert await zones_told(mine, grant(HERE, None)) == ["here", "there"]

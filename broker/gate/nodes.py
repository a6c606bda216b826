"""The processes of this installation, each by its boot id: how others know that one is gone."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text

from broker.db.database import Database

BEAT_SECONDS: Final = 5
GONE_AFTER: Final = timedelta(seconds=30)
"""A process not heard of for this long, by the database's clock, is gone."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """This process: `node` is the machine's name, `boot` this life of the process."""

    node: str
    boot: UUID


class Nodes:
    """Says that this process lives, and tells which do."""

    def __init__(self, db: Database, me: NodeInfo) -> None:
        self._db = db
        self._me = me

    async def beat(self, now: datetime) -> None:
        """Says that this process lives. Call it every 5 s, and before the first call is admitted."""
        statement = text(
            """
            insert into broker.nodes (boot, node, started_at, seen_at) values (:boot, :node, :now, clock_timestamp())
            on conflict (boot) do update set seen_at = clock_timestamp()"""
        )
        async with self._db.platform() as conn:
            await conn.execute(statement, {"boot": self._me.boot, "node": self._me.node[:100], "now": now})

    async def alive(self) -> list[UUID]:
        """The boots heard of in the last 30 s; forgets those not heard of for a day."""
        async with self._db.platform() as conn:
            await conn.execute(text("delete from broker.nodes where seen_at < clock_timestamp() - interval '1 day'"))
            rows = await conn.execute(
                text("select boot from broker.nodes where seen_at > clock_timestamp() - cast(:gone as interval)"),
                {"gone": GONE_AFTER},
            )
            return [row[0] for row in rows]

    async def leave(self) -> None:
        """Says that this process ends in order: nothing of it is open."""
        async with self._db.platform() as conn:
            await conn.execute(text("delete from broker.nodes where boot = :boot"), {"boot": self._me.boot})

"""Connections to PostgreSQL as the role `keyreeve_app`: a raw pool for the hot path, SQLAlchemy for the rest."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from broker.ids import NIL

_SCOPE = text("select set_config('keyreeve.tenant', :tenant, true)")


async def _keep(_: asyncpg.Connection) -> None:
    """Nothing to reset: every statement of the hot path is one function call that leaves no session state."""


class Database:
    """Both ways to the database. Make one per process with `open`, give it back with `close`."""

    def __init__(self, engine: AsyncEngine, pool: asyncpg.Pool) -> None:
        self._engine = engine
        self._snapshots = engine.execution_options(isolation_level="REPEATABLE READ")
        self.pool = pool

    @classmethod
    async def open(
        cls,
        *,
        url: str,
        connect: Mapping[str, Any],
        engine_arguments: Mapping[str, Any] | None = None,
        hot: int = 8,
        admin: int = 5,
    ) -> "Database":
        """Opens the pools. `url` and `engine_arguments` are SQLAlchemy's spelling of the place, `connect` asyncpg's;
        `hot` and `admin` are their sizes in connections. Raises OSError and the drivers' errors."""
        arguments = dict(engine_arguments or {})
        engine = create_async_engine(
            url,
            pool_size=admin,
            max_overflow=admin,
            pool_timeout=10,
            pool_pre_ping=True,
            hide_parameters=True,  # an error must not print what a statement carried
            **arguments,
        )
        try:
            pool = await asyncpg.create_pool(
                **connect,
                min_size=min(2, hot),
                max_size=hot,
                reset=_keep,
                command_timeout=15,
                timeout=10,
                max_inactive_connection_lifetime=0,  # a timer each time a connection is given back, to close eight
                server_settings={
                    "application_name": "keyreeve",
                    "lock_timeout": "2s",
                    "jit": "off",
                    "plan_cache_mode": "force_generic_plan",
                },
            )
        except BaseException:
            await engine.dispose()
            raise
        return cls(engine, pool)

    async def close(self) -> None:
        """Closes both pools; calls still running are given 5 s."""
        await self._engine.dispose()
        try:
            async with asyncio.timeout(5):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    @asynccontextmanager
    async def tenant(self, tenant_id: UUID) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees and writes `tenant_id`'s rows only. Commits on leaving, rolls back on an error."""
        async with self._engine.begin() as connection:
            await connection.execute(_SCOPE, {"tenant": str(tenant_id)})
            yield connection

    @asynccontextmanager
    async def snapshot(self, tenant_id: UUID) -> AsyncIterator[AsyncConnection]:
        """As `tenant`, for reading alone: what its statements see was there when the first began."""
        async with self._snapshots.begin() as connection:
            await connection.execute(_SCOPE, {"tenant": str(tenant_id)})
            yield connection

    @asynccontextmanager
    async def platform(self) -> AsyncIterator[AsyncConnection]:
        """One transaction for the platform tables; no tenant's row is visible in it."""
        async with self.tenant(NIL) as connection:
            yield connection

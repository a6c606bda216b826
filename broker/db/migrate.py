"""Bringing the schema to the version this code was written against. Forward only, under one lock, as the owner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from broker.db import functions
from broker.db.schema import CURRENT

__all__ = ["CURRENT", "head", "migrate"]

_LOCK = 0x6B72765F6D696772  # "krv_migr"


def _script_location() -> Path:
    """The migrations: inside the wheel `broker/_migrations`, in a checkout the top-level folder."""
    packaged = Path(__file__).resolve().parent.parent / "_migrations"
    return packaged if packaged.is_dir() else packaged.parent.parent / "migrations"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_script_location()))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The newest revision this code knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the installation holds no migrations")
    return revision


def _upgrade(connection: Connection) -> bool:
    connection.execute(text("select pg_advisory_lock(:k)"), {"k": _LOCK})
    connection.commit()
    try:
        before = MigrationContext.configure(connection, opts={"version_table_schema": "public"}).get_current_revision()
        connection.commit()
        known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
        if before is not None and before not in known:
            # A newer release migrated this database; migrations only add, so this one may go on beside it.
            changed = False
        else:
            command.upgrade(_config(connection), "head")
            connection.commit()
            changed = before != head()
        changed = functions.install(connection) or changed
        connection.commit()
    finally:
        connection.rollback()
        connection.execute(text("select pg_advisory_unlock(:k)"), {"k": _LOCK})
        connection.commit()
    return changed


async def migrate(owner_url: str, engine_arguments: Mapping[str, Any] | None = None) -> bool:
    """Migrates and installs the SQL functions; returns whether anything changed. `owner_url` is a SQLAlchemy URL."""
    engine = create_async_engine(owner_url, hide_parameters=True, **(engine_arguments or {}))
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()

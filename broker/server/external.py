"""An external PostgreSQL, looked at before anything is trusted to it."""

import asyncpg
import structlog

from broker.clock import SystemClock
from broker.db.schema import CURRENT
from broker.db.server_checks import DatabaseUrlRefused, ExternalDatabase, check_server, parse_database_url
from broker.server.errors import CannotStart

_log = structlog.get_logger(__name__)


async def open_external(url: str, owner_url: str | None) -> tuple[ExternalDatabase, ExternalDatabase | None]:
    """The serving role's place and the owner's (None: an operator migrates). Raises CannotStart."""
    try:
        app = parse_database_url(url)
        owner = None if owner_url is None else parse_database_url(owner_url, "KEYREEVE_DATABASE_OWNER_URL")
    except DatabaseUrlRefused as error:
        raise CannotStart(str(error), "see the deployment runbook") from None
    try:
        connection = await asyncpg.connect(**app.connect_kwargs(), timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        what = f"the database of KEYREEVE_DATABASE_URL cannot be reached as {app.user}: {type(error).__name__}: {error}"
        raise CannotStart(what, "check address, role and password") from None
    try:
        await _judge(connection)
        if owner is None:
            await _migrated(connection)
    finally:
        await connection.close()
    return app, owner


async def _judge(connection: asyncpg.Connection) -> None:
    found = await check_server(connection, SystemClock().now)
    for finding in found:
        if finding.level == "warn":
            _log.warning("database", check=finding.check, message=finding.message, fix=finding.fix)
    failed = [f for f in found if f.level == "fail"]
    if failed:
        raise CannotStart("; ".join(f.message for f in failed), "; ".join(f.fix for f in failed))


async def _migrated(connection: asyncpg.Connection) -> None:
    """Without the owner's URL this server cannot migrate, so somebody must have."""
    try:
        await connection.fetchval(CURRENT)
    except asyncpg.PostgresError:
        what = "the database has no Keyreeve schema, or the serving role may not read its version"
        raise CannotStart(what, "set KEYREEVE_DATABASE_OWNER_URL, or run `keyreeve migrate` as the owner") from None

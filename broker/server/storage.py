"""The database a server runs on: the embedded one, or the external one that `KEYREEVE_DATABASE_URL` names."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import structlog

from broker.db.embedded.connection import ConnectionInfo
from broker.db.embedded.errors import EmbeddedError
from broker.db.embedded.server import EmbeddedPostgres
from broker.db.server_checks import ExternalDatabase
from broker.server.errors import CannotStart
from broker.server.external import open_external
from broker.server.privileges import Serving
from broker.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the database is. `owner` None: this server may not migrate; an operator does."""

    app: ExternalDatabase
    owner: ExternalDatabase | None
    embedded: EmbeddedPostgres | None = None

    async def keep(self) -> None:
        """Returns only by raising CannotStart, when the embedded server cannot be kept running."""
        if self.embedded is None:
            await asyncio.Event().wait()
        else:
            while (error := self.embedded.gave_up()) is None:  # noqa: ASYNC110 - a look at a process, not at an event
                await asyncio.sleep(0.2)
            raise CannotStart(f"the database cannot be kept running: {error}", "its log, above, says why")


@asynccontextmanager
async def open_storage(settings: Settings, serving: Serving) -> AsyncIterator[Storage]:
    """The storage, ready for connections. Raises CannotStart."""
    if settings.database_url is not None:
        yield Storage(*await open_external(settings.database_url, settings.database_owner_url))
        return

    def told(restarts: int) -> None:
        _log.error("database restarted", restarts=restarts)

    server = EmbeddedPostgres(
        settings.data_dir,
        reader_gid=None if serving.account is None else serving.account.gid,
        on_restart=told,
    )
    try:
        info: ConnectionInfo = await server.start()
    except EmbeddedError as error:
        raise CannotStart(str(error), "or name another PostgreSQL with KEYREEVE_DATABASE_URL") from None
    try:
        yield Storage(place_of(info, "app"), place_of(info, "owner"), server)
    finally:
        await server.stop()


def place_of(info: ConnectionInfo, role: Literal["app", "owner"]) -> ExternalDatabase:
    """The embedded server's address in a role, in the words of any database's."""
    given = info.connect_kwargs(role)
    return ExternalDatabase(
        host=given["host"],
        port=given["port"],
        user=given["user"],
        database=given["database"],
        password=given["password"],
        verified=False,
    )

"""The database of a data directory, for commands that work on it without a server's API."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from broker import logs
from broker.cli.errors import CommandError
from broker.cli.serving import cannot
from broker.cli.session import Cli
from broker.db.embedded.home import HOME, recorded
from broker.server.errors import CannotStart
from broker.server.privileges import Serving
from broker.server.storage import Storage, open_storage, place_of
from broker.settings import Settings

T = TypeVar("T")


def run_with_storage(cli: Cli, work: Callable[[Settings, Storage], Awaitable[T]]) -> T:
    """Runs `work` with the database reachable: the external one, the embedded one of a running server, or the embedded
    one started for as long as this takes. Raises CommandError."""
    quiet(cli)
    settings = cli.settings

    async def run() -> T:
        async with reach(settings) as storage:
            return await work(settings, storage)

    try:
        return asyncio.run(run())
    except CannotStart as error:
        raise cannot(error) from None


def quiet(cli: Cli) -> None:
    """Lets only warnings through, to standard error: standard output is the command's answer."""
    logs.configure(json=cli.out.as_json, node="", level=logging.WARNING)


@asynccontextmanager
async def reach(settings: Settings) -> AsyncIterator[Storage]:
    """The storage, however it is run at this moment. Raises CannotStart, CommandError."""
    if settings.database_url is None:
        if settings.database_owner_url is not None:
            told = "KEYREEVE_DATABASE_OWNER_URL is set, but KEYREEVE_DATABASE_URL is not"
            raise CommandError(told, "set both, or neither for the embedded database")
        running = await running_embedded(settings)
        if running is not None:
            yield running
            return
        if not (settings.data_dir / HOME).is_dir():
            raise CommandError(
                f"there is no database in {settings.data_dir}",
                "`keyreeve up` makes one; or name its folder with --data-dir",
            )
    async with open_storage(settings, Serving(None)) as storage:
        yield storage


async def running_embedded(settings: Settings) -> Storage | None:
    """The embedded database that another process runs on this data directory, or None where none answers."""
    try:
        info = recorded(settings.data_dir)
    except PermissionError:
        raise CommandError(
            f"{settings.data_dir / HOME} belongs to another user", "run as the user that runs the server"
        ) from None
    if info is None:
        return None
    try:
        connection = await asyncpg.connect(**info.connect_kwargs("app"), timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    await connection.close(timeout=5)
    return Storage(place_of(info, "app"), place_of(info, "owner"))

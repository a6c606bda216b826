"""The supervisor: starts the private PostgreSQL, keeps it running, stops it."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg
import structlog

from broker.db.embedded import cluster, config, leftovers
from broker.db.embedded.binaries import Binaries, find_binaries
from broker.db.embedded.connection import ConnectionInfo
from broker.db.embedded.errors import DiskFull, EmbeddedError, StartFailed
from broker.db.embedded.home import Home, make_socket_folder
from broker.db.embedded.process import ServerProcess
from broker.db.embedded.roles import Passwords, new_passwords
from broker.db.embedded.users import Account, database_account

_log = structlog.get_logger(__name__)

_LOOK = 0.05
_BUSY_SECONDS = 5.0
"""After a kill, helpers of the dead server may hold its shared memory for a moment: starting is tried that long."""
_BACKOFF_MAX = 30.0
_STEADY = 60.0
_GIVE_UP = 8
_STOPS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 15.0), (signal.SIGKILL, 10.0))


class EmbeddedPostgres:
    """A private PostgreSQL for one data directory.

    `run_as` names the user that runs it when started as root (default: `keyreeve-db`, `postgres`, or a bare uid);
    otherwise it runs as this process's own user. `reader_gid` is the group of the processes that connect, if they are
    neither root nor that user. `socket_parents` are folders to try for the socket's folder. `on_restart` is called with
    the number of restarts so far whenever the server is back after it died. `durable=False` is for tests only: it loses
    acknowledged writes in a crash.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        durable: bool = True,
        run_as: str | int | None = None,
        reader_gid: int | None = None,
        on_restart: Callable[[int], None] | None = None,
        socket_parents: Sequence[Path] = (Path("/run"), Path("/tmp")),  # noqa: S108 - a random folder is made inside
        binaries: Binaries | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._durable = durable
        self._run_as = run_as
        self._reader_gid = reader_gid
        self._on_restart = on_restart
        self._socket_parents = list(socket_parents)
        self._binaries = binaries
        self._account: Account | None = None
        self._home: Home | None = None
        self._info: ConnectionInfo | None = None
        self._process: ServerProcess | None = None
        self._monitor: asyncio.Task[None] | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while one is running."""
        return self._process.pid if self._process else None

    @property
    def account(self) -> Account | None:
        """The user PostgreSQL runs as, where it is not this process's own. Known once started."""
        return self._account

    async def start(self) -> ConnectionInfo:
        """Starts PostgreSQL and waits until it answers, however long its recovery takes. The first time takes 1-2 s.

        Call it on a thread that outlives the server (a program's main thread). Raises `EmbeddedError`; nothing is left
        running or locked then.
        """
        if self._home is not None:
            raise EmbeddedError("already started")
        began = time.monotonic()
        try:
            preparing = asyncio.create_task(asyncio.to_thread(self._prepare))
            try:
                info = await asyncio.shield(preparing)
            except asyncio.CancelledError:
                await asyncio.wait({preparing})  # the thread cannot be stopped; the lock must outlast it
                raise
            await self._start_process()
        except BaseException:
            await self._halt()
            raise
        self._monitor = asyncio.create_task(self._keep(), name="embedded-postgres")
        _log.info("database ready", seconds=round(time.monotonic() - began, 2), pid=self.pid)
        return info

    async def stop(self) -> None:
        """Stops PostgreSQL (fast shutdown, then harder) and gives the data directory back. Nothing the second time."""
        if self._monitor is not None:
            self._monitor.cancel()
            await asyncio.gather(self._monitor, return_exceptions=True)
            self._monitor = None
        await self._halt()

    def gave_up(self) -> Exception | None:
        """Why the supervisor no longer keeps PostgreSQL running; None while it does (or before `start`)."""
        monitor = self._monitor
        if monitor is None or not monitor.done() or monitor.cancelled():
            return None
        error = monitor.exception()
        return error if isinstance(error, Exception) else EmbeddedError("the supervisor ended")

    def _prepare(self) -> ConnectionInfo:
        """All that comes before the process: user, lock, programs, leftovers, cluster, socket folder. Blocks."""
        self._account = account = database_account(self._run_as)
        self._home = home = Home.acquire(self._data_dir)
        self._binaries = binaries = self._binaries or find_binaries(account)
        before = home.load()
        new = not home.cluster.exists()
        if not new:
            cluster.check_version(home.cluster, account, binaries)
            leftovers.stop_orphan(home.cluster, account)
        if before is not None:
            leftovers.remove_socket_folder(before.socket_dir, _owners(account))
        cluster.check_room(home.path, new=new)
        if before is None or new:
            passwords = new_passwords()
            before = _info(passwords)
            # Saved first: a kill in between leaves passwords without a cluster, never a cluster without passwords.
            home.save(before)
            if new:
                _log.info("making the database", folder=str(home.cluster))
                cluster.create(home.cluster, account, binaries, passwords, durable=self._durable)
            else:
                _log.warning("the database's passwords were lost; setting new ones")
                cluster.set_passwords(home.cluster, account, binaries, passwords, durable=self._durable)
        self._info = info = replace(
            before, socket_dir=make_socket_folder(self._socket_parents, account, self._reader_gid)
        )
        home.save(info)
        return info

    def _spawn(self) -> ServerProcess:
        home, binaries, info = self._home, self._binaries, self._info
        if home is None or binaries is None or info is None:
            raise EmbeddedError("not started")
        with cluster.opened(home.cluster, self._account) as folder:
            argv = [binaries.postgres, "-D", folder.argument]
            argv += config.server_arguments(info.socket_dir, major=binaries.major, durable=self._durable)
            return ServerProcess.spawn(argv, self._account, folder.pass_fds)

    async def _start_process(self) -> None:
        """One process, until it answers. Raises `StartFailed` or `DiskFull` when it ends first."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            self._process = process = self._spawn()
            ended = await self._until_ready(process)
            if ended is None:
                return
            busy = "shared memory block" in process.tail or "is still in use" in process.tail
            if not busy or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
        self._process = None
        if "No space left on device" in process.tail:
            raise DiskFull(f"the file system of {self._data_dir} is full: make room and start again")
        raise StartFailed(f"PostgreSQL ended with {ended} before it was ready: {process.tail}")

    async def _until_ready(self, process: ServerProcess) -> int | None:
        """Waits for an answer (None) or for the process's end (its status). Recovery may take minutes: no limit."""
        began = told = time.monotonic()
        while True:
            status = process.poll()
            if status is not None:
                return status
            if await self._answers():
                return None
            if time.monotonic() - told >= 10:
                told = time.monotonic()
                _log.info("waiting for the database", seconds=round(told - began), last=process.tail[-200:])
            await asyncio.sleep(_LOOK)

    async def _answers(self) -> bool:
        if self._info is None:
            return False
        try:
            connection = await asyncpg.connect(**self._info.connect_kwargs("app"), timeout=5)
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError):
            return False
        except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError):  # it ended while answering
            return False
        except asyncpg.PostgresError as error:
            raise StartFailed(f"the database refuses its own role: {error.sqlstate}") from None
        await connection.close(timeout=5)
        return True

    async def _keep(self) -> None:
        """Watches, reaps and restarts; ends only by raising the error that made it give up."""
        failures, since = 0, time.monotonic()
        while True:
            await asyncio.sleep(_LOOK)
            process = self._process
            leftovers.reap_inherited(process.pid if process is not None else None)
            status = process.poll() if process is not None else None
            if process is not None and status is None:
                continue
            if process is not None:
                _log.error("the database ended unexpectedly", status=status, last=process.tail[-300:])
                self._process = None
            failures = 0 if time.monotonic() - since > _STEADY else failures
            try:
                await self._start_process()
            except (EmbeddedError, OSError) as error:  # OSError: no room for another process or descriptor just now
                failures += 1
                _log.error("the database does not start", attempt=failures, reason=str(error))
                if failures >= _GIVE_UP:
                    raise
                await asyncio.sleep(min(_BACKOFF_MAX, 0.25 * 2**failures))
                continue
            since = time.monotonic()
            self.restarts += 1
            _log.info("database restarted", restarts=self.restarts)
            if self._on_restart is not None:
                self._on_restart(self.restarts)

    async def _halt(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            for signum, seconds in _STOPS:
                if await _ends(process, signum, seconds):
                    break
        home, info = self._home, self._info
        self._home = self._info = None
        if info is not None:
            await asyncio.to_thread(leftovers.remove_socket_folder, info.socket_dir, _owners(self._account))
        if home is not None:
            home.release()


def _info(passwords: Passwords) -> ConnectionInfo:
    return ConnectionInfo(
        socket_dir="",
        port=config.PORT,
        superuser_password=passwords.superuser,
        owner_password=passwords.owner,
        app_password=passwords.app,
    )


def _owners(account: Account | None) -> frozenset[int]:
    return frozenset({os.geteuid()} | ({account.uid} if account else set()))


async def _ends(process: ServerProcess, signum: signal.Signals, seconds: float) -> bool:
    process.send(signum)
    deadline = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > deadline:
            _log.warning("the database does not end", signal=signum.name)
            return False
        await asyncio.sleep(0.01)
    return True

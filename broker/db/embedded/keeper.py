"""The parent process of `keyreeve up`: starts PostgreSQL, then the serving processes, and keeps both running.

Started as root it is the one process that stays root, does nothing but this, and listens to nobody: PostgreSQL runs as
one user, serving as another, and neither can read the other's files. Started as a normal user everything is that user.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from broker.db.embedded.connection import ConnectionInfo, Handoff
from broker.db.embedded.errors import ChildFailed, EmbeddedError
from broker.db.embedded.home import HOME
from broker.db.embedded.server import EmbeddedPostgres
from broker.db.embedded.users import (
    Account,
    can_run,
    database_account,
    hand_over,
    run_in,
    serving_account,
    tied_to_parent,
)

_log = structlog.get_logger(__name__)

_LOOK = 0.05
_STEADY = 10.0
_GIVE_UP = 5
_BACKOFF_MAX = 10.0
_REACH = "import os, sys, broker; os.chdir(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class Child:
    """A command that the keeper runs. `env` is its whole environment; `pass_fds` it inherits (a listening socket)."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    pass_fds: tuple[int, ...] = ()


class _Running:
    """One serving process and its history."""

    def __init__(self, child: Child, popen: "subprocess.Popen[bytes]") -> None:
        self.child = child
        self.popen: subprocess.Popen[bytes] | None = popen
        self.since = time.monotonic()
        self.quick_ends = 0


class Keeper:
    """Runs one installation on one machine until it is told to stop.

    `embedded=False` keeps only the serving processes (the database is elsewhere). `extra` goes to every child inside
    its hand-off (secrets taken from the environment). `serve_as` and `database_as` name the users for serving and for
    PostgreSQL when started as root. `drain_seconds` is how long a child may take to end after SIGTERM.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        embedded: bool = True,
        extra: Mapping[str, str] | None = None,
        serve_as: str | int | None = None,
        database_as: str | int | None = None,
        drain_seconds: float = 20.0,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._embedded = embedded
        self._extra = dict(extra or {})
        self._serve_as = serve_as
        self._database_as = database_as
        self._drain_seconds = drain_seconds
        self._account: Account | None = None
        self._database: EmbeddedPostgres | None = None
        self._info: ConnectionInfo | None = None
        self._running: list[_Running] = []
        self._orders = 0
        self.child_restarts = 0

    async def run(self, servers: Sequence[Child], *, prepare: Sequence[Child] = ()) -> None:
        """Runs everything until SIGTERM, SIGINT or SIGHUP; returns after an orderly stop.

        First PostgreSQL; then each of `prepare` once, in order, with all database roles (migrations, first keys); then
        `servers`, with the role `keyreeve_app` only, restarted when they end. A stop goes the other way round: children
        drain, then PostgreSQL shuts down; a second signal kills the children at once. Call it on the main thread.
        Raises `EmbeddedError` when something cannot be started or kept running; nothing is left behind then either.
        """
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        for signum in signals:
            loop.add_signal_handler(signum, self._order)
        try:
            await self._start_database()
            for child in prepare:
                await self._run_once(child)
            if not self._orders:
                self._running = [_Running(child, self._spawn(child, serving=True)) for child in servers]
                await self._watch()
        finally:
            await self._stop_children()
            if self._database is not None:
                await self._database.stop()
            for signum in signals:
                loop.remove_signal_handler(signum)

    def _order(self) -> None:
        self._orders += 1

    async def _start_database(self) -> None:
        database_user = database_account(self._database_as) if self._embedded else None
        self._account = await asyncio.to_thread(self._leave_root, database_user)
        if not self._embedded:
            return
        self._database = EmbeddedPostgres(
            self._data_dir,
            run_as=None if database_user is None else database_user.uid,
            reader_gid=None if self._account is None else self._account.gid,
        )
        self._info = await self._database.start()

    def _leave_root(self, database_user: Account | None) -> Account | None:
        """The user that serves, after giving it the data directory; None stays the same user."""
        account = serving_account(database_user, self._serve_as)
        if account is None:
            return None
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not can_run(account, [sys.executable, "-c", _REACH, str(self._data_dir.parent)]):
            _log.warning(
                "serving as root: the other user cannot reach the program or the data directory",
                user=account.name,
                program=sys.executable,
                data_dir=str(self._data_dir),
            )
            if self._data_dir.stat().st_uid != 0:  # it was reachable once; the key file must belong to who reads it
                hand_over(self._data_dir, Account(0, 0, "root"), skip=frozenset({HOME}))
            return None
        hand_over(self._data_dir, account, skip=frozenset({HOME}))
        return account

    def _spawn(self, child: Child, *, serving: bool) -> "subprocess.Popen[bytes]":
        info = self._info.for_serving() if serving and self._info else self._info
        document = Handoff(info, self._extra).encode()
        settings: dict[str, Any] = run_in(self._account)
        settings["env"] = dict(child.env)
        if self._account is not None:
            settings["env"]["HOME"] = str(self._data_dir)
        popen = subprocess.Popen(  # noqa: S603 - the caller's own program
            list(child.argv),
            stdin=subprocess.PIPE,
            pass_fds=child.pass_fds,
            start_new_session=True,
            preexec_fn=tied_to_parent(signal.SIGTERM),  # noqa: PLW1509 - takes no lock; see there
            **settings,
        )
        if popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError), popen.stdin as stdin:  # it ended already: the watch sees that
                stdin.write(document)
        return popen

    async def _run_once(self, child: Child) -> None:
        if self._orders:
            return
        running = _Running(child, self._spawn(child, serving=False))
        self._running = [running]
        while (status := _status(running)) is None and not self._orders:
            await self._still()
        if status is not None:
            self._running = []
            if status != 0:
                raise ChildFailed(f"{child.name} ended with {status}; its own messages say why")

    async def _watch(self) -> None:
        """Until told to stop. Raises what the database gave up with, or `ChildFailed`."""
        while not self._orders:
            await self._still()
            for running in self._running:
                if running.popen is None:
                    self._restart_when_due(running)
                elif (status := _status(running)) is not None:
                    self._note_end(running, status)

    async def _still(self) -> None:
        """One look's pause. Raises what the database gave up with."""
        await asyncio.sleep(_LOOK)
        if self._database is not None and (error := self._database.gave_up()) is not None:
            raise error if isinstance(error, EmbeddedError) else EmbeddedError(repr(error)[:500]) from error

    def _note_end(self, running: _Running, status: int) -> None:
        quick = time.monotonic() - running.since < _STEADY
        running.quick_ends = running.quick_ends + 1 if quick else 1
        running.popen = None
        running.since = time.monotonic()
        _log.error("a serving process ended", name=running.child.name, status=status, in_a_row=running.quick_ends)
        if running.quick_ends >= _GIVE_UP:
            raise ChildFailed(
                f"{running.child.name} ended {running.quick_ends} times in a row (last with {status}); "
                f"its own messages say why"
            )

    def _restart_when_due(self, running: _Running) -> None:
        if time.monotonic() - running.since < min(_BACKOFF_MAX, 0.1 * 2 ** (running.quick_ends - 1)):
            return
        running.popen = self._spawn(running.child, serving=True)
        running.since = time.monotonic()
        self.child_restarts += 1
        _log.info("serving process restarted", name=running.child.name, restarts=self.child_restarts)

    async def _stop_children(self) -> None:
        alive = [running for running in self._running if running.popen is not None and _status(running) is None]
        orders = self._orders
        for running in alive:
            _send(running, signal.SIGTERM)
        deadline = time.monotonic() + self._drain_seconds
        while alive and time.monotonic() < deadline and self._orders == orders:
            await asyncio.sleep(_LOOK)
            alive = [running for running in alive if _status(running) is None]
        for running in alive:
            _log.warning("killing a serving process that does not end", name=running.child.name)
            _send(running, signal.SIGKILL)
            if running.popen is not None:
                await asyncio.to_thread(running.popen.wait)
        self._running = []


def _status(running: _Running) -> int | None:
    return None if running.popen is None else running.popen.poll()


def _send(running: _Running, signum: signal.Signals) -> None:
    if running.popen is not None:
        running.popen.send_signal(signum)

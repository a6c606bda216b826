"""Leaving root behind: when started as root, the workers serve as another user wherever that user can run the code."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from broker.db.embedded.errors import NoSafeUser
from broker.db.embedded.users import Account, database_account, serving_account
from broker.server.errors import CannotStart
from broker.server.forking import Zygote


@dataclass(frozen=True, slots=True)
class Serving:
    """Who the workers run as; None: this process's own user."""

    account: Account | None

    def zygote(self) -> Zygote:
        """A new zygote of that user. Raises CannotStart."""
        try:
            return Zygote.start(self.account)
        except OSError as error:
            what = f"no process can be started with {sys.executable}: {error.strerror}"
            raise CannotStart(what, "see the limits on processes and memory") from None

    def give(self, folder: Path) -> None:
        """Makes `folder`, which is empty, the serving user's own."""
        if self.account is not None:
            os.chown(folder, self.account.uid, self.account.gid, follow_symlinks=False)


class Beginning:
    """The zygote on its way, as the user that is meant to serve: it imports while this process does.

    Make it first of all, before a thread or an event loop is there; `settle` says what came of it.
    """

    def __init__(self) -> None:
        self._warning: dict[str, str] = {}
        self._account: Account | None = None
        try:
            self._account = serving_account(database_account())
        except NoSafeUser as error:
            self._warning = {"cause": str(error)}
        self._zygote: Zygote | None
        try:
            self._zygote = Zygote.start(self._account)
        except OSError:  # that user may not run the interpreter
            self._zygote = None

    async def settle(self) -> tuple[Serving, Zygote]:
        """The user to serve as, and its zygote. Stays root, with a warning, only where no other user can reach the
        installed code. Raises CannotStart."""
        zygote = self._zygote
        if zygote is not None and not await zygote.is_here():
            zygote = None
        if zygote is None and self._account is not None:
            self._warning = {
                "cause": f"{self._account.name} cannot run {sys.executable}",
                "advice": "install Keyreeve where other users can read it, or start it as a normal user",
            }
            self._account = None
            zygote = Serving(None).zygote()
            if not await zygote.is_here():
                zygote = None
        if zygote is None:
            raise CannotStart(f"{sys.executable} cannot run the workers' program", "its words, above, say why")
        if self._warning:
            import structlog  # later than the zygote, which is on its way before anything else is loaded

            structlog.get_logger(__name__).warning("serving as root", **self._warning)
        return Serving(self._account), zygote

    def abandon(self) -> None:
        """Ends what was begun."""
        if self._zygote is not None:
            self._zygote.close()

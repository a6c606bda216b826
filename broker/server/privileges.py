"""Leaving root behind: when started as root, the workers serve as another user wherever that user can run the code."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import structlog

from broker.db.embedded.errors import NoSafeUser
from broker.db.embedded.users import Account, can_run, database_account, serving_account

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """Who the workers run as; None: this process's own user."""

    account: Account | None

    def give(self, folder: Path) -> None:
        """Makes `folder`, which is empty, the serving user's own."""
        if self.account is not None:
            os.chown(folder, self.account.uid, self.account.gid, follow_symlinks=False)


def choose_serving() -> Serving:
    """The user to serve as. Stays root, with a warning, only where no other user can reach the installed code."""
    try:
        account = serving_account(database_account())
    except NoSafeUser as error:
        _log.warning("serving as root", cause=str(error))
        return Serving(None)
    if account is None:
        return Serving(None)
    # Light parts of each place the program lives in; importing all of it would take a second of every start.
    probe = [sys.executable, "-P", "-c", "import broker.settings, connectors.errors, vault.errors, orjson, uvloop"]
    if not can_run(account, probe):
        _log.warning(
            "serving as root",
            cause=f"{account.name} cannot run {sys.executable}",
            advice="install Keyreeve where other users can read it, or start it as a normal user",
        )
        return Serving(None)
    return Serving(account)

"""Which operating-system users do what when Keyreeve is started as root: neither PostgreSQL nor serving stays root."""

import ctypes
import os
import pwd
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from broker.db.embedded.errors import NoSafeUser

_DATABASE_USERS = ("keyreeve-db", "postgres")
_DATABASE_UID = 60711
_SERVING_USERS = ("keyreeve",)
_SERVING_UID = 60712
"""Numbers that neither distributions nor systemd hand out; they need no entry in /etc/passwd."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Account:
    """An operating-system user to run something as."""

    uid: int
    gid: int
    name: str


def find_account(named: str | int | None, preferred: Sequence[str], otherwise: int) -> Account:
    """`named` if given (a name or a uid), else the first existing of `preferred`, else the bare uid `otherwise`.

    Raises `NoSafeUser` for an unknown name and for root.
    """
    account = Account(otherwise, otherwise, f"uid {otherwise}")
    if isinstance(named, int):
        account = Account(named, named, f"uid {named}")
    elif named is not None:
        try:
            entry = pwd.getpwnam(named)
        except KeyError as error:
            raise NoSafeUser(f"there is no user {named}") from error
        account = Account(entry.pw_uid, entry.pw_gid, named)
    else:
        users = {entry.pw_name: entry for entry in pwd.getpwall()}
        for name in preferred:
            if name in users:
                account = Account(users[name].pw_uid, users[name].pw_gid, name)
                break
    if account.uid == 0 or account.gid == 0:
        raise NoSafeUser(f"{account.name} is root or in root's group; choose another user")
    return account


def database_account(named: str | int | None = None) -> Account | None:
    """Who runs PostgreSQL: None (this process's own user) unless started as root. Raises `NoSafeUser`."""
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise NoSafeUser(
            "as root the embedded PostgreSQL needs Linux: start as a normal user or set KEYREEVE_DATABASE_URL"
        )
    return find_account(named, _DATABASE_USERS, _DATABASE_UID)


def serving_account(database: Account | None, named: str | int | None = None) -> Account | None:
    """Who serves: None (stay) unless started as root; never the user that runs PostgreSQL. Raises `NoSafeUser`."""
    if os.geteuid() != 0:
        return None
    account = find_account(named, _SERVING_USERS, _SERVING_UID)
    if database is not None and account.uid == database.uid:
        raise NoSafeUser(f"{account.name} runs PostgreSQL, so it must not serve: it could read the root key")
    return account


def in_passwd(account: Account) -> bool:
    """Whether the user has an entry in the system's user database (`initdb` insists on one)."""
    return any(entry.pw_uid == account.uid for entry in pwd.getpwall())


def stand_in(avoid: Sequence[int]) -> Account:
    """A user with an entry, for making a cluster that is then given to a user without one. Raises `NoSafeUser`."""
    entries = sorted(pwd.getpwall(), key=lambda entry: (entry.pw_name != "nobody", entry.pw_uid))
    for entry in entries:
        if entry.pw_uid not in (0, *avoid):
            return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    raise NoSafeUser("/etc/passwd knows no user but root: add one, or set KEYREEVE_DATABASE_URL")


def run_in(account: Account | None) -> dict[str, Any]:
    """Arguments for `subprocess`: as that user, without groups, environment or working directory of ours."""
    made: dict[str, Any] = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}}
    if account is not None:
        made |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return made


def tied_to_parent(signum: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn`: the child gets `signum` when this thread ends, dumps no core and makes private files.

    It runs after `subprocess` changed the user, which is what would clear the request (prctl(2)). Elsewhere than on
    Linux there is no such request; the next start then finds what was left behind.
    """
    parent = os.getpid()

    def prepare() -> None:
        os.umask(0o077)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
            if os.getppid() != parent:  # it died before the request was in place
                os._exit(1)

    return prepare


def can_run(account: Account, argv: Sequence[str]) -> bool:
    """Whether that user can run `argv` to success within 20 s (it can reach the interpreter and the code)."""
    try:
        done = subprocess.run(  # noqa: S603 - argv is the caller's own program
            list(argv), timeout=20, check=False, stdin=subprocess.DEVNULL, capture_output=True, **run_in(account)
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0

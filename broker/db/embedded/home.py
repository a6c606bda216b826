"""The folder `DIR/postgres` that this process's user keeps closed: the lock, the passwords, and the cluster inside."""

import fcntl
import json
import os
import stat
import tempfile
from dataclasses import asdict
from pathlib import Path

from broker.db.embedded.connection import ConnectionInfo
from broker.db.embedded.errors import DataDirInUse, EmbeddedError, ForeignDataDir
from broker.db.embedded.leftovers import SOCKET_PREFIX
from broker.db.embedded.users import Account

HOME = "postgres"
_SOCKET_NAME = len("/.s.PGSQL.5432.lock")
_SOCKET_BYTES = 103
"""The shortest limit on a Unix socket's path (macOS; Linux has 107)."""


class Home:
    """An opened and locked `DIR/postgres`. One process at a time; `release` gives it back."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd: int | None = lock_fd

    @classmethod
    def acquire(cls, data_dir: Path) -> "Home":
        """Makes the folder if needed and locks it. Raises `DataDirInUse` or `ForeignDataDir`."""
        path = data_dir.absolute() / HOME
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.mkdir(exist_ok=True, mode=0o700)
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise ForeignDataDir(
                    f"{path} is not a folder of this user (uid {os.geteuid()}): start as the user that made it"
                )
            path.chmod(0o700)
            fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise EmbeddedError(f"cannot use {path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(fd, 20).decode("ascii", "replace").strip()
            os.close(fd)
            raise DataDirInUse(
                f"{data_dir} is in use by process {holder or 'unknown'}: stop it, or use another --data-dir"
            ) from error
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        return cls(path, fd)

    def release(self) -> None:
        """Gives the lock back; nothing the second time."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    @property
    def cluster(self) -> Path:
        return self.path / "data"

    def load(self) -> ConnectionInfo | None:
        """The passwords and the last address, or None where they were never written or are damaged."""
        return _load(self.path / "connection.json")

    def save(self, info: ConnectionInfo) -> None:
        """Keeps them in a file that only this process's user can read; it is whole or it is the one before."""
        text = json.dumps(asdict(info)).encode()
        target, making = self.path / "connection.json", self.path / "connection.json.new"
        making.unlink(missing_ok=True)
        fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        making.rename(target)


def _load(path: Path) -> ConnectionInfo | None:
    try:
        info = ConnectionInfo(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # the message could quote the content
        return None
    return info if info.superuser_password and info.owner_password and info.app_password else None


def recorded(data_dir: Path) -> ConnectionInfo | None:
    """How to reach the server that another process of the same user runs for `data_dir`, or None if it never ran.

    For commands beside a running server; whether it runs, connecting tells. Raises `PermissionError` for another user.
    """
    return _load(data_dir.absolute() / HOME / "connection.json")


def make_socket_folder(parents: list[Path], account: Account | None, reader_gid: int | None) -> str:
    """A fresh private folder for the socket, in the first usable of `parents`.

    Its name is random and it is made, never found, so nobody can have put it there. PostgreSQL's user owns it; the
    group `reader_gid` may pass through to the socket; nobody else. Raises `EmbeddedError` where none can be made.
    """
    reasons = []
    for parent in parents:
        name_bytes = len(os.fsencode(parent)) + len(f"/{SOCKET_PREFIX}12345678") + _SOCKET_NAME
        if name_bytes > _SOCKET_BYTES:
            reasons.append(f"{parent}: too long")
            continue
        try:
            made = Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX, dir=parent))
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror}")
            continue
        if account is not None:
            os.chown(made, account.uid, account.gid if reader_gid is None else reader_gid)
            made.chmod(0o700 if reader_gid is None else 0o710)
        return str(made)
    raise EmbeddedError(f"no folder for PostgreSQL's socket ({'; '.join(reasons)})")

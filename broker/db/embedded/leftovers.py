"""What an earlier run that was killed may have left: its PostgreSQL still running, its pid file, its socket folder."""

import os
import platform
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import structlog

from broker.db.embedded.cluster import opened, read_small
from broker.db.embedded.errors import DataDirInUse
from broker.db.embedded.users import Account

_log = structlog.get_logger(__name__)

SOCKET_PREFIX = "keyreeve-"
_PATIENCE = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
"""Fast shutdown (it may have a checkpoint to write), immediate shutdown, and the last resort; seconds for each."""


def _serves(pid: int, folder_fd: int) -> bool:
    """Whether `pid` is a postmaster of this very folder: a postmaster's working directory is its data folder."""
    if platform.system() == "Linux":
        try:
            there = Path(f"/proc/{pid}/cwd").stat()
        except OSError:
            return False
        here = os.fstat(folder_fd)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) and _command(pid) == "postgres"
    shown = subprocess.run(  # noqa: S603 - fixed arguments
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
    )
    return "postgres" in shown.stdout


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _recorded_pid(folder_fd: int) -> int | None:
    first = (read_small("postmaster.pid", folder_fd) or "").partition("\n")[0].strip()
    return int(first) if first.isdigit() and 1 < int(first) < 2**31 else None


def stop_orphan(path: Path, account: Account | None) -> bool:
    """Ends a PostgreSQL that still serves `path` although its parent is gone; returns whether there was one.

    Call it holding the data directory's lock: then nobody else can be its parent. A pid file that names a living
    process of somebody else (pids start again after a reboot or in a new container) is removed, since PostgreSQL would
    refuse to start beside it; its shared-memory interlock still guards the folder. Blocks for up to 80 s. Raises
    `DataDirInUse` if it does not end.
    """
    with opened(path, account) as folder:
        pid = _recorded_pid(folder.fd)
        if pid is None or not _alive(pid):
            return False
        if not _serves(pid, folder.fd):
            _log.info("removing the pid file of an earlier run", pid=pid)
            os.unlink("postmaster.pid", dir_fd=folder.fd)
            return False
        _log.warning("stopping the PostgreSQL that an earlier run left behind", pid=pid)
        for signum, seconds in _PATIENCE:
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                return True
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if not _serves(pid, folder.fd):
                    return True
                time.sleep(0.02)
    raise DataDirInUse(f"PostgreSQL {pid} still serves {path} and does not end")


def remove_socket_folder(socket_dir: str, owners: frozenset[int]) -> None:
    """Removes a socket folder of ours. The path comes from a file, so anything that is not such a folder stays."""
    path = Path(socket_dir)
    if not path.is_absolute() or not path.name.startswith(SOCKET_PREFIX):
        return
    try:
        found = path.lstat()
    except OSError:
        return
    if stat.S_ISDIR(found.st_mode) and found.st_uid in owners:
        shutil.rmtree(path, ignore_errors=True)


def reap_inherited(own: int | None) -> None:
    """As process 1 of a container: reaps what a killed PostgreSQL (`own` is the one running now) left us as children.

    Only ended processes named `postgres` are taken; other children's ends belong to whoever started those.
    """
    while os.getpid() == 1:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == own or _command(ended.si_pid) != "postgres":
            return
        os.waitpid(ended.si_pid, os.WNOHANG)


def _command(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None

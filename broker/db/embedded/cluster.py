"""The cluster's folder: made whole or not at all, reached by PostgreSQL's user with no other folder opened to it."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.db.embedded import config, roles
from broker.db.embedded.binaries import Binaries
from broker.db.embedded.errors import DiskFull, EmbeddedError, ForeignDataDir, StartFailed
from broker.db.embedded.users import Account, in_passwd, run_in, stand_in

_NEW_BYTES = 160 * 1024 * 1024
_START_BYTES = 32 * 1024 * 1024
_NO_SPACE = "No space left on device"


@dataclass(frozen=True, slots=True)
class Folder:
    """The open data folder: what to pass as `-D`, and the descriptors the child must inherit for it."""

    fd: int
    argument: str
    pass_fds: tuple[int, ...]


@contextmanager
def opened(path: Path, account: Account | None) -> Iterator[Folder]:
    """Opens the data folder for PostgreSQL's user.

    As another user it is handed over as an inherited descriptor (`-D /proc/self/fd/N`), so that the folders above it
    may stay closed to that user: that is what keeps it from the root key beside.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if account is None:
            yield Folder(fd, str(path), ())
        else:
            yield Folder(fd, f"/proc/self/fd/{fd}", (fd,))
    finally:
        os.close(fd)


def read_small(name: str, folder_fd: int, limit: int = 4096) -> str | None:
    """A small regular file of PostgreSQL's own folder, or None. That folder is not trusted: no links, no waiting."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return os.read(fd, limit).decode("ascii", "replace")
    finally:
        os.close(fd)


def check_room(home: Path, *, new: bool) -> None:
    """Raises `DiskFull` where there is no room for a cluster (160 MiB) or for starting one (32 MiB)."""
    needed = _NEW_BYTES if new else _START_BYTES
    free = shutil.disk_usage(home).free
    if free < needed:
        mib = 1024 * 1024
        raise DiskFull(
            f"{home} has {free // mib} MiB free, the database needs {needed // mib} MiB: make room and start again"
        )


def check_version(path: Path, account: Account | None, binaries: Binaries) -> None:
    """Raises `ForeignDataDir` unless `path` was made by this major version and belongs to `account`."""
    with opened(path, account) as folder:
        found = (read_small("PG_VERSION", folder.fd) or "").strip()
        owner = os.fstat(folder.fd).st_uid
    if found != str(binaries.major):
        made = f"by PostgreSQL {found}" if found.isdigit() else "by something else"
        raise ForeignDataDir(
            f"{path} was made {made}; this release brings PostgreSQL {binaries.major}. Start it with the release that "
            f"made it and move the data with pg_dump, or use another --data-dir"
        )
    expected = os.geteuid() if account is None else account.uid
    if owner != expected:
        raise ForeignDataDir(
            f"{path} belongs to uid {owner}, PostgreSQL would run as uid {expected}: start Keyreeve as the user that "
            f"made it, or chown -R {expected} {path}"
        )


def create(
    path: Path, account: Account | None, binaries: Binaries, passwords: roles.Passwords, *, durable: bool
) -> None:
    """Makes a cluster with its roles and database, then moves it to `path`: a kill on the way leaves nothing there.

    It takes 0.7 s. Raises `DiskFull` or `StartFailed`.
    """
    making = path.with_name(path.name + ".new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    maker = account
    if account is not None and not in_passwd(account):
        maker = stand_in([account.uid])
    try:
        if maker is not None:
            os.chown(making, maker.uid, maker.gid)
        with opened(making, account) as folder:
            _run(
                [
                    binaries.initdb,
                    "-D",
                    folder.argument,
                    *config.initdb_arguments(major=binaries.major, durable=durable),
                ],
                maker,
                folder,
            )
            _write_rules(folder.fd)
            run_single(binaries, maker, folder, [*roles.SETUP, *roles.password_statements(passwords)], durable=durable)
        if account is not None and maker != account:
            _give_tree(making, account)
        making.rename(path)
        _sync(path.parent)
    except BaseException as error:
        shutil.rmtree(making, ignore_errors=True)
        if isinstance(error, OSError):
            raise StartFailed(f"cannot make the database in {path.parent}: {error.strerror}") from error
        raise


def run_single(
    binaries: Binaries, account: Account | None, folder: Folder, statements: Sequence[str], *, durable: bool
) -> None:
    """Runs statements in single-user mode: as the superuser, with no server that anybody could connect to."""
    argv = [
        binaries.postgres,
        "--single",
        "-D",
        folder.argument,
        "-c",
        "exit_on_error=true",
        "-c",
        "log_min_messages=error",
    ]
    argv += [
        "-c",
        "log_min_error_statement=panic",
        "-c",
        "log_checkpoints=off",
        "-c",
        f"fsync={'on' if durable else 'off'}",
    ]
    _run([*argv, "postgres"], account, folder, "".join(f"{line}\n" for line in statements))


def set_passwords(
    path: Path, account: Account | None, binaries: Binaries, passwords: roles.Passwords, *, durable: bool
) -> None:
    """Gives the roles of an existing, stopped cluster new passwords (their file was lost). Raises `EmbeddedError`."""
    if account is not None and not in_passwd(account):
        raise EmbeddedError(
            f"the passwords of {path} are lost and {account.name} has no entry in /etc/passwd, which setting new ones "
            f"needs: add one with that uid"
        )
    with opened(path, account) as folder:
        run_single(binaries, account, folder, roles.password_statements(passwords), durable=durable)


def _run(argv: Sequence[str], account: Account | None, folder: Folder, stdin: str = "") -> None:
    done = subprocess.run(  # noqa: S603 - fixed programs of the wheel
        list(argv),
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
        pass_fds=folder.pass_fds,
        umask=0o077,
        **run_in(account),
    )
    if done.returncode == 0:
        return
    if _NO_SPACE in done.stderr:
        raise DiskFull("the file system of the data directory is full: make room and start again")
    program = Path(argv[0]).name
    raise StartFailed(f"{program} ended with {done.returncode}: {done.stderr.strip()[-1000:]}")


def _write_rules(folder_fd: int) -> None:
    fd = os.open("pg_hba.conf", os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder_fd)
    with os.fdopen(fd, "w") as rules:
        rules.write(config.ACCESS_RULES)


def _give_tree(path: Path, account: Account) -> None:
    """Changes the owner of a cluster that has not run yet; links are changed, not followed."""
    for _, folders, files, fd in os.fwalk(path, follow_symlinks=False):
        os.fchown(fd, account.uid, account.gid)
        for name in [*folders, *files]:
            os.chown(name, account.uid, account.gid, dir_fd=fd, follow_symlinks=False)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

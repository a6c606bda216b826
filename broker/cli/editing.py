"""Putting one entry into an editor's JSON file, and leaving everything else in it as it is."""

import json
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

MAX_BYTES: Final = 64 * 1024 * 1024


class Unreadable(Exception):
    """The file is not one that an entry can be put into. The message says why."""


def put(file: Path, section: str, name: str, entry: Mapping[str, Any], *, replace: Callable[[], None]) -> None:
    """Puts `entry` as `name` into the object `section` of `file`, which is made where it is missing.

    `replace` is asked before another entry of that name is lost, and raises to keep it. The file changes as a whole or
    not at all, keeps its mode, and a link to it stays one. Raises Unreadable, also for JSON with comments, which would
    be lost.
    """
    target = file.resolve()
    content = _read(target)
    servers = content.setdefault(section, {})
    if not isinstance(servers, dict):
        raise Unreadable(f"{section!r} in {file} is not an object")
    if servers.get(name) == entry:
        return
    if name in servers:
        replace()
    servers[name] = dict(entry)
    write_text(target, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_text(file: Path) -> str:
    """What the file holds, nothing where there is none. Raises Unreadable."""
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(f"{file} is no plain file")
        if found.st_size > MAX_BYTES:
            raise Unreadable(f"{file} is too large")
        with file.open(encoding="utf-8", newline="") as text:  # each line with the end that it has
            return text.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unreadable(f"{file} is not UTF-8") from None


def write_text(file: Path, text: str) -> None:
    """Replaces the whole file, or nothing of it, and keeps its mode. Raises Unreadable."""
    try:
        _write(file, text)
    except OSError as error:
        raise Unreadable(f"{file} cannot be written: {error.strerror}") from None


def _read(file: Path) -> dict[str, Any]:
    text = read_text(file)
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        raise Unreadable(f"{file} is not plain JSON") from None
    if not isinstance(found, dict):
        raise Unreadable(f"{file} is not a JSON object")
    return found


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
    handle, made = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(made).chmod(mode)
        Path(made).replace(file)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise

"""Putting one entry into an editor's TOML file, and leaving every other line of it as it is."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from broker.cli.editing import Unreadable, read_text, write_text


def put_table(file: Path, section: str, name: str, entry: Mapping[str, str], *, replace: Callable[[], None]) -> None:
    """Puts `entry` as the table `[section.name]` into `file`, which is made where it is missing.

    `replace` is asked before another entry of that name is lost, and raises to keep it. What is written is read again
    first: unless everything but the entry is as it was, nothing is written. Raises Unreadable.
    """
    target = file.resolve()
    text = read_text(target)
    content = _parse(file, text)
    servers = content.setdefault(section, {})
    if not isinstance(servers, dict):
        raise Unreadable(f"{section!r} in {file} is not a table")
    if servers.get(name) == entry:
        return
    if name in servers:
        replace()
        text = _without(text, section, name)
    servers[name] = dict(entry)
    made = f"{text.rstrip()}\n\n{_table(section, name, entry)}".lstrip()
    if _parse(file, made) != content:
        raise Unreadable(f"{section!r} in {file} is written in a way that is not changed here")
    write_text(target, made)


def _parse(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        raise Unreadable(f"{file} cannot be read as TOML with that entry") from None


def _table(section: str, name: str, entry: Mapping[str, str]) -> str:
    """JSON's strings are TOML's basic strings, but for DEL, which the reading afterwards refuses."""
    return f"[{section}.{name}]\n" + "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in entry.items()
    )


def _without(text: str, section: str, name: str) -> str:
    """`text` without the table and those inside it: from a header of theirs to the next header that is not."""
    key = rf"""(?:{re.escape(name)}|"{re.escape(name)}"|'{re.escape(name)}')"""
    ours = re.compile(rf"\s*\[\[?\s*{re.escape(section)}\s*\.\s*{key}\s*[\].]")
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("["):
            inside = ours.match(line) is not None
        if not inside:
            kept.append(line)
    return "".join(kept)

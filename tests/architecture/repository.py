"""The repository as text, for the tests beside this file."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("broker", "vault", "connectors")
HIDDEN_BUT_OURS = frozenset({".ci", ".github"})
MADE = frozenset({"var", "build", "dist", "node_modules", "__pycache__"})
"""Folders that commands make and git ignores."""


@cache
def files() -> tuple[Path, ...]:
    """Every file of the repository, made ones and hidden folders of tools left out."""
    return tuple(sorted(_walk(ROOT)))


def _walk(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        ours = not entry.name.startswith(".") or entry.name in HIDDEN_BUT_OURS
        if entry.is_symlink():
            continue
        if entry.is_dir():
            if ours and entry.name not in MADE and not entry.name.endswith(".egg-info"):
                yield from _walk(entry)
        elif ours or entry.name == ".gitignore":
            yield entry


def texts(*suffixes: str) -> Iterator[tuple[str, str]]:
    """(path from the root, content) of the files with these suffixes; of all that are text where none is given."""
    for path in files():
        if suffixes and path.suffix not in suffixes:
            continue
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


@cache
def tree(path: Path) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def python(*tops: str) -> Iterator[tuple[str, ast.Module]]:
    """(path from the root, syntax tree) of every Python file under these top-level folders."""
    for path in files():
        relative = path.relative_to(ROOT)
        if path.suffix == ".py" and relative.parts[0] in tops:
            yield relative.as_posix(), tree(path)

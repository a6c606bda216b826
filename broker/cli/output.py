"""What commands print: tables and sentences on a terminal, JSON in a pipe. Standard error is for people alone.

Invariant: nothing that came from a server reaches a terminal unescaped: a DNS record may be named by an attacker.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

Cell = Callable[[Mapping[str, Any]], Any]
Columns = Mapping[str, str | Cell]
"""A table's columns: each title, and the dotted path of its value or a function of the item."""


def plain(text: str) -> str:
    """`text` without anything that a terminal would obey: what cannot be printed is shown as its code."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return plain(value.replace("\n", " "))
    if isinstance(value, Sequence):
        return ", ".join(cell(v) for v in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(str(k))}: {cell(v)}" for k, v in value.items() if v is not None) or "–"
    return str(value)


def dotted(item: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or None."""
    found: Any = item
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


@dataclass(frozen=True, slots=True)
class Out:
    """Where a command's results go. `as_json` where standard output is no terminal, or by `--json`."""

    as_json: bool
    stdout: TextIO
    stderr: TextIO

    @classmethod
    def standard(cls, *, force_json: bool) -> "Out":
        """The process's own streams."""
        return cls(force_json or not sys.stdout.isatty(), sys.stdout, sys.stderr)

    def json(self, value: Any) -> None:
        """One JSON document: indented on a terminal, one line in a pipe."""
        terminal = self.stdout.isatty()
        text = json.dumps(value, ensure_ascii=False, indent=2 if terminal else None)
        self.stdout.write((plain(text) if terminal else text) + "\n")
        self.stdout.flush()

    def items(self, items: Sequence[Mapping[str, Any]], columns: Columns, *, none: str) -> None:
        """A list: a table with these columns, or `none` where it is empty."""
        if self.as_json:
            self.json({"items": list(items)})
        elif not items:
            self.say(none)
        else:
            self.table(list(columns), [[_value(item, how) for how in columns.values()] for item in items])

    def record(self, item: Mapping[str, Any]) -> None:
        """One thing: its members below one another."""
        if self.as_json:
            self.json(item)
        else:
            self.table(None, [[name, value] for name, value in item.items()])

    def table(self, titles: Sequence[str] | None, rows: Sequence[Sequence[Any]]) -> None:
        """A table for people."""
        from rich.box import SIMPLE
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        made = Table(box=SIMPLE if titles else None, show_header=titles is not None, pad_edge=False)
        for n, title in enumerate(titles or rows[0] if rows else ()):
            made.add_column(Text(str(title)) if titles else "", overflow="fold", style="bold" if n == 0 else "")
        for row in rows:
            # Text, not str: rich would read [brackets] in it as markup.
            made.add_row(*(Text(cell(value)) for value in row))
        Console(file=self.stdout, highlight=False, soft_wrap=False).print(made)

    def say(self, text: str) -> None:
        """A sentence for people, on standard output; nothing where JSON is wanted."""
        if not self.as_json:
            self.stdout.write(plain(text) + "\n")
            self.stdout.flush()

    def note(self, text: str) -> None:
        """A remark beside the result: on standard error."""
        self.stderr.write(plain(text) + "\n")
        self.stderr.flush()


def _value(item: Mapping[str, Any], how: str | Cell) -> Any:
    return dotted(item, how) if isinstance(how, str) else how(item)

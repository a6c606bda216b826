"""What `keyreeve mcp add codex` does to a TOML file: one table, and nothing else."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.editing import Unreadable
from broker.cli.tables import put_table

ENTRY = {"url": "http://127.0.0.1:8484/t/default/mcp", "http_headers_helper": "'/home/a b/\"x\"/keyreeve.sh'"}
THEIRS = """\
# mine
model = "gpt"
notify = [
  ["a"],
]

[mcp_servers.other] # keep
command = "x"
args = ["[mcp_servers.keyreeve]"]

[tui]
theme = "dark"
"""


def refuse() -> None:
    raise AssertionError("asked to replace")


def put(file: Path, entry: dict[str, str] = ENTRY) -> str:
    put_table(file, "mcp_servers", "keyreeve", entry, replace=refuse)
    return file.read_text()


def test_it_makes_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".codex" / "config.toml"
    assert tomllib.loads(put(file)) == {"mcp_servers": {"keyreeve": ENTRY}}
    assert file.stat().st_mode & 0o777 == 0o600


def test_every_other_line_stays(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(THEIRS)
    first = put(file)
    assert first.startswith(THEIRS)
    assert tomllib.loads(first)["mcp_servers"]["keyreeve"] == ENTRY
    assert put(file) == first, "what is there already is not asked about"


@pytest.mark.parametrize("header", ["mcp_servers.keyreeve", 'mcp_servers."keyreeve"', " mcp_servers . keyreeve "])
def test_another_entry_is_replaced_when_allowed(tmp_path: Path, header: str) -> None:
    file = tmp_path / "config.toml"
    old = f'[{header}]\nurl = "http://old"\nargs = ["a"]\n[{header}.env]\nX = "1"\n'
    text = f"{THEIRS}{old}[last]\nz = 1\n"
    file.write_text(text)
    with pytest.raises(AssertionError, match="asked to replace"):
        put(file)
    assert file.read_text() == text
    asked: list[bool] = []
    put_table(file, "mcp_servers", "keyreeve", ENTRY, replace=lambda: asked.append(True))
    assert asked == [True]
    assert file.read_text().startswith(f"{THEIRS}[last]\nz = 1\n")
    assert tomllib.loads(file.read_text())["mcp_servers"]["keyreeve"] == ENTRY


@pytest.mark.parametrize("text", [
    'mcp_servers = {other = {command = "x"}}\n',  # an inline table cannot be added to
    "mcp_servers = 3\n",
    "not toml",
    'mcp_servers.keyreeve.url = "http://old"\n',
    'x = """\n[mcp_servers.keyreeve]\n"""\n[mcp_servers.keyreeve]\nurl = "http://old"\n',
])  # fmt: skip
def test_what_cannot_be_changed_safely_is_left(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(Unreadable):
        put_table(file, "mcp_servers", "keyreeve", ENTRY, replace=lambda: None)
    assert file.read_text() == text


@given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=30))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    file = tmp_path_factory.mktemp("toml") / "config.toml"
    assert tomllib.loads(put(file, {"url": value}))["mcp_servers"]["keyreeve"]["url"] == value


def test_other_lines_keep_their_ends(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    before = THEIRS.replace("\n", "\r\n").encode()
    file.write_bytes(before)
    put(file)
    assert file.read_bytes().startswith(before.rstrip())


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A folder that somebody else made may hold a link to what never ends."""
    file, device = tmp_path / "config.toml", tmp_path / "pipe"
    os.mkfifo(device)
    file.symlink_to(device)
    # So that reading it would end.
    with os.fdopen(os.open(device, os.O_RDWR), "wb"), pytest.raises(Unreadable, match="no plain file"):
        put(file)

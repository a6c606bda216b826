"""Putting an entry into an editor's file: everything else stays, and what cannot be read is left alone."""

import json
from pathlib import Path

import pytest

from broker.cli.editing import Unreadable, put

ENTRY = {"url": "http://127.0.0.1:8700/t/default/mcp"}


class Asked(Exception):
    """Replacing was asked about."""


def ask() -> None:
    raise Asked


def test_a_file_is_made_with_its_folder(tmp_path: Path) -> None:
    file = tmp_path / ".cursor" / "mcp.json"
    put(file, "mcpServers", "keyreeve", ENTRY, replace=ask)
    assert json.loads(file.read_text()) == {"mcpServers": {"keyreeve": ENTRY}}
    assert file.stat().st_mode & 0o777 == 0o600


def test_everything_else_stays(tmp_path: Path) -> None:
    file, link = tmp_path / "real.json", tmp_path / "mcp.json"
    file.write_text(json.dumps({"a": 1, "mcpServers": {"other": {"url": "x"}}, "ü": "é"}))
    file.chmod(0o640)
    link.symlink_to(file)
    put(link, "mcpServers", "keyreeve", ENTRY, replace=ask)
    assert json.loads(file.read_text()) == {"a": 1, "mcpServers": {"other": {"url": "x"}, "keyreeve": ENTRY}, "ü": "é"}
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mcp.json", "real.json"]


def test_another_entry_is_asked_about(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"servers": {"keyreeve": {"url": "x"}}}))
    with pytest.raises(Asked):
        put(file, "servers", "keyreeve", ENTRY, replace=ask)
    assert json.loads(file.read_text())["servers"]["keyreeve"] == {"url": "x"}
    put(file, "servers", "keyreeve", ENTRY, replace=lambda: None)
    put(file, "servers", "keyreeve", ENTRY, replace=ask)


@pytest.mark.parametrize("text", ["// comment\n{}", "[]", '{"servers": []}', "{"])
def test_what_cannot_be_read_is_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(text)
    with pytest.raises(Unreadable):
        put(file, "servers", "keyreeve", ENTRY, replace=lambda: None)
    assert file.read_text() == text

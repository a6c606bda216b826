"""README.md and `GET /` tell the same of each editor."""

import json
import re
from pathlib import Path

import pytest

from broker.endpoints.pages.setups import Setup, setups

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
URL = "https://keyreeve.example/t/default/mcp"


@pytest.mark.parametrize("setup", setups(URL), ids=lambda setup: setup.editor)
def test_the_readme_says_the_same(setup: Setup) -> None:
    row = re.search(rf"^\| {re.escape(setup.editor)} \| (.*?) \| (.*) \|$", README, re.MULTILINE)
    assert row, f"README.md has no row of {setup.editor}"
    text = "\n".join(re.findall(r"`([^`]*)`", row[2]))
    if setup.text.startswith("{"):
        assert json.loads(text) == json.loads(setup.text)
    else:
        assert text.startswith(setup.text)
    assert row[1].strip("`").removeprefix("a ") in setup.where

"""The blocking client is the async one, word for word."""

import runpy
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[3] / "clients" / "python"


def test_what_is_made_is_up_to_date() -> None:
    twins = runpy.run_path(str(CLIENT / "unasync.py"))["twins"]()
    assert len(twins) >= 7
    stale = [path.name for path, text in twins.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    assert not stale, f"run `python clients/python/unasync.py`: {stale}"
    assert not [path for path, text in twins.items() if "async" in text.split('"""', 2)[2]]

"""Makes `keyreeve/_sync` from `keyreeve/_async`: one client, written once. `python unasync.py`, after each change.

`tests/unit/client/test_unasync.py` fails where the two differ.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "keyreeve" / "_async"
MADE = HERE / "keyreeve" / "_sync"
BY_HAND = frozenset({"__init__.py", "waiting.py"})

WORDS = (
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bhttpx\.AsyncClient\b", "httpx.Client"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\ba(iter_bytes|close)\(", r"\1("),
    (r"\b_async\b", "_sync"),
)


def made(source: str) -> str:
    """The blocking twin of a file's text."""
    for pattern, word in WORDS:
        source = re.sub(pattern, word, source)
    lines = source.split('"""', 2)
    source = '"""'.join([lines[0], lines[1] + "\n\nMade from `_async` by unasync.py; edit that.\n", lines[2]])
    for arguments in (["check", "--select", "I", "--fix-only"], ["format"]):
        source = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "ruff", *arguments, "--quiet", "--stdin-filename", str(MADE / "made.py"), "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return source


def twins() -> dict[Path, str]:
    """Every file that is made, with the text it should have."""
    return {
        MADE / source.name: made(source.read_text(encoding="utf-8"))
        for source in sorted(SOURCE.glob("*.py"))
        if source.name not in BY_HAND
    }


if __name__ == "__main__":
    for path, text in twins().items():
        path.write_text(text, encoding="utf-8")

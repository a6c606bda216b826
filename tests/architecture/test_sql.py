"""The SQL functions as text; what the database makes of them is looked at in tests/security."""

import re

from broker.db.functions import FILES
from tests.architecture.repository import ROOT, texts

FUNCTION = re.compile(r"create (?:or replace )?function\s+(\S+?)\s*\((.*?)\bas\s*\$\$", re.IGNORECASE | re.DOTALL)
PINNED = re.compile(r"\bset search_path = pg_catalog, pg_temp\b", re.IGNORECASE)
INLINED = {"broker.tenant"}
"""In every row-level policy: a SET would keep PostgreSQL from inlining it. It runs with its caller's rights and names
built-ins alone."""


def sources() -> list[tuple[str, str]]:
    """Every place where a function is made: (path, content)."""
    return [
        (name, text)
        for name, text in texts(".sql", ".py")
        if name.startswith(("broker/", "migrations/versions/")) and FUNCTION.search(text)
    ]


def test_there_are_functions_to_look_at() -> None:
    assert {name for name, _ in sources()} >= {f"broker/{file}" for file in FILES}


def test_every_function_pins_its_search_path() -> None:
    """Else whoever can make a schema can put a function of their own before a built-in (CVE-2018-1058)."""
    loose = [
        f"{name}: {match[1]}"
        for name, text in sources()
        for match in FUNCTION.finditer(text)
        if match[1] not in INLINED and not PINNED.search(match[2])
    ]
    assert loose == []


def test_the_inlined_ones_need_no_pin() -> None:
    for name, text in sources():
        for match in FUNCTION.finditer(text):
            if match[1] in INLINED:
                assert "security definer" not in match[2].lower(), name


def test_every_function_of_the_application_is_versioned() -> None:
    """`{v}` in the name lets processes of two releases run side by side (broker/db/functions.py)."""
    bare = [
        f"{name}: {match[1]}"
        for name, text in sources()
        if name.startswith("broker/") and name.endswith(".sql")
        for match in FUNCTION.finditer(text)
        if not match[1].endswith("{v}")
    ]
    assert bare == []


def test_every_file_is_installed() -> None:
    written = {path.relative_to(ROOT / "broker").as_posix() for path in (ROOT / "broker").rglob("*.sql")}
    assert written == set(FILES)


def test_definer_functions_are_no_ones_to_call_by_default() -> None:
    """Those of `.sql` files are taken from PUBLIC when installed; those of the migrations must say so themselves."""
    for name, text in sources():
        if name.startswith("broker/") and name.endswith(".sql"):
            continue
        for match in FUNCTION.finditer(text):
            if "security definer" in match[2].lower():
                revoked = re.search(
                    rf"revoke all on function [^;]*{re.escape(match[1])}\b[^;]* from public", text, re.DOTALL
                )
                assert revoked, f"{name}: {match[1]}"

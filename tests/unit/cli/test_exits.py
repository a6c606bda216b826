"""Every problem code has an exit code of its own choosing, and the table in the docstring is the one in force."""

import re

from broker.cli import exits
from broker.errors import CODES


def test_every_code_has_an_exit_code() -> None:
    assert set(exits.BY_CODE) == set(CODES)
    assert all(3 <= code <= 10 for code in exits.BY_CODE.values())


def test_the_documented_table_is_true() -> None:
    documented = {}
    for number, codes in re.findall(r"^\| (\d+) \| [^|]* \| ([^|]*) \|$", exits.__doc__ or "", re.MULTILINE):
        documented |= {name: int(number) for name in re.findall(r"`([a-z_]+…?)`", codes)}
    for name, number in documented.items():
        meant = [
            c for c in CODES if c == name or (name.endswith("…") and c.startswith(name[:-1]) and c != "unknown_field")
        ]
        assert meant, name
        assert {exits.BY_CODE[c] for c in meant} == {number}, name


def test_an_unknown_code_is_judged_by_its_status() -> None:
    assert exits.of_problem("of_a_later_release", 403) == exits.FORBIDDEN
    assert exits.of_problem("of_a_later_release", 418) == exits.SERVER

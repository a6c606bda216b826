"""Each unsafe fact of a server is found, alone; a sound server has no finding."""

from typing import Any

import pytest

from broker.db.server_checks import judge

SOUND: dict[str, Any] = {
    "version": 180004,
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "standbys": "",
    "encoding": "UTF8",
    "checksums": "on",
    "standby": False,
    "role": "keyreeve_app",
    "database": "keyreeve",
    "superuser": False,
    "bypass": False,
    "may_create": False,
    "member_of_others": False,
    "owns_tables": False,
}


@pytest.mark.parametrize("version", [150000, 150018, 160014, 170002, 180004])
def test_sound(version: int) -> None:
    assert judge({**SOUND, "version": version}, 0.3) == []


def test_local_commits_are_enough_without_a_standby() -> None:
    assert judge({**SOUND, "synchronous_commit": "local"}, 0.0) == []


@pytest.mark.parametrize(
    ("change", "skew", "level", "check"),
    [
        ({"version": 140020}, 0, "fail", "version"),
        ({"version": 190000}, 0, "fail", "version"),
        ({"fsync": "off"}, 0, "fail", "fsync"),
        ({"full_page_writes": "off"}, 0, "fail", "full_page_writes"),
        ({"synchronous_commit": "off"}, 0, "fail", "synchronous_commit"),
        ({"synchronous_commit": "local", "standbys": "*"}, 0, "fail", "synchronous_commit"),
        ({"encoding": "SQL_ASCII"}, 0, "fail", "encoding"),
        ({"standby": True}, 0, "fail", "standby"),
        ({"superuser": True}, 0, "fail", "role"),
        ({"bypass": True}, 0, "fail", "role"),
        ({"owns_tables": True}, 0, "fail", "role"),
        ({"member_of_others": True}, 0, "fail", "role"),
        ({"may_create": True}, 0, "warn", "role"),
        ({"checksums": "off"}, 0, "warn", "checksums"),
        ({}, 2.5, "warn", "clock"),
        ({}, -2.5, "warn", "clock"),
        ({}, 31.0, "fail", "clock"),
        ({}, -31.0, "fail", "clock"),
    ],
)
def test_unsound(change: dict[str, Any], skew: float, level: str, check: str) -> None:
    (finding,) = judge({**SOUND, **change}, skew)
    assert (finding.level, finding.check) == (level, check)
    assert finding.message
    assert finding.fix

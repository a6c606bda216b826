"""A session whose access differs by connection: where it may only read, it neither links nor deposits."""

import pytest

from broker.accounts.accounts import _may_deposit
from broker.accounts.links import _session_may_link
from broker.domain import Restrictions
from broker.errors import Problem
from tests.unit.policy.facts import caller

DIFFERING = Restrictions(("cf", "docs"), "write", {"cf": "write", "docs": "read"})


@pytest.mark.parametrize("name", ["docs", "elsewhere"])
def test_where_it_may_only_read(name: str) -> None:
    session = caller(DIFFERING)
    with pytest.raises(Problem) as linking:
        _session_may_link(session, name, "priya")
    with pytest.raises(Problem) as depositing:
        _may_deposit(session, name, "priya", shared=False, replace=False)
    assert linking.value.code == depositing.value.code == "forbidden"


def test_where_it_may_write() -> None:
    session = caller(DIFFERING)
    _session_may_link(session, "cf", "priya")
    _may_deposit(session, "cf", "priya", shared=False, replace=False)

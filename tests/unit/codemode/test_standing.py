"""What a result stands on: a grant that is gone, or says less than it did, is missed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.domain import Grant
from broker.ids import new_id
from broker.tools.codemode.standing import fingerprint, still_stands

GRANT = Grant(new_id(), "everyone", new_id(), None, "write", None, ("a", "b"), ("z",), "own", None)


@pytest.mark.parametrize(
    "change",
    [
        {"accounts": ("a",)},
        {"zones": ()},
        {"operations": ("GET /zones/**",)},
        {"access": "read"},
        {"tools": ("cf_execute",)},
        {"account": "shared"},
        {"subject": "group:x"},
        {"expires_at": datetime.now(UTC) + timedelta(hours=1)},
    ],
)
def test_a_narrowed_grant_is_another(change: dict[str, Any]) -> None:
    narrowed = replace(GRANT, **change)
    assert not still_stands([fingerprint(GRANT)], [fingerprint(narrowed)])


def test_more_grants_than_then_are_no_matter() -> None:
    other = replace(GRANT, id=new_id())
    kept = [fingerprint(GRANT)]
    assert still_stands(kept, [fingerprint(other), fingerprint(GRANT)])
    assert not still_stands(kept, [fingerprint(other)])
    assert still_stands([], [])


def test_what_an_earlier_release_kept_counts_by_id() -> None:
    assert still_stands([str(GRANT.id)], [fingerprint(GRANT)])
    assert not still_stands([str(new_id())], [fingerprint(GRANT)])

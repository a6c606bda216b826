"""The canonical bytes of a row: every column is in them, and no two rows share them."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from broker.audit.rows import COLUMNS, EventRow, canonical, stored_canonical

AT = datetime(2026, 11, 20, 12, 0, 0, 5, tzinfo=UTC)
ROW = EventRow(
    tenant_id=UUID(int=1),
    at=AT,
    id=UUID(int=2),
    kind="outcome",
    call_id=UUID(int=3),
    execution_id=UUID(int=4),
    n=1,
    actor="session:a",
    on_behalf_of=None,
    identifier="a",
    bearer_id=UUID(int=5),
    connection_name="cf",
    account_id=UUID(int=6),
    tool_name="cf_call",
    operation="op",
    outcome="ok",
    run_id=None,
    body='{"a":1,"b":"é"}',
    recorded_at=AT,
    node="n",
    boot=UUID(int=7),
    counter=9,
    mac_key=1,
    mac=b"m",
)


def test_read_back_in_another_spelling_it_is_the_same() -> None:
    stored: dict[str, Any] = dict(ROW._asdict())
    stored["body"] = '{"b": "\\u00e9", "a": 1}'
    stored["at"] = AT.astimezone(timezone(timedelta(hours=5)))
    assert stored_canonical(stored) == canonical(tuple(ROW))
    stored["body"] = {"b": "é", "a": 1}
    assert stored_canonical(stored) == canonical(tuple(ROW))


@pytest.mark.parametrize("column", COLUMNS[:-2])
def test_every_column_counts(column: str) -> None:
    others: dict[str, Any] = {
        "at": AT + timedelta(microseconds=1),
        "recorded_at": AT - timedelta(microseconds=1),
        "body": '{"a":2,"b":"é"}',
        "n": 2,
        "counter": 10,
        "boot": UUID(int=70),
    }
    value = getattr(ROW, column)
    other = others.get(column, UUID(int=99) if isinstance(value, UUID) else "else")
    assert canonical(tuple(ROW._replace(**{column: other}))) != canonical(tuple(ROW))


def test_a_value_does_not_move_between_columns() -> None:
    moved = ROW._replace(operation="cf_call", tool_name="op")
    assert canonical(tuple(moved)) != canonical(tuple(ROW))
    absent = ROW._replace(run_id="null")
    assert canonical(tuple(absent)) != canonical(tuple(ROW))

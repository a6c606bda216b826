"""How much one source and one organisation may have under way."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from broker.errors import Problem
from broker.identity.oidc.room import AT_ONCE, AT_ONCE_BY_SOURCE, BEGUN_BY_SOURCE, BEGUN_IN_TENANT, Room, source_of
from broker.ids import new_id

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ONE, OTHER = new_id(), new_id()


def test_begun_by_source_and_in_a_tenant() -> None:
    room = Room()
    for n in range(BEGUN_IN_TENANT):
        room.begin(ONE, f"source-{n // BEGUN_BY_SOURCE}", NOW)
    for source in ("source-0", "another"):
        with pytest.raises(Problem) as refused:
            room.begin(ONE, source, NOW)
        assert (refused.value.code, refused.value.retry_after) == ("rate_limited", 60)
    room.begin(OTHER, "source-0", NOW)
    room.begin(ONE, "source-0", NOW + timedelta(minutes=1))


def test_one_source_alone_does_not_shut_a_tenant() -> None:
    room = Room()
    for _ in range(BEGUN_BY_SOURCE):
        room.begin(ONE, "flood", NOW)
    for _ in range(BEGUN_IN_TENANT):
        with pytest.raises(Problem):
            room.begin(ONE, "flood", NOW)
    room.begin(ONE, "somebody", NOW)


def test_at_once() -> None:
    room = Room()
    with ExitStack() as under_way:
        for n in range(AT_ONCE):
            under_way.enter_context(room.asking(ONE, f"source-{n // AT_ONCE_BY_SOURCE}"))
        with pytest.raises(Problem) as refused, room.asking(ONE, "another"):
            pass
        assert (refused.value.code, refused.value.retry_after) == ("rate_limited", 5)
        with room.asking(OTHER, "source-0"):
            pass
    with ExitStack() as under_way:
        for _ in range(AT_ONCE_BY_SOURCE):
            under_way.enter_context(room.asking(ONE, "flood"))
        with pytest.raises(Problem), room.asking(ONE, "flood"):
            pass
        with room.asking(ONE, "somebody"):
            pass
    assert not room._busy


def test_what_one_source_is() -> None:
    assert source_of("192.0.2.7") == source_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:1") == "2001:db8::"
    assert source_of("2001:db8:0:1::1") != source_of("2001:db8::1")
    assert source_of("") == ""
    assert len(source_of("x" * 1000)) == 100

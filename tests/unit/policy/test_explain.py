"""`explain` and `why` say the same as `decide`, grant by grant."""

from datetime import timedelta

from broker.policy.decide import decide
from broker.policy.explain import explain, why
from connectors.base import Permit, Resources
from tests.unit.policy.facts import CREATE_DNS, DELETE_ZONE, LIST_DNS, NOW, grant, request


def test_each_grant_says_its_part() -> None:
    grants = (
        grant(100, access="read"),
        grant(101, expires_at=NOW - timedelta(days=1)),
        grant(102, operations=("DELETE /zones/*",), zones=("z1",)),
    )
    found = explain(request(DELETE_ZONE, *grants, resources=Resources(zones=("z1",))))
    assert found.decision.allowed
    assert found.decision.grant_id == grants[2].id
    assert [(g.covers, g.reason) for g in found.grants] == [
        (False, "access_not_granted"),
        (False, "grant_expired"),
        (True, "covers"),
    ]
    assert found.grants[2].sentence == "the destructive grant to identity:priya covers it for zones z1"


def test_of_an_operation_as_such_a_grant_for_listed_zones_counts() -> None:
    wanted = request(LIST_DNS, grant(zones=("z1", "z2")), resources=Resources(zones=("z9",)))
    assert not decide(wanted).allowed
    found = why(wanted)
    assert found.decision.allowed
    assert found.grants[0].only == {"zones": ("z1", "z2")}


def test_a_grant_for_no_zone_at_all_covers_nothing_even_then() -> None:
    assert not why(request(LIST_DNS, grant(zones=()))).decision.allowed


def test_the_permission_is_told() -> None:
    found = why(request(CREATE_DNS, grant(), permit=Permit("denied", "DNS Write"))).as_wire()
    assert found["allowed"] is False
    assert found["permitted_upstream"] == "denied"
    assert found["missing_permission"] == "DNS Write"
    assert found["grants"][0]["covers"] is True


def test_without_grants_it_names_the_one_that_would_do() -> None:
    found = why(request(CREATE_DNS)).as_wire()
    assert found["grants"] == []
    assert found["would_grant"]["operations"] == ["POST /zones/{zone_id}/dns_records"]

"""A listing promises exactly what some request would be granted."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from broker.domain import Grant, Resolved, Restrictions
from broker.policy.decide import decide
from broker.policy.reach import reach_of_tool
from connectors.base import EFFECT_RANK, Operation, Resources
from tests.unit.policy.facts import (
    CREATE_DNS,
    CREATE_TOKEN,
    GET_ZONE,
    NOW,
    OPERATIONS,
    account,
    caller,
    grant,
    request,
)
from tests.unit.policy.test_decide import GRANTS, RESTRICTIONS

EVERY_RESOURCE = [
    Resources(accounts, zones)
    for accounts in ((), ("a1",), ("a2",), ("a1", "a2"))
    for zones in ((), ("z1",), ("z2",), ("z1", "z2"))
]


@given(st.lists(GRANTS, max_size=3), RESTRICTIONS, st.sampled_from(OPERATIONS), st.booleans())
def test_an_operations_tool_is_listed_exactly_when_some_request_is_granted(
    grants: list[Grant], restrictions: Restrictions, operation: Operation, shared: bool
) -> None:
    wanted = request(operation, *grants, caller=caller(replace(restrictions, connections=None)))
    wanted = replace(wanted, account=account(shared=shared))
    resolved = Resolved(wanted.caller, (wanted.connection,), (wanted.account,), tuple(grants))
    listed = reach_of_tool(resolved, wanted.connection, wanted.account, wanted.tool_name, operation, NOW)
    granted = any(decide(replace(wanted, resources=r)).allowed for r in EVERY_RESOURCE)
    assert (listed is not None) is granted
    if listed is not None:
        assert EFFECT_RANK[listed.access] >= EFFECT_RANK[operation.effect]


def _reach(*grants: Grant, restrictions: Restrictions | None = None, operation: Operation | None = None) -> str | None:
    wanted = request(GET_ZONE, *grants, caller=caller(restrictions))
    resolved = Resolved(wanted.caller, (wanted.connection,), (wanted.account,), grants)
    found = reach_of_tool(resolved, wanted.connection, wanted.account, "cloudflare_call", operation, NOW)
    return None if found is None else found.sentence


def test_how_far_in_one_sentence() -> None:
    assert _reach() is None
    assert _reach(grant(access="read")) == "You may read."
    assert _reach(grant(access="write", operations=("* /zones/**",))) == "You may read and write, only: * /zones/**."
    assert _reach(grant(), restrictions=Restrictions(access="read")) == "You may read."
    assert _reach(grant(), restrictions=Restrictions(access="read"), operation=CREATE_DNS) is None
    assert _reach(grant(), operation=CREATE_TOKEN) is None
    assert _reach(grant(zones=())) is None

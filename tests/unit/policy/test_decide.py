"""`decide`: one test per question it asks, and the properties that hold whatever the facts."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain import Grant, Restrictions
from broker.identity.restrictions import highest
from broker.policy.decide import decide
from broker.policy.facts import GRANT_STEPS, AccessRequest, Reason
from connectors.base import EFFECT_RANK, Operation, Permit, Resources
from tests.unit.policy.facts import (
    CREATE_DNS,
    CREATE_TOKEN,
    DELETE_ZONE,
    GET_ZONE,
    IDENTITY,
    LIST_DNS,
    LIST_ZONES,
    NOW,
    ODD_READ,
    ODD_WRITE,
    OPERATIONS,
    READ_SECRET,
    WORKER,
    account,
    caller,
    grant,
    request,
)

ZONE = Resources(zones=("z1",))


def refused(wanted: AccessRequest, reason: Reason, code: str = "not_granted") -> Any:
    decision = decide(wanted)
    assert not decision.allowed
    assert (decision.reason, decision.code) == (reason.value, code)
    assert decision.detail
    return decision


def allowed(wanted: AccessRequest, reason: Reason = Reason.GRANTED) -> Any:
    decision = decide(wanted)
    assert decision.allowed, decision
    assert decision.reason == reason.value
    return decision


# grants


def test_no_grant_means_no() -> None:
    decision = refused(request(GET_ZONE), Reason.NO_GRANT)
    assert "priya has no grant on connection cloudflare" in decision.detail


def test_a_grant_on_another_connection_is_none() -> None:
    refused(request(GET_ZONE, grant(connection_id=UUID(int=9))), Reason.NO_GRANT)


def test_the_covering_grant_is_named() -> None:
    covering = grant(101)
    assert allowed(request(GET_ZONE, grant(100, access="read", tools=()), covering)).grant_id == covering.id


@pytest.mark.parametrize("access", ["read", "write", "destructive"])
@pytest.mark.parametrize("operation", [GET_ZONE, CREATE_DNS, DELETE_ZONE])
def test_access_includes_what_is_less(access: str, operation: Operation) -> None:
    decision = decide(request(operation, grant(access=access)))
    assert decision.allowed is (EFFECT_RANK[access] >= EFFECT_RANK[operation.effect])


def test_a_grant_ends_at_its_expiry() -> None:
    allowed(request(GET_ZONE, grant(expires_at=NOW + timedelta(microseconds=1))))
    refused(request(GET_ZONE, grant(expires_at=NOW)), Reason.GRANT_EXPIRED)


def test_tools() -> None:
    allowed(request(GET_ZONE, grant(tools=("cloudflare_*",))))
    refused(request(GET_ZONE, grant(tools=("cloudflare_zones_get",))), Reason.TOOL_NOT_GRANTED)
    refused(request(GET_ZONE, grant(tools=())), Reason.TOOL_NOT_GRANTED)


def test_operations() -> None:
    allowed(request(CREATE_DNS, grant(operations=("* /zones/*/dns_records/**",))))
    refused(request(DELETE_ZONE, grant(operations=("* /zones/*/dns_records/**",))), Reason.OPERATION_NOT_GRANTED)
    refused(request(GET_ZONE, grant(operations=())), Reason.OPERATION_NOT_GRANTED)


@pytest.mark.parametrize("operation", [ODD_WRITE, CREATE_TOKEN, READ_SECRET])
def test_guarded_operations_and_unannotated_writes_must_be_named(operation: Operation) -> None:
    for broad in (None, ("* /**",), ("* " + operation.path,), (operation.method + " /**",)):
        refused(request(operation, grant(operations=broad)), Reason.OPERATION_NOT_NAMED)
    for naming in (operation.id, operation.ref):
        allowed(request(operation, grant(operations=("* /**", naming))))


def test_unannotated_reads_need_not_be_named() -> None:
    allowed(request(ODD_READ, grant()))


@pytest.mark.parametrize(
    ("accounts", "zones", "resources", "reason"),
    [
        (None, None, Resources(), None),
        (None, None, Resources(("a",), ("z",)), None),
        (None, ("z1",), Resources(zones=("z1",)), None),
        (None, ("z1",), Resources(("a",), ("z1",)), None),
        (("a",), ("z1",), Resources(zones=("z1",)), None),
        (("a",), ("z1",), Resources(("a",)), None),
        (("a",), None, Resources(("a",), ("any",)), None),
        (None, ("z1",), Resources(zones=("z2",)), Reason.RESOURCE_NOT_GRANTED),
        (None, ("z1",), Resources(zones=("z1", "z2")), Reason.RESOURCE_NOT_GRANTED),
        (("a",), ("z1",), Resources(("b",), ("z1",)), Reason.RESOURCE_NOT_GRANTED),
        (None, ("z1",), Resources(), Reason.RESOURCE_NOT_NAMED),
        # A zone's grant covers no account-wide request, and an account's no zone of unknown owner.
        (None, ("z1",), Resources(("a",)), Reason.RESOURCE_NOT_NAMED),
        (("a",), None, Resources(zones=("z1",)), Reason.RESOURCE_NOT_NAMED),
        (None, (), Resources(zones=("z1",)), Reason.RESOURCE_NOT_GRANTED),
        (None, (), Resources(), Reason.RESOURCE_NOT_NAMED),
        (None, ("Z1",), Resources(zones=("z1",)), Reason.RESOURCE_NOT_GRANTED),
    ],
)
def test_resources(accounts: Any, zones: Any, resources: Resources, reason: Reason | None) -> None:
    wanted = request(LIST_DNS, grant(accounts=accounts, zones=zones), resources=resources)
    if reason is None:
        allowed(wanted)
    else:
        refused(wanted, reason)


def test_grants_are_never_combined() -> None:
    one, other = grant(100, zones=("z1",)), grant(101, zones=("z2",))
    refused(request(LIST_DNS, one, other, resources=Resources(zones=("z1", "z2"))), Reason.RESOURCE_NOT_GRANTED)
    read_here, write_there = grant(100, access="read"), grant(101, tools=("cloudflare_other",))
    refused(request(CREATE_DNS, read_here, write_there), Reason.ACCESS_NOT_GRANTED)


def test_own_and_shared_accounts_each_need_their_grant() -> None:
    refused(request(GET_ZONE, grant(), account=account(shared=True)), Reason.ACCOUNT_NOT_GRANTED)
    refused(request(GET_ZONE, grant(account="shared")), Reason.ACCOUNT_NOT_GRANTED)
    allowed(request(GET_ZONE, grant(account="shared"), account=account(shared=True)))


def test_a_refusal_speaks_of_the_grant_that_came_nearest() -> None:
    far, near = grant(100, tools=()), grant(101, zones=("z9",))
    for grants in ((far, near), (near, far)):
        decision = refused(request(LIST_DNS, *grants, resources=ZONE), Reason.RESOURCE_NOT_GRANTED)
        assert "zone z1" in decision.detail


# who asks, and with what


def test_restrictions_narrow_and_no_grant_helps() -> None:
    other = caller(Restrictions(connections=("github",)))
    decision = refused(request(GET_ZONE, grant(), caller=other), Reason.RESTRICTED_CONNECTION, "forbidden")
    assert decision.would_grant is None
    reader = caller(Restrictions(access="read"))
    refused(request(CREATE_DNS, grant(), caller=reader), Reason.RESTRICTED_ACCESS, "forbidden")
    allowed(request(GET_ZONE, grant(), caller=reader))
    differing = caller(Restrictions(("cloudflare", "github"), "write", {"cloudflare": "read", "github": "write"}))
    decision = refused(request(CREATE_DNS, grant(), caller=differing), Reason.RESTRICTED_ACCESS, "forbidden")
    assert "restricted to read on cloudflare" in decision.detail
    allowed(request(GET_ZONE, grant(), caller=differing))
    changing = caller(Restrictions(("cloudflare", "github"), "write", {"cloudflare": "write", "github": "read"}))
    allowed(request(CREATE_DNS, grant(), caller=changing))
    refused(
        request(GET_ZONE, grant(), caller=caller(Restrictions(connections=()))),
        Reason.RESTRICTED_CONNECTION,
        "forbidden",
    )


def test_without_an_identity_nothing_is_allowed() -> None:
    refused(request(GET_ZONE, grant(), caller=caller(identity=None)), Reason.NO_IDENTITY, "forbidden")


def test_a_disabled_identity_is_refused() -> None:
    identity = caller().identity
    assert identity is not None
    gone = caller(identity=replace(identity, status="disabled"))
    refused(request(GET_ZONE, grant(), caller=gone), Reason.NO_IDENTITY, "identity_disabled")


@pytest.mark.parametrize("status", ["suspended", "deleted"])
def test_an_inactive_connection_is_refused(status: str) -> None:
    inactive = replace(request().connection, status=status)
    refused(request(GET_ZONE, grant(), connection=inactive), Reason.CONNECTION_INACTIVE, "forbidden")


def test_anothers_account_is_refused_whatever_the_grants() -> None:
    for foreign in (account(identity_id=UUID(int=99)), account(connection_id=UUID(int=99))):
        refused(
            request(GET_ZONE, grant(), grant(account="shared"), account=foreign),
            Reason.FOREIGN_ACCOUNT,
            "not_connected",
        )


# the credential's own permissions


def test_denied_upstream_is_refused_and_the_permission_named() -> None:
    denied = Permit("denied", "DNS Write", "the token's policies give DNS Read")
    decision = refused(
        request(CREATE_DNS, grant(), permit=denied), Reason.NOT_PERMITTED_UPSTREAM, "not_permitted_upstream"
    )
    assert "DNS Write" in decision.detail
    assert "DNS Write" in decision.hint
    assert decision.would_grant is None


def test_advice_lets_it_through_and_says_so() -> None:
    denied = Permit("denied", "DNS Write")
    decision = allowed(
        request(CREATE_DNS, grant(), permit=denied, permission_check="advise"), Reason.GRANTED_AGAINST_ADVICE
    )
    assert "DNS Write" in decision.detail


def test_unknown_permissions_leave_it_to_the_grant() -> None:
    allowed(request(CREATE_DNS, grant(), permit=Permit("unknown")), Reason.GRANTED_UNVERIFIED)
    refused(request(CREATE_DNS, permit=Permit("unknown")), Reason.NO_GRANT)


def test_without_a_grant_nothing_is_said_of_permissions() -> None:
    refused(request(CREATE_DNS, permit=Permit("denied", "DNS Write")), Reason.NO_GRANT)
    refused(request(CREATE_DNS, permit=Permit("allowed")), Reason.NO_GRANT)


def test_the_narrowest_grant() -> None:
    wanted = request(CREATE_TOKEN, resources=Resources(("a",), ("z",)), account=account(shared=True))
    assert refused(wanted, Reason.NO_GRANT).would_grant == {
        "subject": {"identifier": "priya"},
        "connection_name": "cloudflare",
        "tools": ["cloudflare_call"],
        "access": "write",
        "operations": ["POST /user/tokens"],
        "resources": {"accounts": ["a"], "zones": ["z"]},
        "account": "shared",
    }


def test_every_shortfall_has_its_sentence() -> None:
    """Each reason of the list is reached, so none can raise for want of a sentence."""
    reached = {
        decide(wanted).reason
        for wanted in (
            request(),
            request(GET_ZONE, grant(account="shared")),
            request(GET_ZONE, grant(expires_at=NOW)),
            request(GET_ZONE, grant(tools=())),
            request(DELETE_ZONE, grant(access="read")),
            request(GET_ZONE, grant(operations=())),
            request(ODD_WRITE, grant()),
            request(LIST_DNS, grant(zones=("z9",)), resources=ZONE),
            request(LIST_ZONES, grant(zones=("z9",))),
        )
    }
    assert reached == {step.value for step in GRANT_STEPS}


# properties


def _optional(items: list[str]) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | st.lists(st.sampled_from(items), max_size=2).map(tuple)


_ACCESS = st.sampled_from(["read", "write", "destructive"])
_PATTERNS = ["* /**", "GET /**", "GET /zones/*", "POST /user/tokens", "odd", "* /zones/*/dns_records", "dns-create"]
GRANTS: st.SearchStrategy[Grant] = st.builds(
    grant,
    st.integers(100, 10_000),
    connection_id=st.sampled_from([request().connection.id, UUID(int=9)]),
    tools=_optional(["*", "cloudflare_call", "cloudflare_*", "other"]),
    access=_ACCESS,
    operations=_optional(_PATTERNS),
    accounts=_optional(["a1", "a2"]),
    zones=_optional(["z1", "z2"]),
    account=st.sampled_from(["own", "shared"]),
    expires_at=st.sampled_from([None, NOW, NOW + timedelta(days=1)]),
)
RESTRICTIONS = st.builds(
    Restrictions, connections=_optional(["cloudflare", "github"]), access=st.none() | _ACCESS
) | st.builds(
    lambda by: Restrictions(tuple(by), highest(by.values()), by),
    st.dictionaries(st.sampled_from(["cloudflare", "github"]), _ACCESS, min_size=1),
)
_RESOURCES = st.builds(
    Resources,
    st.lists(st.sampled_from(["a1", "a2"]), max_size=2).map(tuple),
    st.lists(st.sampled_from(["z1", "z2"]), max_size=2).map(tuple),
)


@st.composite
def _requests(draw: st.DrawFn) -> AccessRequest:
    return request(
        draw(st.sampled_from(OPERATIONS)),
        *draw(st.lists(GRANTS, max_size=3)),
        caller=caller(draw(RESTRICTIONS)),
        account=account(shared=draw(st.booleans())),
        resources=draw(_RESOURCES),
        permit=Permit(draw(st.sampled_from(["allowed", "denied", "unknown"])), "Some Permission"),
        permission_check=draw(st.sampled_from(["refuse", "advise"])),
    )


@given(_requests(), GRANTS)
def test_adding_a_grant_never_takes_access_away(wanted: AccessRequest, more: Grant) -> None:
    for grants in ([*wanted.grants, more], [more, *wanted.grants]):
        if decide(wanted).allowed:
            assert decide(replace(wanted, grants=grants)).allowed


@given(_requests(), RESTRICTIONS)
def test_narrowing_a_bearer_never_adds_access(wanted: AccessRequest, narrower: Restrictions) -> None:
    free = replace(wanted, caller=caller())
    if decide(replace(wanted, caller=caller(narrower))).allowed:
        assert decide(free).allowed


@given(_requests())
def test_what_is_allowed_rests_on_one_grant_that_alone_would_do(wanted: AccessRequest) -> None:
    decision = decide(wanted)
    if decision.allowed:
        used = [g for g in wanted.grants if g.id == decision.grant_id]
        assert any(decide(replace(wanted, grants=[g])).allowed for g in used)
    assert not decide(replace(wanted, grants=[])).allowed


@given(_requests())
def test_the_narrowest_grant_covers_the_very_request_and_nothing_beside_it(wanted: AccessRequest) -> None:
    """But for accounts and zones it could not name, it covers this operation alone."""
    body = decide(wanted).would_grant
    if body is None:
        return
    resources = body.get("resources", {})
    accounts, zones = resources.get("accounts"), resources.get("zones")
    made = grant(
        999,
        tools=tuple(body["tools"]),
        access=body["access"],
        operations=tuple(body["operations"]),
        accounts=None if accounts is None else tuple(accounts),
        zones=None if zones is None else tuple(zones),
        account=body.get("account", "own"),
    )
    after = decide(replace(wanted, grants=[*wanted.grants, made]))
    assert after.allowed or after.code == "not_permitted_upstream"
    for other in OPERATIONS:
        alone = decide(replace(wanted, operation=other, grants=[made]))
        assert not alone.allowed or other == wanted.operation
    assert not decide(replace(wanted, tool_name="cloudflare_other", grants=[made])).allowed


@given(_requests())
def test_every_decision_is_complete(wanted: AccessRequest) -> None:
    decision = decide(wanted)
    assert decision.reason in {reason.value for reason in Reason}
    if decision.allowed:
        assert decision.grant_id is not None
        assert decision.code is None
    else:
        assert decision.code is not None
        assert decision.detail


def test_the_facts_agree_with_each_other() -> None:
    identity = caller().identity
    assert identity is not None
    assert identity.id == IDENTITY == account().identity_id
    assert WORKER.effect == "write"

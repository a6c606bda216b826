"""Policies, roles and conditions decide as documented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.simulators.cloudflare.access import authenticate, check_location, may, token_actor
from connectors.simulators.cloudflare.answers import ApiError
from connectors.simulators.cloudflare.groups import GROUPS
from connectors.simulators.cloudflare.model import READ_ONLY
from connectors.simulators.cloudflare.policy import (
    Policy,
    Target,
    account_resources,
    covers,
    permits,
    user_resources,
    zone_resources,
    zones_of_account,
)
from connectors.simulators.cloudflare.state import CloudflareState
from connectors.simulators.cloudflare.values import new_credential, well_formed

A, Z, OTHER = "a" * 32, "b" * 32, "c" * 32
HERE = Target(account=A, zone=Z)
DNS_READ, DNS_WRITE = GROUPS["DNS Read"], GROUPS["DNS Write"]


def allow(*groups: str, on: dict, effect: str = "allow") -> Policy:  # type: ignore[type-arg]
    return Policy("p", effect, on, groups)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resources", "covered"),
    [
        (zone_resources(Z), True),
        (zone_resources(), True),
        (zones_of_account(A), True),
        ({"com.cloudflare.api.account.*": {"com.cloudflare.api.account.zone.*": "*"}}, True),
        ({f"com.cloudflare.api.account.{A}": {f"com.cloudflare.api.account.zone.{Z}": "*"}}, True),
        (zone_resources(OTHER), False),
        (zones_of_account(OTHER), False),
        (account_resources(A), False),
        ({}, False),
    ],
)
def test_zone_groups_need_the_zone(resources: dict, covered: bool) -> None:  # type: ignore[type-arg]
    assert covers(resources, "zone", HERE) is covered


def test_other_scopes_need_their_own_resource() -> None:
    assert covers(account_resources(A), "account", HERE)
    assert not covers(zones_of_account(A), "account", HERE)
    assert covers(user_resources(A), "user", Target(user=A))
    assert not covers(user_resources(A), "user", HERE)
    bucket = Target(account=A, bucket=f"{A}_default_logs")
    assert covers({f"com.cloudflare.edge.r2.bucket.{A}_default_logs": "*"}, "bucket", bucket)
    assert not covers({f"com.cloudflare.edge.r2.bucket.{A}_default_other": "*"}, "bucket", bucket)


def test_deny_beats_allow_wherever_it_stands() -> None:
    yes = allow("DNS Write", on=zones_of_account(A))
    no = allow("DNS Write", on=zone_resources(Z), effect="deny")
    assert permits([yes], [DNS_WRITE], HERE)
    assert not permits([yes, no], [DNS_WRITE], HERE)
    assert not permits([no, yes], [DNS_WRITE], HERE)
    assert permits([yes, no], [DNS_WRITE], Target(account=A, zone=OTHER))


def test_any_one_group_suffices_and_denying_one_leaves_the_other() -> None:
    both = allow("DNS Read", "DNS Write", on=zone_resources(Z))
    no_write = allow("DNS Write", on=zone_resources(Z), effect="deny")
    assert permits([both, no_write], [DNS_WRITE, DNS_READ], HERE)


@given(st.lists(st.tuples(st.sampled_from(["allow", "deny"]), st.sampled_from(sorted(GROUPS)))))
def test_more_policies_of_deny_never_permit_more(described: list[tuple[str, str]]) -> None:
    policies = [allow(group, on=zone_resources(), effect=effect) for effect, group in described]
    without = [policy for policy in policies if policy.effect == "allow"]
    if permits(policies, [DNS_READ, DNS_WRITE], HERE):
        assert permits(without, [DNS_READ, DNS_WRITE], HERE)


def test_a_read_only_member_keeps_only_reading() -> None:
    state = CloudflareState()
    user = state.add_user("ro@acme.example")
    account = state.add_account("acme", [user], READ_ONLY)
    zone = state.add_zone(account, "example.com")
    token = state.add_token(user, permissions=["DNS Write", "DNS Read"])
    actor, target = token_actor(state, token), Target(account=account.id, zone=zone.id)
    assert may(state, actor, (DNS_READ,), target)
    assert not may(state, actor, (DNS_WRITE,), target)


def test_a_token_dies_with_its_users_membership() -> None:
    state = CloudflareState()
    user = state.add_user("x@acme.example")
    account = state.add_account("acme", [user])
    zone = state.add_zone(account, "example.com")
    actor = token_actor(state, state.add_token(user, permissions=["DNS Read"]))
    target = Target(account=account.id, zone=zone.id)
    assert may(state, actor, (DNS_READ,), target)
    account.members.clear()
    state.changed()
    assert not may(state, actor, (DNS_READ,), target)


def test_an_account_token_reaches_no_other_account() -> None:
    state = CloudflareState()
    mine, theirs = state.add_account("mine"), state.add_account("theirs")
    zone = state.add_zone(theirs, "example.com")
    token = state.add_token(mine, policies=[state.policy(["DNS Read"], zone_resources())])
    actor = token_actor(state, token)
    assert not may(state, actor, (DNS_READ,), Target(account=theirs.id, zone=zone.id))


def header(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


def code(problem: pytest.ExceptionInfo[ApiError]) -> tuple[int, int]:
    return problem.value.status, problem.value.errors[0]["code"]


def test_disabled_expired_and_early_tokens_are_refused_but_can_be_verified() -> None:
    now = 1_000.0
    state = CloudflareState(wall=lambda: now)
    user = state.add_user("x@acme.example")
    for token in (
        state.add_token(user, status="disabled"),
        state.add_token(user, expires_on=1_000.0),
        state.add_token(user, not_before=1_001.0),
    ):
        with pytest.raises(ApiError) as refused:
            authenticate(state, header(token.value), verifying=False)
        assert code(refused) == (403, 9109)
        assert authenticate(state, header(token.value), verifying=True).token is token


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], (400, 9106)),
        ([(b"authorization", b"Bearer short")], (400, 6003)),
        ([(b"authorization", b"Basic " + b"x" * 40)], (400, 6003)),
        ([(b"authorization", b"Bearer " + b"x" * 40)], (403, 9109)),
        ([(b"x-auth-email", b"nobody"), (b"x-auth-key", b"x" * 40)], (400, 6003)),
        ([(b"x-auth-email", b"a@b.example"), (b"x-auth-key", b"!")], (400, 6003)),
        ([(b"x-auth-email", b"a@b.example"), (b"x-auth-key", b"x" * 40)], (403, 9103)),
    ],
)
def test_bad_credentials(headers: list[tuple[bytes, bytes]], expected: tuple[int, int]) -> None:
    with pytest.raises(ApiError) as refused:
        authenticate(CloudflareState(), headers, verifying=False)
    assert code(refused) == expected


def test_location_conditions() -> None:
    state = CloudflareState()
    user = state.add_user("x@acme.example")
    inside = state.add_token(user, request_ip={"in": ["10.0.0.0/8"], "not_in": ["10.9.0.0/16"]})
    check_location(inside, "10.1.2.3")
    for address in ("192.0.2.1", "10.9.1.1"):
        with pytest.raises(ApiError) as refused:
            check_location(inside, address)
        assert address in refused.value.errors[0]["message"]


def test_credentials_have_the_real_form_and_hide_in_reprs() -> None:
    state = CloudflareState()
    user = state.add_user("x@acme.example")
    token = state.add_token(user)
    assert token.value.startswith("cfut_")
    assert len(token.value) == len("cfut_") + 40 + 8
    assert well_formed(new_credential("cfat_").encode())
    assert token.value not in repr(token)
    assert user.global_key not in repr(user)

"""API.md's role table, cell by cell, written out here a second time by hand."""

from dataclasses import replace

import pytest

from broker.domain import Bearer, Caller
from broker.errors import Problem
from broker.identity.roles import CALLS, CAPABILITIES, PARTIES, Party, allows, cell, may_mint, reach, require
from tests.unit.policy.facts import caller as session_caller

ANY, OWN, NO = "any", "own", None
#                                                            platform  admin  auditor agent session
EXPECTED: dict[tuple[str, str], tuple[str | None, ...]] = {
    ("POST", "/v1/tenants"): (ANY, NO, NO, NO, NO),
    ("GET", "/v1/tenants/{tenant}"): (ANY, NO, NO, NO, NO),
    ("PATCH", "/v1/tenants/{tenant}"): (ANY, NO, NO, NO, NO),
    ("POST", "/v1/identities"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/identities"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/identities/{identifier}"): (ANY, ANY, NO, NO, NO),
    ("PATCH", "/v1/identities/{identifier}"): (ANY, ANY, NO, NO, NO),
    ("POST", "/v1/identities/{identifier}:offboard"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/connectors"): (ANY, ANY, ANY, ANY, ANY),
    ("POST", "/v1/connections"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/connections"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/connections/{name}"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/connections/{name}/definitions"): (ANY, ANY, NO, NO, NO),
    ("PATCH", "/v1/connections/{name}"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/connections/{name}/oauth_client"): (ANY, ANY, NO, NO, NO),
    ("PUT", "/v1/connections/{name}/oauth_client"): (ANY, ANY, NO, NO, NO),
    ("DELETE", "/v1/connections/{name}/oauth_client"): (ANY, ANY, NO, NO, NO),
    ("DELETE", "/v1/connections/{name}"): (ANY, ANY, NO, NO, NO),
    ("POST", "/v1/connections/{name}:refresh"): (ANY, ANY, NO, NO, NO),
    ("POST", "/v1/connections/{name}:accept"): (ANY, ANY, NO, NO, NO),
    ("PUT", "/v1/connected_accounts"): (ANY, ANY, NO, NO, OWN),
    ("GET", "/v1/connected_accounts"): (ANY, ANY, NO, NO, OWN),
    ("GET", "/v1/connected_accounts/{id}"): (ANY, ANY, NO, NO, OWN),
    ("POST", "/v1/connected_accounts/{id}:revoke"): (ANY, ANY, NO, NO, NO),
    ("POST", "/v1/connected_accounts/{id}:verify"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/policy/explain"): (ANY, ANY, NO, NO, NO),
    ("POST", "/v1/connect_links"): (ANY, ANY, NO, OWN, OWN),
    ("POST", "/v1/sign_in_links"): (ANY, ANY, NO, NO, NO),
    ("PUT", "/v1/sign_in_provider"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/sign_in_provider"): (ANY, ANY, NO, NO, NO),
    ("DELETE", "/v1/sign_in_provider"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/sign_ins"): (ANY, ANY, NO, NO, NO),
    ("PUT", "/v1/identities/{identifier}/sign_in"): (ANY, ANY, NO, NO, NO),
    ("DELETE", "/v1/identities/{identifier}/sign_in"): (ANY, ANY, NO, NO, NO),
    ("POST", "/v1/oauth_clients"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/oauth_clients"): (ANY, ANY, NO, NO, NO),
    ("DELETE", "/v1/oauth_clients/{client_id}"): (ANY, ANY, NO, NO, NO),
    ("POST", "/v1/grants"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/grants"): (ANY, ANY, NO, NO, NO),
    ("DELETE", "/v1/grants/{id}"): (ANY, ANY, NO, NO, NO),
    ("POST", "/v1/keys"): (ANY, ANY, NO, NO, NO),
    ("GET", "/v1/keys"): (ANY, ANY, NO, NO, NO),
    ("DELETE", "/v1/keys/{id}"): (ANY, ANY, NO, NO, NO),
    ("POST", "/v1/sessions"): (ANY, ANY, NO, OWN, OWN),
    ("GET", "/v1/sessions"): (ANY, ANY, NO, OWN, OWN),
    ("DELETE", "/v1/sessions/{id}"): (ANY, ANY, NO, OWN, OWN),
    ("GET", "/v1/tools/scoped"): (ANY, ANY, NO, OWN, OWN),
    ("POST", "/v1/tools/execute"): (ANY, ANY, NO, OWN, OWN),
    ("GET", "/v1/budgets"): (ANY, ANY, ANY, NO, OWN),
    ("GET", "/v1/audit/events"): (ANY, ANY, ANY, OWN, OWN),
    ("GET", "/v1/audit/export"): (ANY, ANY, ANY, NO, NO),
    ("GET", "/v1/executions/{id}"): (ANY, ANY, ANY, OWN, OWN),
    ("GET", "/v1/executions/{id}/code"): (ANY, ANY, ANY, NO, NO),
}


def caller(party: Party) -> Caller:
    if party == "session":
        return session_caller()
    whole = session_caller(identity=None)
    bearer: Bearer = (
        replace(whole.bearer, kind="agent", identity_id=None)
        if party == "agent"
        else replace(whole.bearer, kind="operator", identity_id=None, role=party)
    )
    return replace(whole, bearer=bearer)


def test_every_call_is_in_the_table() -> None:
    assert {(method, path) for method, path, _ in CALLS} == set(EXPECTED)


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]} {call[1]}")
def test_each_cell(call: tuple[str, str, str], party: Party) -> None:
    method, path, capability = call
    expected = EXPECTED[(method, path)][PARTIES.index(party)]
    assert cell(party, capability) == expected
    if expected is NO:
        with pytest.raises(Problem) as refused:
            reach(caller(party), capability)
        assert refused.value.code == "forbidden"
        assert refused.value.hint
    else:
        assert reach(caller(party), capability) == expected


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("capability", sorted(CAPABILITIES))
def test_require_and_allows_agree(capability: str, party: Party) -> None:
    if allows(caller(party), capability):
        require(caller(party), capability)
    else:
        with pytest.raises(Problem):
            require(caller(party), capability)


def test_unofficial_origins_are_for_platform_admins() -> None:
    assert [p for p in PARTIES if allows(caller(p), "origins.unofficial")] == ["platform_admin"]


def test_an_operator_without_a_role_may_nothing() -> None:
    lost = caller("admin")
    lost = replace(lost, bearer=replace(lost.bearer, role=None))
    with pytest.raises(Problem):
        allows(lost, "connectors.read")
    assert not may_mint(lost, "auditor")


def test_a_capability_that_is_not_in_the_table_is_a_fault() -> None:
    with pytest.raises(KeyError):
        require(caller("platform_admin"), "grants.wirte")

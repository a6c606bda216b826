# ruff: noqa: E501 - programs stand as a model would write them
"""What belongs to somebody else stays there: accounts, results, state, secrets, budgets."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from bench.harness import Stand
from bench.kit import EVERYTHING
from tests.security.codemode.kit import PATH, Side, closed, side, total

READ = "(await cloudflare.request({path: '/zones'})).result.length"


@pytest.fixture
def mine(running_server: Stand) -> Iterator[Side]:
    made = side(running_server)
    yield made
    closed(made)


@pytest.fixture
def theirs(running_server: Stand) -> Iterator[Side]:
    made = side(running_server)
    yield made
    closed(made)


def previous(execution_id: str) -> str:
    return f"async () => previous({execution_id!r})"


def test_a_result_is_its_makers_alone(mine: Side, theirs: Side) -> None:
    made = mine.run("async () => ({secret: 'of mine', n: [1, 2, 3]})")["execution_id"]
    assert mine.run(previous(made))["data"] == {"secret": "of mine", "n": [1, 2, 3]}
    for other in (theirs, Side(mine.stand, mine.kit, mine.kit.engineer())):
        refused = other.run(previous(made))
        assert refused["error"]["code"] == "not_found"
        assert "of mine" not in str(refused)
    other.engineer.close()


def test_a_result_is_for_no_lesser_session(mine: Side) -> None:
    """One that may only read must not read through what one that may write has found."""
    made = mine.run("async () => 'of this session'")["execution_id"]
    narrowed = mine.kit.session(mine.engineer.identifier, access="read")
    with closing(mine.stand.server.api(narrowed["token"])) as api:
        body = {"tool_name": "cloudflare_execute", "tool_input": {"code": previous(made)}}
        assert api.ok("POST", PATH, body)["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "asked", ["../x", "' or '1'='1", "00000000-0000-0000-0000-000000000000", "", "x" * 5000, "\\u0000", "*"]
)
def test_a_made_up_execution_is_none(mine: Side, asked: str) -> None:
    answer = mine.run(f'async () => previous("{asked}")')
    assert answer["error"]["code"] in ("not_found", "invalid_input", "code_error")


def test_nothing_is_left_of_a_run_for_another_tenant(mine: Side, theirs: Side) -> None:
    pollute = """async () => {
      for (const proto of [Object, Array, String, Promise, Function, Map, Uint8Array]) {
        proto.prototype.leak = "of mine";
        for (const name of ["then", "map", "toString", "join", "get"]) try { proto.prototype[name] = () => "of mine" } catch {}
      }
      globalThis.leak = "of mine"; JSON.stringify = () => '"of mine"'; Math.random = () => 7;
      setTimeout(() => { globalThis.late = "of mine" }, 5000);
      return 1;
    }"""
    clean = """async () => [typeof leak, typeof late, ({}).leak ?? null, [1, 2].map(x => x + 1), JSON.stringify({a: 1}),
      Math.random() < 1, await Promise.resolve(3)]"""
    for _ in range(6):
        mine.run(pollute)
        for who in (mine, theirs):
            assert who.run(clean)["data"] == ["undefined", "undefined", None, [2, 3], '{"a":1}', True, 3]


def test_a_search_leaves_nothing_either(mine: Side, theirs: Side) -> None:
    spoil = "async () => { for (const p in spec.paths) for (const m in spec.paths[p]) spec.paths[p][m].summary = 'of mine'; return 1 }"
    look = (
        "async () => JSON.stringify(spec.paths).includes('of mine') || find('zones').some(o => o.summary === 'of mine')"
    )
    for _ in range(3):
        mine.run(spoil, tool="cloudflare_search")
        assert theirs.run(look, tool="cloudflare_search")["data"] is False


@pytest.fixture(scope="module")
def confined(running_server: Stand) -> Iterator[Side]:
    """One whose grant is for one zone and its account, with a credential that reaches a second of each."""
    upstream = running_server.simulator
    upstream.control("POST", "/users", {"email": "two@acme.example"})
    upstream.control("POST", "/accounts", {"name": "second", "members": ["two@acme.example"]})
    first = upstream.control("POST", "/accounts", {"name": "first", "members": ["two@acme.example"]})
    zones = {
        name: upstream.control("POST", "/zones", {"name": f"{name}.example", "account": name})["id"]
        for name in ("first", "second")
    }
    kit = running_server.tenant()
    kit.connection()
    engineer = kit.engineer(access=None, email="two@acme.example", permissions=(*EVERYTHING, "Analytics Read"))
    within = {"accounts": [first["id"]], "zones": [zones["first"]]}
    kit.grant({"identifier": engineer.identifier}, "destructive", resources=within)
    made = _Confined(running_server, kit, engineer, first["id"], zones["first"], zones["second"])
    yield made
    closed(made)


class _Confined(Side):
    def __init__(self, stand: Stand, kit: Any, engineer: Any, account: str, zone: str, other: str) -> None:
        super().__init__(stand, kit, engineer)
        self._names = {"ACCOUNT": account, "ZONE": zone, "SECOND": other}
        accounts = stand.simulator.control("GET", "/credentials")["accounts"]
        self._names["ELSEWHERE"] = next(one["id"] for one in accounts if one["name"] == "second")

    def names(self) -> dict[str, str]:
        return self._names


SWITCHES = {
    "another zone": "{path: '/zones/SECOND/dns_records'}",
    "another zone, written to": "{method: 'POST', path: '/zones/SECOND/dns_records', body: {type: 'A', name: 'x', content: '192.0.2.1', ttl: 1}}",
    "another account": "{path: '/accounts/ELSEWHERE/storage/kv/namespaces'}",
    "another account, as a parameter": "{path: '/zones', query: {'account.id': 'ELSEWHERE'}}",
    "every zone": "{path: '/zones'}",
    "a new zone in another account": "{method: 'POST', path: '/zones', body: {name: 'new.example', account: {id: 'ELSEWHERE'}}}",
    "GraphQL of another zone": "{method: 'POST', path: '/graphql', body: {query: '{ viewer { zones(filter: {zoneTag: \"SECOND\"}) { zoneTag } } }'}}",
    "GraphQL of both": "{method: 'POST', path: '/graphql', body: {query: '{ viewer { a: zones(filter: {zoneTag: \"ZONE\"}) { zoneTag } b: zones(filter: {zoneTag: \"SECOND\"}) { zoneTag } } }'}}",
    "GraphQL by a variable": "{method: 'POST', path: '/graphql', body: {query: 'query ($z: String!) { viewer { zones(filter: {zoneTag: $z}) { zoneTag } } }', variables: {z: 'SECOND'}}}",
    "GraphQL by a default": "{method: 'POST', path: '/graphql', body: {query: 'query ($z: String = \"SECOND\") { viewer { zones(filter: {zoneTag: $z}) { zoneTag } } }'}}",
    "GraphQL by a fragment": "{method: 'POST', path: '/graphql', body: {query: 'fragment F on Viewer { zones(filter: {zoneTag: \"SECOND\"}) { zoneTag } } { viewer { ...F } }'}}",
    "GraphQL of everything": "{method: 'POST', path: '/graphql', body: {query: '{ viewer { zones(filter: {}) { zoneTag } } }'}}",
    "an encoded id": "{path: '/zones/' + [...'SECOND'].map(c => '%' + c.charCodeAt(0).toString(16)).join('') + '/dns_records'}",
    "an id in capitals": "{path: '/zones/' + 'SECOND'.toUpperCase() + '/dns_records'}",
}


@pytest.mark.parametrize("which", SWITCHES)
def test_a_grant_for_one_account_and_zone_is_for_no_other(confined: Side, which: str) -> None:
    assert not confined.run("async () => cloudflare.request({path: '/zones/ZONE/dns_records'})")["is_error"]
    since = total(confined.stand)
    answer = confined.run(f"async () => cloudflare.request({SWITCHES[which]})")
    assert answer["is_error"], answer["data"]
    assert answer["error"]["code"] in ("not_granted", "invalid_input", "egress_refused")
    assert confined.seen(since) == []
    assert all(call["sent"] is False for call in answer["calls"])


def test_account_id_of_the_input_opens_no_door(confined: Side) -> None:
    since = total(confined.stand)
    code = "async () => cloudflare.request({path: `/accounts/${accountId}/storage/kv/namespaces`})"
    body = {
        "tool_name": "cloudflare_execute",
        "tool_input": {"code": code, "account_id": confined.names()["ELSEWHERE"]},
    }
    answer = confined.engineer.api.ok("POST", PATH, body)
    assert answer["error"]["code"] == "not_granted"
    assert confined.seen(since) == []


def test_a_minted_token_is_not_shown_even_where_minting_is_granted(mine: Side) -> None:
    named = ["POST /user/tokens", "PUT /user/tokens/{token_id}/value"]
    mine.kit.grant({"identifier": mine.engineer.identifier}, "destructive", operations=named)
    code = """async () => {
      const groups = (await cloudflare.request({path: "/user/tokens/permission_groups"})).result;
      const made = await cloudflare.request({method: "POST", path: "/user/tokens", body: {name: "mine", policies: [{effect: "allow",
        resources: {"com.cloudflare.api.account.zone.*": "*"}, permission_groups: [{id: groups.find(g => g.name === "Zone Read").id}]}]}});
      const rolled = await cloudflare.request({method: "PUT", path: `/user/tokens/${made.result.id}/value`, body: {}});
      console.log(made.result.value, rolled.result);
      return [made.result.value, rolled.result, JSON.stringify([made, rolled])];
    }"""
    answer = mine.run(code)
    assert not answer["is_error"], answer["error"]
    minted = [token["value"] for token in mine.stand.simulator.control("GET", "/credentials")["tokens"]]
    assert not any(value in str(answer) for value in minted)
    kept = mine.run(previous(answer["execution_id"]))
    assert not any(value in str(kept) for value in minted)


def test_an_upstream_that_echoes_the_credential_shows_it_to_nobody(mine: Side) -> None:
    mine.stand.simulator.fault("echo", times=2, match={"principal": mine.engineer.principal})
    code = f"""async () => {{
      const seen = [];
      for (let n = 0; n < 2; n++) try {{ seen.push(await cloudflare.request({{path: "/zones"}})); }} catch (e) {{ seen.push([e.message, e.errors]); }}
      console.log(JSON.stringify(seen));
      return [seen, {READ}];
    }}"""
    try:
        answer = mine.run(code)
    finally:
        mine.stand.simulator.clear_faults()
    assert mine.engineer.token not in str(answer)
    assert len(answer["calls"]) >= 2


def test_a_program_can_spend_only_its_own_budget(mine: Side, theirs: Side) -> None:
    many = (
        "async () => (await Promise.all(Array.from({length: 190}, () => cloudflare.request({path: '/zones'})))).length"
    )
    since = total(mine.stand)
    left = mine.run("async () => 1", max_wait_seconds=0)["budget"]
    assert left is None
    ended = [mine.run(many, max_wait_seconds=0) for _ in range(7)]
    refused = ended[-1]
    assert refused["is_error"]
    assert refused["error"]["code"] == "budget_exhausted"
    assert refused["error"]["retry_after"] > 0
    sent = sum(call["sent"] is not False for one in ended for call in one["calls"])
    assert sent <= 1200
    assert sent == len(mine.seen(since))
    assert theirs.run(f"async () => {READ}")["data"] >= 2


def test_sealed_programs_are_not_readable_by_their_makers(mine: Side, theirs: Side) -> None:
    execution = mine.run(f"async () => {READ}")["execution_id"]
    path = f"/v1/executions/{execution}/code"
    assert mine.engineer.api.send("GET", path).status_code == 403
    assert theirs.kit.admin.send("GET", path).status_code == 404
    assert mine.kit.admin.ok("GET", path)["code"] == f"async () => {READ}"

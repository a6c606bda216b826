"""From a tool's input to the request it means; GraphQL documents; tool names and schemas."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from connectors.cloudflare.connector import CloudflareConnector
from connectors.cloudflare.tools import tool_name
from connectors.errors import InvalidInput, PayloadTooLarge, SpecError, UnknownOperation

ZONE = "023e105f4ecef8ad9ca31a8372d0c353"
ACCOUNT = "75ccbf912a8c4b14b9aa8cc660623d82"
KV = {"namespace_id": "n1", "key_name": "a/b ?#%2e"}
Connection = Callable[..., Any]


def test_a_call_becomes_the_exact_request(connector: CloudflareConnector, connection: Connection) -> None:
    body = {"type": "A", "name": "x.example.com", "content": "192.0.2.1", "ttl": 300, "n": 2**70}
    given = {"operation": "POST /zones/{id}/dns_records", "path_params": {"zone_id": ZONE}, "body": body}
    prepared = connector.prepare(connection(), "cf_call", given)
    assert (prepared.method, prepared.origin) == ("POST", "https://api.cloudflare.com")
    assert prepared.path == f"/client/v4/zones/{ZONE}/dns_records"
    assert prepared.operation.ref == "POST /zones/{zone_id}/dns_records"
    assert prepared.operation.permissions == ("DNS Write",)
    assert prepared.effect == "write"
    assert prepared.resources.zones == (ZONE,)
    assert prepared.body is not None
    assert str(2**70).encode() in prepared.body
    assert [m.name for m in prepared.meters] == ["rest"]
    assert prepared.summary["values"] == {"type": "A", "name": "x.example.com", "ttl": 300}
    assert "192.0.2.1" not in str(prepared.summary)
    assert not prepared.idempotent


def test_account_id_fills_the_path_and_values_are_encoded(
    connector: CloudflareConnector, connection: Connection
) -> None:
    prepared = connector.prepare(
        connection(), "cf_call", {"operation": "kv-get", "path_params": KV, "account_id": ACCOUNT}
    )
    assert prepared.path.endswith(f"/accounts/{ACCOUNT}/storage/kv/namespaces/n1/values/a%2Fb%20%3F%23%252e")
    assert prepared.resources.accounts == (ACCOUNT,)
    assert prepared.binary_answer
    assert prepared.idempotent
    unused = connector.prepare(connection(), "cf_call", {"operation": "zones-get", "account_id": ACCOUNT})
    assert "account_id was not used" in unused.warnings[0]
    with pytest.raises(InvalidInput):
        connector.prepare(
            connection(),
            "cf_call",
            {"operation": "kv-get", "path_params": {**KV, "account_id": "other"}, "account_id": ACCOUNT},
        )


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "operation"),
        ({"operation": ""}, "operation"),
        ({"operation": 5}, "operation"),
        ({"operation": "zones-get", "querry": {}}, "querry"),
        ({"operation": "zones-get", "url": "https://evil.example"}, "url"),
        ({"operation": "zones-get", "query": []}, "query"),
        ({"operation": "zones-get", "query": {"nmae": "x"}}, "query.nmae"),
        ({"operation": "zones-get", "path_params": {"zone_id": "x"}}, "path_params.zone_id"),
        ({"operation": "dns-list"}, "path_params.zone_id"),
        ({"operation": "dns-list", "path_params": {"zone_id": "example.com"}}, "path_params.zone_id"),
        ({"operation": "dns-list", "path_params": {"zone_id": ".."}}, "path_params.zone_id"),
        ({"operation": "dns-list", "path_params": {"zone_id": "a\r\nb"}}, "path_params.zone_id"),
        ({"operation": "dns-list", "path_params": {"zone_id": ZONE}, "query": {"page": "x"}}, "query.page"),
        ({"operation": "zones-get", "headers": {"Authorization": "x"}}, "headers.Authorization"),
        ({"operation": "zones-get", "headers": {"X-Auth-Key": "x"}}, "headers.X-Auth-Key"),
        ({"operation": "zones-get", "account_id": 5}, "account_id"),
    ],
)
def test_wrong_input_is_named(
    given: dict[str, Any], path: str, connector: CloudflareConnector, connection: Connection
) -> None:
    with pytest.raises(InvalidInput) as refused:
        connector.prepare(connection(), "cf_call", given)
    assert path in [f.path for f in refused.value.fields]


def test_a_zone_name_is_answered_with_how_to_find_its_id(
    connector: CloudflareConnector, connection: Connection
) -> None:
    with pytest.raises(InvalidInput) as refused:
        connector.prepare(connection(), "cf_call", {"operation": "dns-list", "path_params": {"zone_id": "example.com"}})
    assert refused.value.hint == 'find it with operation "GET /zones" and query {"name": "example.com"}'


@pytest.mark.parametrize(
    "ref",
    [
        "nope",
        f"GET /zones/{ZONE}",
        "GET https://evil.example/zones",
        "GET /zones/../user",
        "TRACE /zones",
        "GET //zones",
        "x" * 9000,
    ],
)
def test_what_is_not_in_the_description_is_unknown(
    ref: str, connector: CloudflareConnector, connection: Connection
) -> None:
    with pytest.raises(UnknownOperation):
        connector.prepare(connection(), "cf_call", {"operation": ref})


def test_bodies_are_advice_or_law(connector: CloudflareConnector, connection: Connection) -> None:
    given = {"operation": "dns-create", "path_params": {"zone_id": ZONE}, "body": {"type": "MX", "name": 5}}
    advised = connector.prepare(connection(), "cf_call", given)
    assert any(w.startswith("body.type") for w in advised.warnings)
    with pytest.raises(InvalidInput) as refused:
        connector.prepare(connection(body_check="strict"), "cf_call", given)
    assert {"body.type", "body.name"} <= {f.path for f in refused.value.fields}


@pytest.mark.parametrize("body", [0, "", False, None, [], {}])
def test_falsy_bodies_are_sent(body: object, connector: CloudflareConnector, connection: Connection) -> None:
    prepared = connector.prepare(connection(), "cf_call", {"operation": "POST /plain", "body": body})
    assert prepared.body == orjson.dumps(body)


def test_null_stands_for_none_where_there_is_no_body(connector: CloudflareConnector, connection: Connection) -> None:
    assert connector.prepare(connection(), "cf_call", {"operation": "zones-get", "body": None}).body is None


def test_operations_that_return_secrets_say_so(connector: CloudflareConnector, connection: Connection) -> None:
    prepared = connector.prepare(connection(), "cf_call", {"operation": "token-create", "body": {}})
    assert prepared.operation.guarded
    assert prepared.redact == ("result.value",)


def test_without_a_description_nothing_can_be_called(connector: CloudflareConnector, connection: Connection) -> None:
    view = connection()
    view.spec = None
    with pytest.raises(SpecError):
        connector.prepare(view, "cf_call", {"operation": "zones-get"})
    assert [t.name for t in connector.tools(view)] == ["cf_call"]


def graphql(connector: CloudflareConnector, connection: Connection, body: object) -> Any:
    return connector.prepare(connection(), "cf_call", {"operation": "graphql", "body": body})


@pytest.mark.parametrize(
    ("query", "effect"),
    [
        ("{ viewer { zones { zoneTag } } }", "read"),
        ("query Q { a }", "read"),
        ("mutation { a }", "write"),
        ("query Q { a } mutation M { b }", "write"),
        ("# mutation\n{ a }", "read"),
        ("query mutation { a }", "read"),
        ("mutation\n\n@x { a }", "write"),
    ],
)
def test_graphql_effects(query: str, effect: str, connector: CloudflareConnector, connection: Connection) -> None:
    body = {"query": query, "operationName": "Q"} if "Q {" in query else {"query": query}
    prepared = graphql(connector, connection, body)
    assert prepared.effect == effect
    assert prepared.path == "/client/v4/graphql"
    assert [(m.name, m.limit) for m in prepared.meters] == [("rest", 1200), ("graphql", 320)]
    assert not prepared.idempotent


@pytest.mark.parametrize(
    ("query", "variables", "zones", "accounts"),
    [
        ('{viewer{zones(filter:{zoneTag:"z1"}){a}}}', {}, ("z1",), ()),
        ('{viewer{zones(filter:{zoneTag_in:["z1","z2"]}){a}}}', {}, ("z1", "z2"), ()),
        ("query($z:string){viewer{zones(filter:{zoneTag:$z}){a}}}", {"z": "z1"}, ("z1",), ()),
        ("query($f:F){viewer{zones(filter:$f){a}}}", {"f": {"zoneTag": "z1"}}, ("z1",), ()),
        ('{viewer{accounts(filter:{accountTag:"a1"}){a}}}', {}, (), ("a1",)),
        ('{viewer{x:zones(filter:{zoneTag:"z1"}){a} y:zones{a}}}', {}, ("*", "z1"), ()),
        ("{viewer{zones{a}}}", {}, ("*",), ()),
        ("{viewer{zones(limit:1){a}}}", {}, ("*",), ()),
        ('{viewer{zones(filter:{zoneTag_neq:"z1"}){a}}}', {}, ("*",), ()),
        ('{viewer{zones(filter:{OR:[{zoneTag:"z1"}]}){a}}}', {}, ("*",), ()),
        ('{viewer{zones(filter:{zoneTag:"z1",zoneTag:"z2"}){a}}}', {}, ("*",), ()),
        ("query($z:string){viewer{zones(filter:{zoneTag:$z}){a}}}", {}, ("*",), ()),
        ('query($z:string="z1"){viewer{zones(filter:{zoneTag:$z}){a}}}', {}, ("*",), ()),
        ("query($f:F){viewer{zones(filter:$f){a}}}", {"f": {"zoneTag": 5}}, ("*",), ()),
        ("{viewer{...F}} fragment F on V{zones{a}}", {}, ("*",), ()),
        ("{viewer{... on V{accounts{a}}}}", {}, (), ("*",)),
        ("{__schema{types{name}}}", {}, (), ()),
    ],
)
def test_graphql_names_the_zones_and_accounts_it_is_confined_to(
    query: str, variables: dict[str, Any], zones: tuple[str, ...], accounts: tuple[str, ...],
    connector: CloudflareConnector, connection: Connection,
) -> None:  # fmt: skip
    found = graphql(connector, connection, {"query": query, "variables": variables}).resources
    assert (set(found.zones), set(found.accounts)) == (set(zones), set(accounts))


@pytest.mark.parametrize(
    "body",
    [None, [], "{a}", {}, {"query": ""}, {"query": 5}, {"query": "{"}, {"query": "{a}", "extensions": {}},
     {"query": "{a}", "variables": []}, {"query": "{a}", "operationName": 5}, {"query": "subscription { a }"},
     {"query": "query A{a} query B{b}"}, {"query": "query A{a} query B{b}", "operationName": "C"},
     {"query": "fragment F on X { a }"}, {"query": "{" * 5_000}, {"query": "{a" + "{a" * 5_000},
     {"query": "{" + " a" * 20_000 + "}"}, {"query": "{a(x:" + "[" * 100 + "]" * 100 + ")}"}],
)  # fmt: skip
def test_other_graphql_is_refused(body: object, connector: CloudflareConnector, connection: Connection) -> None:
    with pytest.raises(InvalidInput):
        graphql(connector, connection, body)


def test_a_huge_graphql_query_is_too_large(connector: CloudflareConnector, connection: Connection) -> None:
    with pytest.raises(PayloadTooLarge):
        graphql(connector, connection, {"query": "{a}" + " " * 70_000})


def test_tools_are_the_call_tool_and_one_per_listed_operation(
    connector: CloudflareConnector, connection: Connection
) -> None:
    view = connection(tools=["dns-create", "GET /zones", "gone", "call", "zones-get"])
    found = connector.tools(view)
    names = [t.name for t in found]
    assert names[:5] == ["cf_call", "cf_search", "cf_execute", "cf_dns-create", "cf_zones-get"]
    assert names[5].startswith("cf_call-")
    assert len(found) == 6
    assert connector.missing_tools(view) == ("gone",)
    assert len(found[0].description) <= 700
    assert [t.schema_hash for t in found] == [t.schema_hash for t in connector.tools(view)]
    prepared = connector.prepare(view, "cf_dns-create", {"zone_id": ZONE, "body": {"type": "A", "name": "x"}})
    assert prepared.path.endswith(f"{ZONE}/dns_records")
    for name in ("cf_dns-list", "cf_", "other_call", "cf_gone"):
        with pytest.raises(InvalidInput):
            connector.prepare(view, name, {})


def test_tool_names_fit_and_stay_distinct() -> None:
    long = "user'-s-account-memberships-" + "x" * 80
    names = {tool_name("c" * 24, long + suffix) for suffix in ("", "a", "b")} | {tool_name("cf", "call")}
    assert len(names) == 4
    assert all(len(n) <= 60 for n in names)
    assert tool_name("cf", "user'-s-x") == "cf_user-s-x"


def test_operations_and_near_names_for_policy(connector: CloudflareConnector, connection: Connection) -> None:
    view = connection()
    assert connector.operation(view, "graphql").ref == "POST /graphql"
    assert connector.operation(view, "zones-get").ref == "GET /zones"
    assert connector.nearest(view, "zones-gets", lambda o: True)[0] == "zones-get"
    assert connector.nearest(view, "zones-gets", lambda o: o.effect != "read") != ["zones-get"]
    assert connector.nearest(view, "dns-crate", lambda o: False) == []

"""Making a judged operation into another one: by a path value, by a prefix, by what a query asks for beside it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import orjson
import pytest

from broker.domain import Connection
from broker.policy.decide import AccessRequest, narrowest_grant
from connectors.base import Prepared, RawAnswer
from connectors.cloudflare.answer import read_answer
from connectors.cloudflare.connector import CloudflareConnector
from connectors.cloudflare.graphql import read_document
from connectors.cloudflare.guarded import secret_fields
from connectors.cloudflare.resources import request_resources
from connectors.errors import InvalidConfig, InvalidInput
from connectors.openapi.compile import compile_spec
from connectors.openapi.index import SpecIndex

ACCOUNT = "75ccbf912a8c4b14b9aa8cc660623d82"
ZONE = "023e105f4ecef8ad9ca31a8372d0c353"
VALUES = "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/values/{key_name}"


def _operations(path: str, *methods: str) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names]
    answer = {"200": {"description": "ok", "content": {"application/json": {"schema": {}}}}}
    return {method: {"parameters": parameters, "responses": answer} for method in methods}


PATHS = {
    "/accounts/{account_id}/stream/{identifier}": ("get", "post"),
    "/accounts/{account_id}/stream/webhook": ("get",),
    "/accounts/{account_id}/stream/keys": ("get", "post"),
    "/accounts/{account_id}/images/v1/{image_id}": ("get",),
    "/accounts/{account_id}/images/v1/keys": ("get",),
    "/accounts/{account_id}/cfd_tunnel/{tunnel_id}": ("get",),
    "/zones/{identifier}": ("get",),
    "/zones/{zone_id}": ("get", "delete"),
    VALUES: ("get",),
}


@dataclass
class View:
    """A connection as a connector sees it."""

    name: str = "cf"
    config: Mapping[str, Any] = field(default_factory=dict)
    spec: SpecIndex | None = None


@pytest.fixture(scope="module")
def view() -> View:
    document = {
        "openapi": "3.0.3",
        "info": {"title": "small", "version": "1"},
        "paths": {path: _operations(path, *methods) for path, methods in PATHS.items()},
    }
    spec = SpecIndex.load(compile_spec(json.dumps(document).encode()))
    return View(config=CloudflareConnector().check_config({}), spec=spec)


def prepare(view: View, operation: str, **given: Any) -> Prepared:
    return CloudflareConnector().prepare(view, "cf_call", {"operation": operation, **given})


@pytest.mark.parametrize(
    ("operation", "name", "value"),
    [
        ("GET /accounts/{account_id}/stream/{identifier}", "identifier", "webhook"),
        ("POST /accounts/{account_id}/stream/{identifier}", "identifier", "keys"),
        ("GET /accounts/{account_id}/images/v1/{image_id}", "image_id", "keys"),
        ("GET /accounts/{account_id}/cfd_tunnel/{tunnel_id}", "tunnel_id", "f70ff985/token"),
        ("GET /accounts/{account_id}/cfd_tunnel/{tunnel_id}", "tunnel_id", "f70ff985%2Ftoken"),
        ("GET /accounts/{account_id}/stream/{identifier}", "identifier", "live_inputs/1"),
    ],
)
def test_a_value_that_names_another_operation_is_refused(view: View, operation: str, name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match="another operation"):
        prepare(view, operation, path_params={"account_id": ACCOUNT, name: value})


def test_values_that_name_nothing_else_still_go_through(view: View) -> None:
    key = {"account_id": ACCOUNT, "namespace_id": "n", "key_name": "users/42/token"}
    assert prepare(view, f"GET {VALUES}", path_params=key).path.endswith("/values/users%2F42%2Ftoken")
    assert prepare(view, "GET /accounts/{account_id}/stream/keys", path_params={"account_id": ACCOUNT}).operation.path
    # two templates of one shape are one operation as far as a path can tell
    assert prepare(view, "GET /zones/{zone_id}", path_params={"zone_id": ZONE}).path.endswith(ZONE)


@pytest.mark.parametrize("path", ["", "/client/v4/accounts/1", "/client", "/client/v4/user"])
def test_the_official_host_has_one_prefix(path: str) -> None:
    with pytest.raises(InvalidConfig, match="base_url"):
        CloudflareConnector().check_config({"base_url": f"https://api.cloudflare.com{path}"})


ZONES = f'zones(filter: {{zoneTag: "{ZONE}"}}) {{ x }}'
ACCOUNTS = f'accounts(filter: {{accountTag: "{ACCOUNT}"}}) {{ x }}'


@pytest.mark.parametrize(
    "query",
    [
        f"{{ viewer {{ {ZONES} {ACCOUNTS} }} }}",
        f"{{ viewer {{ {ZONES} }} ...F }} fragment F on Query {{ viewer {{ ... on V {{ {ACCOUNTS} }} }} }}",
        f"{{ viewer {{ {ZONES} organizations {{ x }} }} }}",
        f"{{ viewer {{ {ZONES} }} somethingElse {{ x }} }}",
        f"mutation {{ change {{ {ZONES} }} }}",
    ],
)
def test_a_zone_grant_carries_nothing_else_along(query: str) -> None:
    _, resources = read_document({"query": query})
    assert "*" in resources.zones


def test_a_query_for_zones_alone_is_confined() -> None:
    _, resources = read_document({"query": f"{{ viewer {{ __typename budget a: {ZONES} b: {ZONES} }} }}"})
    assert (resources.zones, resources.accounts) == ((ZONE,), ())


def test_closing_brackets_make_no_room_for_nesting() -> None:
    with pytest.raises(InvalidInput, match="deeper"):
        read_document({"query": "#" + "}" * 500 + "\n" + "{a" * 400 + "}" * 400})


@pytest.mark.parametrize("named", [[ZONE] * 100 + ["other"], ",".join([ZONE] * 100 + ["other"])])
def test_what_is_not_looked_at_counts_as_everything(named: Any) -> None:
    found = request_resources("/zones/{zone_id}/x", f"/zones/{ZONE}/x", {}, {"zones": named})
    assert "*" in found.zones


def test_a_repeated_key_hides_no_secret(view: View) -> None:
    told = Prepared(
        operation=prepare(view, "GET /zones/{zone_id}", path_params={"zone_id": ZONE}).operation,
        method="POST",
        origin="https://api.cloudflare.com",
        path="/",
        redact=("result.value",),
    )
    raw = RawAnswer(200, {"content-type": "application/json"}, b'{"result":{"value":"opensesame"},"result":{"n":1}}')
    assert b"opensesame" not in orjson.dumps(read_answer(told, raw, ()).data)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_the_key_of_a_live_output_is_secret(method: str) -> None:
    path = "/accounts/{account_id}/stream/live_inputs/{live_input_identifier}/outputs/{output_identifier}"
    assert "result.streamKey" in secret_fields(method, path)


@pytest.mark.parametrize("place", ["", "headers"])
def test_a_hundred_thousand_unknown_names_cost_little(view: View, place: str) -> None:
    names: dict[str, Any] = {f"accounts_{n}": "1" for n in range(100_000)}
    began = time.perf_counter()
    with pytest.raises(InvalidInput) as refused:
        prepare(view, "GET /zones/{zone_id}", path_params={"zone_id": ZONE}, **({place: names} if place else names))
    assert len(refused.value.fields) <= 10
    assert time.perf_counter() - began < 1.0


def test_a_refused_query_for_everything_is_not_told_of_a_grant_that_cannot_be_made() -> None:
    operation, resources = read_document({"query": f"{{ viewer {{ {ZONES} {ACCOUNTS} }} }}"})
    connection = Connection(UUID(int=1), "cf", "cloudflare", 1, "active")
    asked = SimpleNamespace(
        caller=SimpleNamespace(identity=SimpleNamespace(identifier="priya")),
        connection=connection,
        account=SimpleNamespace(shared=False),
        tool_name="cf_call",
        operation=operation,
        resources=resources,
    )
    assert "resources" not in (narrowest_grant(cast("AccessRequest", asked)) or {"resources": None})

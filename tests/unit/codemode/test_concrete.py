"""A program's request by concrete path: the same operation and the same bytes as a call, and no way beyond."""

from collections.abc import Callable
from typing import Any

import pytest

from connectors.cloudflare.concrete import prepare_request
from connectors.errors import EgressRefused, InvalidInput, UnknownOperation
from tests.unit.connectors.conftest import ACCOUNT, ZONE, View, connection, connector, index

__all__ = ["connection", "connector", "index"]

Connections = Callable[..., View]
KV = f"/accounts/{ACCOUNT}/storage/kv/namespaces/ns/values"


def test_a_path_is_matched_to_its_operation(connection: Connections) -> None:
    prepared = prepare_request(
        connection(), {"method": "post", "path": f"/zones/{ZONE}/dns_records", "body": {"type": "A", "name": "x"}}
    )
    assert (prepared.operation.id, prepared.effect) == ("dns-create", "write")
    assert prepared.path == f"/client/v4/zones/{ZONE}/dns_records"
    assert prepared.body == b'{"type":"A","name":"x"}'
    assert prepared.resources.zones == (ZONE,)


@pytest.mark.parametrize("path", ["/zones", "/client/v4/zones", "zones", "/zones/", "/zones?name=a"])
def test_spellings_of_a_path(connection: Connections, path: str) -> None:
    prepared = prepare_request(connection(), {"method": "GET", "path": path})
    assert prepared.path == "/client/v4/zones"
    assert prepared.query == ("name=a" if "?" in path else "")


def test_query_values(connection: Connections) -> None:
    view = connection()
    records = f"/zones/{ZONE}/dns_records"
    asked = {"method": "GET", "path": records, "query": {"page": "2", "per_page": 5, "cursor": "a b&c"}}
    assert prepare_request(view, asked).query == "page=2&per_page=5&cursor=a%20b%26c"
    with pytest.raises(InvalidInput, match="nam"):
        prepare_request(view, {"method": "GET", "path": "/zones", "query": {"nam": "x"}})
    with pytest.raises(InvalidInput):
        prepare_request(view, {"method": "POST", "path": records, "query": {"per_page": 5}, "body": {}})


def test_bodies_as_they_are(connection: Connections) -> None:
    view = connection()
    put = {"method": "PUT", "path": f"{KV}/k%2F1"}
    binary = prepare_request(view, {**put, "bodyBase64": "iVBO", "contentType": "application/octet-stream"})
    assert binary.body == b"\x89PN"
    assert binary.path.endswith("/values/k%2F1")
    text = prepare_request(view, {**put, "bodyText": "hé", "contentType": "application/octet-stream"})
    assert text.body == "hé".encode()
    for falsy in (0, "", False, None):
        made = prepare_request(view, {"method": "POST", "path": "/plain", "body": falsy})
        assert made.body in (b"0", b'""', b"false", b"null")
    parsed = prepare_request(
        view, {"method": "POST", "path": "/plain", "bodyText": '{"a": 1}', "contentType": "application/json"}
    )
    assert parsed.body == b'{"a":1}'


def test_a_json_text_may_not_say_two_things(connection: Connections) -> None:
    twice = {"bodyText": '{"account":{"id":"a"},"account":{"id":"b"}}', "contentType": "application/json"}
    with pytest.raises(InvalidInput, match="twice"):
        prepare_request(connection(), {"method": "POST", "path": "/plain", **twice})


def test_graphql_mutations_write(connection: Connections) -> None:
    asked = {"method": "POST", "path": "/client/v4/graphql"}
    assert prepare_request(connection(), {**asked, "body": {"query": "{ viewer { budget } }"}}).effect == "read"
    assert prepare_request(connection(), {**asked, "body": {"query": "mutation { x }"}}).effect == "write"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/zones/../user", EgressRefused),
        ("/zones/%2e%2e/user", EgressRefused),
        ("/zones/%252e%252e/user", EgressRefused),
        ("/zones//dns_records", EgressRefused),
        ("//evil.example/zones", EgressRefused),
        ("https://evil.example/zones", EgressRefused),
        ("/zones\\..\\user", EgressRefused),
        ("/zones/a\r\nHost: evil", EgressRefused),
        ("/zones/%0d%0aX: y/dns_records", EgressRefused),
        ("/nothing/here", UnknownOperation),
        ("/zones/example.com/dns_records", InvalidInput),
        ("/zones/undefined/dns_records", InvalidInput),
        ("/zones/{zone_id}/dns_records", InvalidInput),
        ("/zones/${id}/dns_records", InvalidInput),
        ("/zones/:zone_id/dns_records", InvalidInput),
        ("", InvalidInput),
        (7, InvalidInput),
        (None, InvalidInput),
        ("/" + "a" * 60_000, InvalidInput),
        ("/zones/\ud800/dns_records", InvalidInput),
    ],
)
def test_paths_that_lead_elsewhere(connection: Connections, path: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        prepare_request(connection(), {"method": "GET", "path": path})


@pytest.mark.parametrize(
    "given",
    [
        {"method": "CONNECT"},
        {"method": None},
        {"headers": {"Authorization": "Bearer x"}},
        {"headers": {"Host": "evil"}},
        {"headers": {"x-auth-key": "x"}},
        {"headers": 7},
        {"query": [1]},
        {"query": {str(n): 1 for n in range(500)}},
        {"url": "/zones"},
        {"body": 1, "bodyText": "1"},
        {"bodyBase64": "not base64!", "contentType": "application/octet-stream", "method": "POST", "path": "/plain"},
        {"contentType": "a/b\r\nx: y", "bodyText": "x", "method": "POST", "path": "/plain"},
        {"bodyText": "--b", "contentType": "multipart/form-data; boundary=b", "method": "POST", "path": "/plain"},
    ],
)
def test_wrong_requests(connection: Connections, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        prepare_request(connection(), {"method": "GET", "path": "/zones", **given})

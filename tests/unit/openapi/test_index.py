"""Finding operations, the nearest names, concrete paths, and details on demand."""

import pytest

from connectors.errors import UnknownOperation
from connectors.openapi.index import SpecIndex
from connectors.openapi.template import parse
from tests.unit.openapi.support import index

PATHS = {
    "/zones": {"get": {"operationId": "zones-list", "summary": "List zones"}},
    "/zones/{zone_id}": {"get": {"operationId": "zone-get"}, "delete": {"operationId": "zone-delete"}},
    "/zones/{zone_id}/dns_records": {"get": {"operationId": "dns-list", "summary": "List DNS Records"}},
    "/zones/{zone_id}/dns_records/{id}": {"get": {"operationId": "dns-get"}},
    "/zones/{zone_id}/dns_records/export": {"get": {"operationId": "dns-export"}},
    "/events/{t}.{n}": {"get": {"operationId": "event"}},
    "/shots/{id}.png": {"get": {"operationId": "shot"}},
    "/files/{path+}": {"get": {"operationId": "file", "parameters": []}},
    "/maps/{a}/of/{a}": {"get": {"operationId": "twice"}},
    "/members:batch": {"post": {"operationId": "batch"}},
    "/slash/": {"get": {"operationId": "slash"}},
}


@pytest.fixture(scope="module")
def opened() -> SpecIndex:
    return index(PATHS, servers=[{"url": "https://api.example/client/v4"}])


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        ("zone-get", "zone-get"),
        ("GET /zones/{zone_id}", "zone-get"),
        ("get /zones/{id}", "zone-get"),
        ("GET  /client/v4/zones/{id}", "zone-get"),
        ("GET /zones/", "zones-list"),
        ("GET /events/{a}.{b}", "event"),
        ("GET /slash/", "slash"),
        ("GET /files/{path}", "file"),
    ],
)
def test_operations_are_found_by_id_and_by_template(opened: SpecIndex, ref: str, found: str) -> None:
    assert opened.find(ref).id == found


@pytest.mark.parametrize(
    "ref",
    ["", "zone", "ZONE-GET", "GET", "GET /zones/023e105f", "POST /zones", "GET /zones/{a}/{b}", "GET zones",
     "GET /zones?x=1", "GET https://api.example/zones", "GET /client/v4", "/zones", "x" * 10_000],
)  # fmt: skip
def test_anything_else_is_unknown(opened: SpecIndex, ref: str) -> None:
    with pytest.raises(UnknownOperation) as caught:
        opened.find(ref)
    assert len(str(caught.value)) < 300


def test_two_templates_of_one_shape_are_found_only_by_their_names() -> None:
    twins = index({"/a/{x}": {"get": {"operationId": "x"}}, "/a/{y}": {"get": {"operationId": "y"}}})
    assert twins.find("GET /a/{y}").id == "y"
    with pytest.raises(UnknownOperation):
        twins.find("GET /a/{z}")


def test_nearest_names_only_what_is_allowed(opened: SpecIndex) -> None:
    assert opened.nearest("dns list", lambda _: True)[0] == "dns-list"
    assert opened.nearest("GET /zones/{id}/dns_record", lambda _: True)[0] == "GET /zones/{zone_id}/dns_records"
    assert opened.nearest("GET /zones/023e", lambda _: True)[0] == "GET /zones/{zone_id}"
    assert "dns-list" not in opened.nearest("list dns", lambda row: row.id != "dns-list")
    assert opened.nearest("list dns", lambda _: False) == []
    assert len(opened.nearest("zones dns records", lambda _: True, n=2)) == 2


@pytest.mark.parametrize(
    ("path", "found", "values"),
    [
        ("/zones", "zones-list", {}),
        ("/client/v4/zones", "zones-list", {}),
        ("/zones/a%2Fb", "zone-get", {"zone_id": "a/b"}),
        ("/zones/%25", "zone-get", {"zone_id": "%"}),
        ("/zones/1/dns_records/export", "dns-export", {"zone_id": "1"}),
        ("/zones/1/dns_records/exports", "dns-get", {"zone_id": "1", "id": "exports"}),
        ("/events/a.b.c", "event", {"t": "a", "n": "b.c"}),
        ("/shots/x.png", "shot", {"id": "x"}),
        ("/maps/1/of/1", "twice", {"a": "1"}),
    ],
)
def test_concrete_paths_match(opened: SpecIndex, path: str, found: str, values: dict[str, str]) -> None:
    match = opened.match("get", path)
    assert match is not None
    assert (match[0].id, match[1]) == (found, values)


@pytest.mark.parametrize(
    "path",
    ["", "zones", "/zones/", "/zones/..", "/zones/%2e%2E", "/zones/./x", "/events/a", "/shots/.png", "/maps/1/of/2",
     "/files/a/b", "/zones/%ff", "//zones", "/nothing"],
)  # fmt: skip
def test_other_paths_match_nothing(opened: SpecIndex, path: str) -> None:
    assert opened.match("GET", path) is None


def test_the_method_decides_too(opened: SpecIndex) -> None:
    assert opened.match("POST", "/zones") is None
    found = opened.match("DELETE", "/zones/1")
    assert found is not None
    assert found[0].id == "zone-delete"


def test_details_are_kept_and_bounded(opened: SpecIndex) -> None:
    row = opened.find("dns-list")
    assert opened.details(row) is opened.details(row)
    many = index({f"/p{i}": {"get": {}} for i in range(600)})
    for row in many.rows:
        assert many.details(row).row is row
    assert len(many._details) == 256


def test_shapes_ignore_names() -> None:
    assert parse("/a/{b}/{c}.{d}").shape == "/a/{}/{}.{}"

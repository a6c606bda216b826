"""Compiling: what is refused, what is repaired, what comes out of schemas."""

import time
from typing import Any

import jsonschema_rs
import orjson
import pytest

from connectors.errors import SpecError
from connectors.openapi import artifact, bounds
from connectors.openapi.compile import compile_spec
from connectors.openapi.index import SpecIndex
from tests.unit.openapi.support import document, index, operation, param

ANY_GET = {"get": {"operationId": "x"}}


def refused(raw: bytes) -> str:
    with pytest.raises(SpecError) as caught:
        compile_spec(raw)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"openapi": "3.0.0", "paths": ' + b"[" * 2000, "not JSON"),
        (b'{"openapi": "3.0.0", "x": ' + b"[" * 500 + b"]" * 500 + b"}", "nested deeper"),
        (b'{"openapi": "3.0.0", "x": "\\ud800"}', "not JSON"),
        (b'{"openapi": "3.0.0", "x": ' + b"9" * 1_000_000 + b"}", "not JSON"),
        (b'{"openapi": "3.0.0", "x": NaN}', "not JSON"),
        (b'{"swagger": "2.0", "paths": {}}', "Swagger 2"),
        (b'{"openapi": "4.0.0", "paths": {}}', "OpenAPI 3"),
        (b'{"openapi": 3, "paths": {}}', "OpenAPI 3"),
        (b'{"openapi": "3.0.0"}', "no `paths`"),
    ],
)
def test_what_is_no_description_is_refused(raw: bytes, why: str) -> None:
    assert why in refused(raw)


@pytest.mark.parametrize("ref", ["http://evil.example/x.json", "other.json#/a", "file:///etc/passwd", "//evil/x"])
def test_remote_references_are_refused_wherever_they_count(ref: str) -> None:
    schema = {"$ref": ref}
    for item in (
        {"get": {"parameters": [schema]}},
        {"get": {"parameters": [param("a", schema)]}},
        {"post": {"requestBody": {"content": {"application/json": {"schema": {"allOf": [schema]}}}}}},
        {"get": {"responses": {"200": schema}}},
        schema,
    ):
        assert "outside itself" in refused(document({"/a": item}))
    assert "outside itself" in refused(document({}, components={"schemas": {"Unused": schema}}))


def test_a_reference_inside_an_example_is_a_value() -> None:
    content = {"application/json": {"type": "object", "example": {"$ref": "http://example.com/"}}}
    assert operation("/a", "post", content=content).bodies["application/json"].schema["type"] == "object"


def test_circles_of_references_are_refused_and_dangling_ones_dropped() -> None:
    loop = {"a": {"$ref": "#/components/parameters/b"}, "b": {"$ref": "#/components/parameters/a"}}
    raw = document(
        {"/a": {"get": {"parameters": [{"$ref": "#/components/parameters/a"}]}}},
        components={"parameters": loop},
    )
    assert "circle" in refused(raw)
    opened = index({"/a": {"get": {"parameters": [param("q", {"$ref": "#/nowhere"}), {"$ref": "#/nothing"}]}}})
    assert [p.name for p in opened.details(opened.rows[0]).parameters] == ["q"]
    assert opened.counts == {"dangling_references": 1, "skipped_parameters": 1}


def test_an_exponential_bomb_of_references_stays_small() -> None:
    schemas: dict[str, Any] = {f"S{i}": {"allOf": [{"$ref": f"#/components/schemas/S{i + 1}"}] * 2} for i in range(60)}
    schemas["S60"] = {"type": "string"}
    body = {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}}
    started = time.perf_counter()
    compiled = compile_spec(document({"/a": {"post": body}}, components={"schemas": schemas}))
    assert len(compiled) < 20_000
    assert time.perf_counter() - started < 2


def test_too_many_operations_parameters_and_shared_components_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_ALL_DETAILS", 8 * 1024 * 1024)
    assert "operations" in refused(document({f"/p{i}": ANY_GET for i in range(100_000)}))
    assert "parameters" in refused(document({"/a": {"get": {"parameters": [param(f"p{i}", {}) for i in range(300)]}}}))
    big = {f"S{i}": {"type": "string", "enum": [f"v{i}-{j}" for j in range(1000)]} for i in range(30)}
    everything = {"allOf": [{"$ref": f"#/components/schemas/{name}"} for name in big]}
    body = {"requestBody": {"content": {"application/json": {"schema": everything}}}}
    raw = document({f"/p{i}": {"post": body} for i in range(100)}, components={"schemas": big})
    assert "too large altogether" in refused(raw)


def test_a_body_over_its_bound_goes_unchecked() -> None:
    huge = {"type": "object", "properties": {f"p{i}": {"enum": ["x" * 60]} for i in range(9000)}}
    opened = index(
        {
            "/a": {
                "post": {
                    "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/H"}}}}
                }
            }
        },
        components={"schemas": {"H": huge}},
    )
    assert opened.counts["oversized_bodies"] == 1
    assert opened.details(opened.rows[0]).bodies["application/json"].schema == {}


def test_only_linear_time_patterns_survive() -> None:
    patterns = [
        r"^(a+)+$",
        r"^(?=x)a",
        r"(a)\1",
        r"((a{1000}){1000}){1000}",
        "(",
        "a" * 2000,
        r"^[a-f0-9]{32}$",
    ]
    listed = [param(f"p{i}", {"type": "string", "pattern": p}) for i, p in enumerate(patterns)]
    opened = index({"/a": {"get": {"parameters": listed}}})
    kept = [p.schema.get("pattern") for p in opened.details(opened.rows[0]).parameters]
    assert kept == [r"^(a+)+$", None, None, None, None, None, r"^[a-f0-9]{32}$"]
    assert opened.counts["dropped_patterns"] == 5


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        (
            {"type": "string", "enum": ["a"], "nullable": True},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        (
            {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
            {"type": "integer", "exclusiveMinimum": 1},
        ),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": False}, {"type": "integer", "minimum": 1}),
        ({"type": "integer", "exclusiveMaximum": 9}, {"type": "integer", "exclusiveMaximum": 9}),
        (
            {"oneOf": [{"type": "string"}], "anyOf": [{}]},
            {"anyOf": [{}], "allOf": [{"anyOf": [{"type": "string"}]}]},
        ),
        ({"type": "wrong", "minLength": -1, "enum": [], "required": True, "$id": "http://x/"}, {}),
        ({"type": "string", "example": "e", "x-more": 1, "xml": {}}, {"type": "string", "examples": ["e"]}),
        ({"not": {"pattern": "(?=x)"}}, {}),
        ({"not": {"type": "null"}}, {"not": {"type": "null"}}),
        (
            {"properties": {"id": {"readOnly": True}, "n": {}}, "required": ["id", "n"]},
            {"properties": {"id": {"readOnly": True}, "n": {}}, "required": ["n"]},
        ),
        (
            {"patternProperties": {"(?=x)": {}}, "additionalProperties": False},
            {"patternProperties": {}},
        ),
        ({"properties": {"__proto__": {"type": "string"}, "$ref": {"type": "string"}}},) * 2,
    ],
)
def test_schemas_become_json_schema_2020_12(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    schema = operation("/a", parameters=[param("q", given)]).parameters[0].schema
    assert schema == wanted
    jsonschema_rs.Draft202012Validator(schema, offline=True)


def test_what_stands_beside_a_reference_counts_from_3_1_on() -> None:
    schemas = {"S": {"type": "string"}}
    beside = {"$ref": "#/components/schemas/S", "maxLength": 3, "nullable": True}
    old = operation("/a", parameters=[param("q", beside)], components={"schemas": schemas}).parameters[0].schema
    assert old == {"anyOf": [{"$ref": "#/$defs/S"}, {"type": "null"}]}
    beside.pop("nullable")
    new = operation("/a", parameters=[param("q", beside)], components={"schemas": schemas}, version="3.1.0")
    assert new.parameters[0].schema == {"$ref": "#/$defs/S", "maxLength": 3}


def test_recursive_components_keep_only_what_is_needed() -> None:
    schemas = {
        "Tree": {"properties": {"kids": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}},
        "Self": {"$ref": "#/components/schemas/Self"},
        "Unused": {"type": "string"},
    }
    details = operation(
        "/a",
        "post",
        content={"application/json": {"$ref": "#/components/schemas/Tree"}},
        components={"schemas": schemas},
    )
    assert list(details.defs) == ["Tree"]
    validator = jsonschema_rs.Draft202012Validator(
        details.standalone(details.bodies["application/json"].schema), offline=True
    )
    assert validator.is_valid({"kids": [{"kids": []}]})
    assert not validator.is_valid({"kids": [{"kids": 1}]})


def test_path_level_parameters_merge_and_undeclared_ones_are_implied() -> None:
    opened = index(
        {
            "/a/{x}/{y}": {
                "parameters": [param("x", {"type": "integer"}, "path"), param("q", {"type": "string"})],
                "get": {
                    "parameters": [
                        param("q", {"type": "integer"}),
                        param("gone", {}, "path"),
                        param("c", {}, "cookie"),
                    ]
                },
            }
        }
    )
    found = {(p.location, p.name): p for p in opened.details(opened.rows[0]).parameters}
    assert set(found) == {("path", "x"), ("path", "y"), ("query", "q")}
    assert found["query", "q"].schema == {"type": "integer"}
    assert found["path", "y"].schema == {"type": "string"}


def test_ids_are_made_where_missing_unusable_or_shared() -> None:
    rows = index(
        {
            "/a": {"get": {}, "post": {"operationId": "two words"}},
            "/b": {"get": {"operationId": "same"}, "post": {"operationId": "same"}},
            "/c": {"get": {"operationId": "get_a"}, "put": {"operationId": "fine-(id)"}},
        }
    ).rows
    assert [row.id for row in rows] == ["get_a_2", "post_a", "get_b", "post_b", "get_a", "fine-(id)"]


@pytest.mark.parametrize("groups", ["G One", ["G One"], [["G One"]], {"any": ["G One"]}])
def test_permission_groups_are_read_however_nested(groups: object) -> None:
    row = index(
        {"/a": {"get": {"x-api-token-group": groups, "x-cfPermissionsRequired": {"enum": ["#zone:read"]}}}}
    ).rows[0]
    assert (row.groups, row.permissions_required) == (("G One",), ("#zone:read",))
    assert index({"/a": {"get": {"x-api-token-group": None}}}).rows[0].groups is None
    assert index({"/a": {"get": {"x-meta": {"x-api-token-group": ["N"]}}}}).rows[0].groups == ("N",)


@pytest.mark.parametrize(
    "path", ["/a/../b", "/a/%2e%2e/b", "/a?x=1", "/a#b", "a", "//a", "/a b", "/a/{", "/a\\b", "/%2Fa", "/{}", "/a" * 65]
)
def test_unsafe_templates_are_left_out(path: str) -> None:
    opened = index({path: ANY_GET, "/ok": ANY_GET})
    assert [row.path for row in opened.rows] == ["/ok"]
    assert opened.counts == {"skipped_paths": 1}


@pytest.mark.parametrize(
    ("servers", "base"),
    [
        ([{"url": "https://evil.example/client/v4/"}], "/client/v4"),
        ([{"url": "/api"}], "/api"),
        ([{"url": "https://{host}/x"}], "/x"),
        ([{"url": "https://h/{v}"}], ""),
        ([{"url": "https://h/../x"}], ""),
        ([{"url": "http://[bad"}], ""),
        (None, ""),
        ([7], ""),
    ],
)
def test_servers_give_only_a_base_path(servers: object, base: str) -> None:
    compiled = compile_spec(document({"/a": ANY_GET}, servers=servers))
    assert SpecIndex.load(compiled).base_path == base
    assert b"evil" not in compiled


def test_compiling_is_deterministic_and_damage_is_noticed() -> None:
    raw = document({"/a": ANY_GET}, components={"schemas": {}})
    compiled = compile_spec(raw)
    assert compiled == compile_spec(raw)
    for place in (0, 8, 20, 45, len(compiled) // 2, len(compiled) - 1):
        damaged = bytearray(compiled)
        damaged[place] ^= 1
        with pytest.raises(SpecError):
            SpecIndex.load(bytes(damaged))
    for cut in (0, 10, 51, len(compiled) - 1):
        with pytest.raises(SpecError):
            SpecIndex.load(compiled[:cut])


def test_an_inflating_bomb_is_refused() -> None:
    bomb = artifact.pack(artifact.Sections(b"{}", b" " * 200_000, b""))
    with pytest.raises(SpecError):
        artifact.unpack(bomb, max_rows=100_000)


def test_duplicate_keys_and_odd_names_do_no_harm() -> None:
    raw = b'{"openapi":"3.0.0","paths":{"/a":{"get":{"operationId":"one","operationId":"two"}},"__proto__":{}}}'
    assert [row.id for row in SpecIndex.load(compile_spec(raw)).rows] == ["two"]


def test_size_is_checked_before_anything_else() -> None:
    assert "larger than 32 MiB" in refused(b"[" * (bounds.MAX_RAW + 1))


def test_malformed_parts_never_crash() -> None:
    junk: list[Any] = [None, 1, "x", [], {}, [1], {"a": 1}, True]
    for one in junk:
        operation_junk = {
            "operationId": one, "parameters": one, "requestBody": one, "responses": one, "tags": one,
            "summary": one, "deprecated": one, "description": one,
        }  # fmt: skip
        schema_junk = dict.fromkeys(
            ("type", "enum", "properties", "items", "allOf", "anyOf", "not", "if", "required", "pattern", "format",
             "minimum", "maxLength", "additionalProperties", "patternProperties", "dependentRequired", "prefixItems",
             "default", "examples", "const", "contains", "propertyNames", "nullable", "exclusiveMinimum"), one
        )  # fmt: skip
        paths = {
            "/a": {"get": operation_junk, "post": one, "parameters": one},
            "/b": one,
            "/c": {"post": {"requestBody": {"content": {"application/json": one, "x": one}}, "parameters": [one]}},
            "/d": {"get": {"parameters": [{"name": one, "in": one}, param("q", schema_junk, style=one, content=one)]}},
            "/e": {"post": {"requestBody": {"content": {"application/json": {"schema": one, "encoding": one}}}}},
        }
        opened = SpecIndex.load(compile_spec(document(paths, servers=one, components=one)))
        for row in opened.rows:
            for parameter in opened.details(row).parameters:
                jsonschema_rs.Draft202012Validator(parameter.schema, offline=True)
        assert orjson.dumps(opened.counts)

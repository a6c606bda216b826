"""Typed tools' schemas, and what a new description changes."""

from typing import Any

import jsonschema_rs
import orjson
import pytest

from connectors.errors import InvalidInput
from connectors.openapi.diff import compare
from connectors.openapi.model import ABSENT
from connectors.openapi.schema import input_schema, schema_hash, split_input
from connectors.openapi.synth import sample
from tests.unit.openapi.support import index, operation, param


def test_parameters_are_flat_and_the_body_nested() -> None:
    details = operation(
        "/zones/{zone_id}/x",
        "post",
        parameters=[
            param("zone_id", {"type": "string"}, "path"),
            param("page", {"type": "integer"}, description="Page."),
        ],
        content={"application/json": {"type": "object", "properties": {"a": {}, "id": {"readOnly": True}}}},
    )
    schema = input_schema(details)
    assert schema == {
        "type": "object",
        "properties": {
            "zone_id": {"type": "string"},
            "page": {"type": "integer", "description": "Page."},
            "body": {"type": "object", "properties": {"a": {}}},
        },
        "additionalProperties": False,
        "required": ["zone_id"],
    }
    assert split_input(details, {"zone_id": "z", "page": 1}) == ({"zone_id": "z"}, {"page": 1}, ABSENT)
    assert split_input(details, {"body": None}) == ({}, {}, None)
    with pytest.raises(InvalidInput, match="did you mean zone_id"):
        split_input(details, {"zone": 1})


def test_colliding_names_are_prefixed_and_can_be_renamed() -> None:
    listed = [param("id", {}, "path"), param("id", {}), param("body", {})]
    details = operation("/a/{id}", "post", parameters=listed, content={"text/plain": {}})
    assert list(input_schema(details)["properties"]) == ["path_id", "query_id", "query_body", "body"]
    given = {"path_id": 1, "query_id": 2, "query_body": 3, "body": 4}
    assert split_input(details, given) == ({"id": 1}, {"id": 2, "body": 3}, 4)
    renamed = {"path_id": "thing"}
    assert "thing" in input_schema(details, rename=renamed)["properties"]
    assert split_input(details, {"thing": 1}, rename=renamed) == ({"id": 1}, {}, ABSENT)


def test_schemas_are_bounded_self_contained_and_stable() -> None:
    tree: dict[str, Any] = {
        "type": "object",
        "properties": {f"p{i}": {"$ref": "#/components/schemas/Tree"} for i in range(6)} | {"leaf": {"type": "string"}},
    }
    details = operation(
        "/a",
        "post",
        content={"application/json": {"$ref": "#/components/schemas/Tree"}},
        components={"schemas": {"Tree": tree}},
    )
    schema = input_schema(details)
    encoded = orjson.dumps(schema)
    assert len(encoded) <= 32 * 1024
    assert b"$ref" not in encoded
    assert b"not shown here" in encoded
    jsonschema_rs.Draft202012Validator(schema, offline=True)
    assert schema_hash(schema) == schema_hash(dict(reversed(schema.items())))
    assert len(schema_hash(schema)) == 16
    assert len(orjson.dumps(input_schema(details, max_bytes=300))) <= 300


def test_files_are_explained() -> None:
    body = {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}, "name": {"type": "string"}},
    }
    schema = input_schema(operation("/a", "post", content={"multipart/form-data": body}))["properties"]["body"]
    assert schema["properties"] == {"file": {}, "name": {"type": "string"}}
    assert "$file" in schema["description"]


OLD = {
    "/a": {"get": {"operationId": "same", "summary": "old words"}, "post": {"operationId": "gone"}},
    "/b": {"get": {"operationId": "moved"}},
    "/c": {"get": {"operationId": "old-name", "x-api-token-group": ["DNS Read"]}},
    "/d": {"post": {"operationId": "grown", "parameters": [param("q", {"type": "string"})]}},
    "/e": {"put": {"operationId": "verb", "x-api-token-group": ["A", "B"]}},
}
NEW = {
    "/a": {"get": {"operationId": "same", "summary": "new words", "description": "prose"}},
    "/b2": {"get": {"operationId": "moved"}},
    "/c": {"get": {"operationId": "new-name", "x-api-token-group": ["DNS Write"]}},
    "/d": {
        "post": {
            "operationId": "grown",
            "deprecated": True,
            "parameters": [param("q", {"type": "integer"})],
            "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S"}}}},
        }
    },
    "/e": {"delete": {"operationId": "verb", "x-api-token-group": ["B", "A"]}},
    "/f": {"get": {"operationId": "fresh"}},
}


def test_differences_are_named() -> None:
    diff = compare(index(OLD), index(NEW, components={"schemas": {"S": {"type": "string"}}}))
    assert [c.ref for c in diff.added] == ["GET /f"]
    assert [c.ref for c in diff.removed] == ["POST /a"]
    assert {c.ref: c.what for c in diff.changed} == {
        "GET /b2": ("moved",),
        "GET /c": ("renamed", "groups"),
        "POST /d": ("deprecated", "parameters", "body"),
        "DELETE /e": ("method",),
    }
    report = diff.report()
    assert "was GET /b" in report
    assert "groups +[DNS Write] -[DNS Read]" in report
    assert diff.report(3).endswith("… and 5 more")
    affected = diff.affects(lambda row: row.path.startswith("/b") or row.path == "/a")
    assert [(kind, c.ref) for kind, c in affected] == [("removed", "POST /a"), ("changed", "GET /b2")]


def test_nothing_differs_from_itself_and_deep_changes_show() -> None:
    def described(inner: str) -> Any:
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/S"}}}
        schemas = {
            "S": {"properties": {"description": {"$ref": "#/components/schemas/T"}}},
            "T": {"type": inner},
        }
        return index(
            {"/a": {"post": {"operationId": "x", "requestBody": {"content": content}}}},
            components={"schemas": schemas},
        )

    assert compare(described("string"), described("string")).empty
    assert [c.what for c in compare(described("string"), described("integer")).changed] == [("body",)]


def test_samples_match_their_patterns() -> None:
    import re

    for pattern in (r"^[a-f0-9]{32}$", r"^\d{3}-\w+$", r"^(GET|POST)$", r"^a?b*c+[^x]$", r"^https?:\/\/.+$"):
        assert any(re.search(pattern, text) for text in sample(pattern)), pattern
    for pattern in (r"(?=x)", r"\p{L}", "(", "[", "{2}", r"a{", "a{x}"):
        list(sample(pattern))

"""Strict-mode schemas and the way back from them."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keyreeve.adapters.strict import restore, rooted, strict

from tests.e2e.model_api import check_strict

Json = dict[str, Any]
SCALARS = st.sampled_from(
    [
        {"type": "string", "minLength": 0, "format": "uri"},
        {"type": "integer", "default": 3},
        {"type": "boolean"},
        {"type": "string", "enum": ["A", "AAAA"]},
        {"const": "fixed"},
    ]
)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Json]) -> Json:
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1, max_size=4))
    properties = {name: draw(inner) for name in names}
    required = [name for name in names if draw(st.booleans())]
    closed = draw(st.sampled_from([{}, {"additionalProperties": False}]))
    return {"type": "object", "properties": properties, "required": required, **closed}


def nested(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    arrays = inner.map(lambda schema: {"type": "array", "items": schema, "uniqueItems": False})
    either = inner.map(lambda schema: {"anyOf": [{"type": "integer"}, {"type": "array", "items": schema}]})
    return st.one_of(arrays, either, objects(inner))


SCHEMAS = objects(st.recursive(SCALARS, nested, max_leaves=6))


def values(schema: Json) -> st.SearchStrategy[Any]:
    """What `schema` allows, absent optional properties included."""
    if "anyOf" in schema:
        return st.one_of([values(branch) for branch in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "array":
        return st.lists(values(schema["items"]), max_size=2)
    if schema["type"] == "object":
        required = {k: values(v) for k, v in schema["properties"].items() if k in schema["required"]}
        optional = {k: values(v) for k, v in schema["properties"].items() if k not in schema["required"]}
        return st.fixed_dictionaries(required, optional=optional)
    return {"string": st.text(max_size=5), "integer": st.integers(), "boolean": st.booleans()}[schema["type"]]


def as_a_model_writes(schema: Json, value: Any) -> Any:
    """The same under strict mode: every absent property written as null."""
    if "anyOf" in schema and isinstance(value, list):
        return as_a_model_writes(schema["anyOf"][1], value)
    if isinstance(value, list):
        return [as_a_model_writes(schema["items"], inner) for inner in value]
    if isinstance(value, dict):
        known = schema["properties"]
        return {k: as_a_model_writes(known[k], value[k]) if k in value else None for k in known}
    return value


@settings(deadline=None)
@given(st.data())
def test_what_a_model_writes_under_strict_mode_comes_back_as_the_tool_wants_it(data: st.DataObject) -> None:
    schema = data.draw(SCHEMAS)
    wanted = strict(schema)
    assert wanted is not None
    check_strict(wanted)
    jsonschema.Draft202012Validator.check_schema(wanted)
    value = data.draw(values(schema))
    written = as_a_model_writes(schema, value)
    jsonschema.validate(written, wanted)
    assert restore(schema, written) == value


@pytest.mark.parametrize(
    "inexpressible",
    [
        {},
        True,
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]},
        {"type": "array"},
        {"allOf": [{"type": "string"}]},
        {"not": {"type": "string"}, "type": "integer"},
        {"type": ["object", "string"], "properties": {"a": {"type": "string"}}},
        {"type": "string", "enum": [str(n) for n in range(1001)]},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "https://elsewhere.example/schema.json"},
    ],
)
def test_what_strict_mode_cannot_say_is_not_said(inexpressible: Any) -> None:
    schema = {"type": "object", "properties": {"p": inexpressible}, "required": ["p"]}
    assert strict(schema) is None


@pytest.mark.parametrize(
    "nullable",
    [
        {"type": ["string", "null"]},
        {"type": "string", "nullable": True},
        {"enum": ["a", None]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
    ],
)
def test_null_keeps_its_meaning(nullable: Json) -> None:
    """Clearing a field and leaving it alone are not the same: where both can be said, strict mode could say only
    one."""
    assert strict({"type": "object", "properties": {"p": nullable}}) is None
    required = {"type": "object", "properties": {"p": nullable}, "required": ["p"]}
    assert strict(required) is not None
    assert restore(required, {"p": None}) == {"p": None}


def test_a_schema_that_refers_to_itself() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"head": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
    wanted = strict(schema)
    assert wanted is not None
    check_strict(wanted)
    written = {"head": {"next": {"next": None, "n": 2}, "n": None}}
    jsonschema.validate(written, wanted)
    assert restore(schema, written) == {"head": {"next": {"n": 2}}}


def test_schemas_that_go_round_in_circles_end() -> None:
    schema = {"type": "object", "properties": {"p": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert strict(schema) is None
    deep: Json = {"type": "string"}
    for _ in range(30):
        deep = {"type": "object", "properties": {"p": deep}, "required": ["p"]}
    assert strict(deep) is None


def test_big_integers_pass_unharmed() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "integer"}}}
    assert restore(schema, {"n": 2**70 + 1, "m": None}) == {"n": 2**70 + 1}


def test_the_root_is_an_object_without_combinators() -> None:
    schema = {"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {}, "b": {}}}
    assert rooted(schema) == {"type": "object", "properties": {"a": {}, "b": {}}}
    assert rooted({"type": "object"}) == {"type": "object", "properties": {}}

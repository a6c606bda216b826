"""The checker: held against a complete implementation, bounded against bombs, discreet about values."""

import contextlib
import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.openapi.check import TooCostly, check
from connectors.openapi.compile import compile_spec
from connectors.openapi.index import SpecIndex
from tests.unit.openapi.support import document, param

NAMES = st.sampled_from(["a", "b", "cc", "d"])
SCALARS = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.5, 1.0, -2.5, "", "a", "ab", "2026-01-31"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
TYPES = ["string", "integer", "number", "boolean", "array", "object", "null"]


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
            "enum": st.lists(SCALARS, min_size=1, max_size=3, unique_by=repr),
            "const": SCALARS,
            "minimum": st.integers(-3, 3),
            "exclusiveMaximum": st.integers(-3, 3),
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(0, 2),
            "pattern": st.sampled_from(["^a", "b$", "."]),
            "format": st.just("date"),
            "minItems": st.integers(0, 2),
            "maxItems": st.integers(0, 2),
            "uniqueItems": st.booleans(),
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "c"]), inner, max_size=1),
            "additionalProperties": inner,
            "propertyNames": inner,
            "required": st.lists(NAMES, max_size=2, unique=True),
            "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True), max_size=1),
            "minProperties": st.integers(0, 2),
            "maxProperties": st.integers(0, 2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        },
    )


SCHEMAS = st.recursive(st.booleans() | schemas(st.booleans()), schemas, max_leaves=6)


@settings(max_examples=600, deadline=None)
@given(SCHEMAS, VALUES)
def test_verdicts_agree_with_a_complete_implementation(schema: Any, value: Any) -> None:
    opened = SpecIndex.load(
        compile_spec(document({"/a": {"get": {"parameters": [param("q", schema)]}}}, version="3.1.0"))
    )
    compiled = opened.details(opened.rows[0]).parameters[0].schema
    reference = jsonschema_rs.Draft202012Validator(compiled, validate_formats=True, offline=True)
    assert (check(compiled, value, {}) == []) == reference.is_valid(value), compiled


def test_integers_are_exact_at_any_size() -> None:
    assert check({"maximum": 2**64}, 2**64 + 1, {})
    assert not check({"maximum": 2**64}, 2**64, {})
    assert not check({"type": "integer", "multipleOf": 3}, 3 * 10**5000, {})
    assert check({"enum": [9007199254740992]}, 9007199254740993, {})
    assert check({"enum": [1]}, json.loads("true"), {})
    assert not check({"multipleOf": 0.01}, 19.99, {})


def messages(schema: Any, value: Any, **more: Any) -> list[tuple[str, str]]:
    return [(p.path, p.problem) for p in check(schema, value, more.pop("defs", {}), **more)]


def test_problems_name_the_field_and_the_remedy() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 3},
            "kind": {"enum": ["a", "b"]},
            "n": {"minimum": 2},
        },
        "required": ["name", "kind"],
        "additionalProperties": False,
    }
    assert messages(schema, {"name": "long one", "n": 1, "nmae": 1}, path=("body",)) == [
        ("body.name", "must have at most 3 characters"),
        ("body.n", "must be at least 2"),
        ("body.kind", "is required"),
        ("body.nmae", "is not a known field; did you mean name?"),
    ]
    assert messages({"type": ["string", "null"]}, 5) == [("", "must be a string or null, not an integer")]


def test_the_nearest_form_is_explained() -> None:
    a = {
        "type": "object",
        "properties": {"type": {"enum": ["A"]}, "ip": {"type": "string"}},
        "required": ["type", "ip"],
    }
    b = {
        "type": "object",
        "properties": {"type": {"enum": ["B"]}, "no": {"type": "integer"}},
        "required": ["type", "no"],
    }
    assert messages({"anyOf": [a, b]}, {"type": "B", "no": "x"}) == [("no", "must be an integer, not a string")]
    assert messages({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1) == [
        ("", "must be a string, not an integer or must be null, not an integer")
    ]


def test_values_are_never_repeated() -> None:
    canary = "krv-canary-7f3a"
    for schema in (
        {"type": "integer"}, {"enum": ["x"]}, {"pattern": "^x"}, {"maxLength": 1}, {"const": 1}, {"not": {}}, False,
        {"format": "date"}, {"anyOf": [{"type": "null"}, {"maxLength": 2}]},
    ):  # fmt: skip
        found = messages(schema, canary)
        assert found
        assert canary not in str(found)


def test_problems_are_bounded() -> None:
    assert len(check({"items": {"type": "string"}}, [1] * 1000, {})) == 10


MANY: dict[str, Any] = {f"p{i}": {} for i in range(5000)}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("schema", "defs", "value"),
    [
        ({"$ref": "#/$defs/S0"}, {f"S{i}": {"allOf": [{"$ref": f"#/$defs/S{i + 1}"}] * 2} for i in range(60)}, 1),
        ({"$ref": "#/$defs/S"}, {"S": {"$ref": "#/$defs/S"}}, 1),
        ({"$ref": "#/$defs/S"}, {"S": {"anyOf": [{"$ref": "#/$defs/S"}, {"$ref": "#/$defs/S"}]}}, 1),
        ({"items": {"type": "string"}}, {}, ["x"] * 1_000_000),
        ({"uniqueItems": True}, {}, list(range(1_000_000))),
        ({"pattern": "(x+x+)+y"}, {}, "x" * 20_000_000),
        ({"enum": [f"v{i}" for i in range(100_000)]}, {}, "none"),
        ({"additionalProperties": False, "properties": MANY}, {}, {f"q{i}": 1 for i in range(5000)}),
    ],
)  # fmt: skip
def test_bombs_cost_little(schema: Any, defs: dict[str, Any], value: Any) -> None:
    with contextlib.suppress(TooCostly):
        check(schema, value, defs)


def test_depth_is_bounded() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(TooCostly):
        check({"$ref": "#/$defs/S"}, deep, {"S": {"items": {"$ref": "#/$defs/S"}}})

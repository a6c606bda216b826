"""What pydantic finds wrong, as its reader is told."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from broker.endpoints.rest.validation import from_validation

TIME = "must be an RFC 3339 time with its zone, like 2027-01-31T00:00:00Z"


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    identifier: str | None = None
    everyone: bool | None = None


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=2, max_length=4)
    subject: Inner | None = None
    several: Annotated[list[Inner], Field(max_length=2)] | None = None
    ttl_seconds: int = Field(60, ge=60, le=900)
    access: Literal["read", "write"] = "read"
    until: AwareDatetime | None = None
    as_: str = Field("data", alias="as")


def told(body: dict[str, Any] | str) -> tuple[str, list[tuple[str, str]]]:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(body) if isinstance(body, str) else Outer.model_validate(body)
    problem = from_validation(caught.value.errors(include_input=False, include_url=False), Outer)
    return problem.code, [(field.path, field.problem) for field in problem.fields]


@pytest.mark.parametrize(
    ("change", "path", "problem"),
    [
        ({"name": "a"}, "name", "must have at least 2 characters"),
        ({"name": "abcde"}, "name", "must have at most 4 characters"),
        ({"name": 5}, "name", "must be a text"),
        ({"ttl_seconds": 5}, "ttl_seconds", "must be at least 60"),
        ({"ttl_seconds": 901}, "ttl_seconds", "must be at most 900"),
        ({"ttl_seconds": "many"}, "ttl_seconds", "must be a whole number"),
        ({"access": "all"}, "access", "must be 'read' or 'write'"),
        ({"subject": {"everyone": "perhaps"}}, "subject.everyone", "must be true or false"),
        ({"subject": 5}, "subject", "must be a JSON object"),
        ({"several": [{}, {}, {}]}, "several", "must have at most 2 items"),
        ({"until": "soon"}, "until", TIME),
        (
            {"until": "2027-01-31T00:00:00"},
            "until",
            TIME,
        ),
    ],
)
def test_a_wrong_value_is_told_what_it_must_be(change: dict[str, Any], path: str, problem: str) -> None:
    assert told({"name": "abc", **change}) == ("invalid_input", [(path, problem)])


@pytest.mark.parametrize(
    ("change", "path", "meant"),
    [
        ({"ttl_second": 60}, "ttl_second", "ttl_seconds"),
        ({"ass": "x"}, "ass", "as"),
        ({"subject": {"identifer": "x"}}, "subject.identifer", "identifier"),
        ({"several": [{}, {"everybody": True}]}, "several.1.everybody", "everyone"),
    ],
)
def test_an_unknown_field_is_told_the_nearest_one(change: dict[str, Any], path: str, meant: str) -> None:
    expected = ("unknown_field", [(path, f"is not a field here; did you mean `{meant}`?")])
    assert told({"name": "abc", **change}) == expected


def test_where_nothing_is_near_all_are_named() -> None:
    assert told({"name": "abc", "subject": {"xyz": 1}}) == (
        "unknown_field",
        [("subject.xyz", "is not a field here; known are identifier, everyone")],
    )


def test_a_required_field_misspelt_is_an_unknown_one() -> None:
    code, fields = told({"nmae": "abc"})
    assert code == "unknown_field"
    assert ("nmae", "is not a field here; did you mean `name`?") in fields


def test_what_is_no_json_is_no_field() -> None:
    code, ((path, problem),) = told("{nope")
    assert (code, path) == ("invalid_input", "body")
    assert problem.startswith("is not valid JSON: ")

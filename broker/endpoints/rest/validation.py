"""What pydantic finds wrong with a request, as a Problem in our own words: which field, what it must be instead, and
for a field that there is not, the one that was probably meant. A value that was sent is never repeated: it may be a
secret.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args

from fastapi import Request
from pydantic import BaseModel

from broker.errors import Field, Problem, misfit

_MOST: Final = 20
"""Findings that are told; a request may have a million."""
_TIME: Final = "must be an RFC 3339 time with its zone, like 2027-01-31T00:00:00Z"
_OBJECT: Final = "must be a JSON object"
_WHOLE: Final = "must be a whole number"
_BOOL: Final = "must be true or false"

_WORDS: Final = {
    "missing": "is required",
    "string_type": "must be a text",
    "string_unicode": "must be valid Unicode",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} items",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "bool_type": _BOOL,
    "bool_parsing": _BOOL,
    "list_type": "must be a list",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "literal_error": "must be {expected}",
    "value_error": "{error}",
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": _TIME,
    "json_invalid": "is not valid JSON: {error}",
}


def from_validation(errors: Sequence[Mapping[str, Any]], model: Any = None) -> Problem:
    """Pydantic's findings about a request that should have been a `model`, as a Problem `unknown_field` or
    `invalid_input`."""
    return misfit([_field(error, model) for error in errors[:_MOST]])


def misread(request: Request, errors: Sequence[Mapping[str, Any]]) -> Problem:
    """What FastAPI found wrong with `request`."""
    problem = from_validation(errors, _model(request))
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if errors and errors[0]["loc"] == ("body",) and media_type != "application/json" and "+json" not in media_type:
        problem.hint = "send JSON, with the header `Content-Type: application/json`"
    return problem


def _field(error: Mapping[str, Any], model: Any) -> Field:
    location = [str(part) for part in error["loc"]]
    if location and location[0] in {"body", "query", "path", "header"} and len(location) > 1:
        location = location[1:]
    if error["type"] == "json_invalid":
        location = []  # where there should be a field, FastAPI puts the place in the text
    path = ".".join(location)[:200] or "body"
    if error["type"] == "extra_forbidden":
        return Field(path, f"is not a field here; {_instead(location, model)}", unknown=True)
    words = _WORDS.get(error["type"])
    return Field(path, str(error["msg"])[:300] if words is None else words.format_map(error.get("ctx", {}))[:300])


def _instead(location: Sequence[str], model: Any) -> str:
    known = _known(location[:-1], model)
    near = get_close_matches(location[-1][:100], known, n=1, cutoff=0.4)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"known are {', '.join(known)}" if known else "leave it out"


def _known(inside: Sequence[str], model: Any) -> list[str]:
    """The fields of the model that lies at `inside` in `model`; none where that is no model."""
    for part in inside:
        if not part.isdigit():
            field = next((f for name, f in _fields(model).items() if part in (name, f.alias)), None)
            model = None if field is None else _nested(field.annotation)
    return [field.alias or name for name, field in _fields(model).items()]


def _fields(model: Any) -> Mapping[str, Any]:
    return getattr(model, "model_fields", {})


def _nested(annotation: Any) -> Any:
    """The model in `annotation`, such as `list[Model] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _nested(one)) is not None), None)


def _model(request: Request) -> Any:
    """The model of the route's body, or of its query where the route has one for that."""
    route = request.scope.get("route")
    body = getattr(route, "body_field", None)
    query = getattr(getattr(route, "dependant", None), "query_params", None)
    wanted = body or (query[0] if query else None)
    return _nested(getattr(getattr(wanted, "field_info", None), "annotation", None))

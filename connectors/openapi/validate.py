"""Judging the parts of a call against its operation.

Paths, queries and headers strictly; bodies as advice.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from connectors.errors import FieldProblem
from connectors.openapi import wire
from connectors.openapi.bounds import MAX_HEADER_VALUE, MAX_PATH_VALUE, MAX_PROBLEMS, MAX_QUERY
from connectors.openapi.check import TooCostly, check
from connectors.openapi.model import ABSENT, Absent, Json, OperationDetails, Parameter
from connectors.openapi.values import near

SAFE_HEADERS: Final = frozenset(
    {
        "cf-r2-jurisdiction", "cf-r2-storage-class", "if-match", "if-none-match", "if-modified-since",
        "if-unmodified-since", "prefer", "upload-creator", "upload-length", "upload-metadata",
        "tus-resumable",
        "cf-worker-body-part", "cf-worker-main-module-part", "x-magic-new-hc-target",
    }
)  # fmt: skip
"""Header parameters a caller may set, where the operation declares them.

They change neither who asks nor whom.
"""

_NEVER = re.compile(
    r"authorization|host|cookie|set-cookie|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|forwarded"
    r"|content-length|content-type|content-encoding|x-auth-.*|x-forwarded-.*|proxy-.*|cf-access-.*|sec-.*|via|origin"
)
_HEADER_TEXT = re.compile(r"[\x20-\x7e]*")


def check_path(details: OperationDetails, given: Mapping[str, Json], out: list[FieldProblem]) -> dict[str, str]:
    """The percent-encoded path values; what is wrong is added to `out`."""
    declared = details.located("path")
    _unknown("path_params", given, declared, out)
    encoded: dict[str, str] = {}
    for name, parameter in declared.items():
        at = ("path_params", name)
        if name not in given:
            out.append(FieldProblem(".".join(at), "is required"))
            continue
        value = wire.typed(parameter.schema, given[name], details.defs)
        if _oversized(value, MAX_PATH_VALUE):
            out.append(FieldProblem(".".join(at), f"must have at most {MAX_PATH_VALUE:,} characters"))
            continue
        try:
            encoded[name] = wire.path_text(parameter, value)
        except wire.Unsendable as error:
            out.append(FieldProblem(".".join(at), str(error)))
            continue
        out.extend(_judge(details, parameter, value, at))
    return encoded


def check_query(details: OperationDetails, given: Mapping[str, Json], out: list[FieldProblem]) -> str:
    """The canonical query string, in the caller's order; what is wrong is added to `out`."""
    declared = details.located("query")
    _unknown("query", given, declared, out)
    pairs: list[tuple[str, str]] = []
    size = 0
    for name in given:
        parameter = declared.get(name)
        if parameter is None:
            continue
        at = ("query", name)
        value = wire.typed(parameter.schema, given[name], details.defs) if not parameter.json else given[name]
        try:
            for pair in wire.query_pairs(parameter, value):
                size += len(pair[0]) + len(pair[1]) + 2
                if size > MAX_QUERY:
                    out.append(FieldProblem("query", f"is longer than {MAX_QUERY:,} bytes altogether"))
                    return ""
                pairs.append(pair)
        except (wire.Unsendable, UnicodeEncodeError) as error:
            text = str(error) if isinstance(error, wire.Unsendable) else "is not valid Unicode"
            out.append(FieldProblem(".".join(at), text))
            continue
        out.extend(_judge(details, parameter, value, at))
    out.extend(_query_conflicts(declared, given))
    out.extend(
        FieldProblem(f"query.{name}", "is required") for name, p in declared.items() if p.required and name not in given
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


def check_headers(
    details: OperationDetails,
    given: Mapping[str, Json],
    out: list[FieldProblem],
    safe: frozenset[str] = SAFE_HEADERS,
) -> list[tuple[str, str]]:
    """The header parameters to send; what is wrong is added to `out`. Only declared ones that are `safe`."""
    declared = {name.lower(): p for name, p in details.located("header").items() if settable(name, safe)}
    headers: list[tuple[str, str]] = []
    for name in given:
        at = ("headers", name[:100])
        parameter = declared.get(name.lower())
        if parameter is None:
            out.append(FieldProblem(".".join(at), "can't be set on this operation" + near(name, declared)))
            if len(out) >= MAX_PROBLEMS:
                break
            continue
        value = wire.typed(parameter.schema, given[name], details.defs)
        try:
            text = wire.as_json(value) if parameter.json else wire.scalar(value)
        except wire.Unsendable as error:
            out.append(FieldProblem(".".join(at), str(error)))
            continue
        if len(text) > MAX_HEADER_VALUE or not _HEADER_TEXT.fullmatch(text) or text != text.strip():
            out.append(FieldProblem(".".join(at), "must be printable ASCII, at most 1,024 characters"))
            continue
        out.extend(_judge(details, parameter, value, at))
        headers.append((parameter.name, text))
    return headers


def settable(name: str, safe: frozenset[str] = SAFE_HEADERS) -> bool:
    """Whether a caller may set a header at all, declared or not."""
    return name.lower() in safe and _NEVER.fullmatch(name.lower()) is None


def check_body(details: OperationDetails, media_type: str | None, value: Json | Absent) -> list[FieldProblem]:
    """How a body differs from the description, at most 10 problems, in bounded time. Never raises for a
    mismatch.

    `media_type` is the declared one under which the body is sent, None where the operation declares none.
    """
    body = details.bodies.get(media_type or "")
    if value is ABSENT:
        return [FieldProblem("body", "is required")] if details.body_required else []
    if body is None:
        what = "no request body" if not details.bodies else f"none but {', '.join(details.bodies)}"
        return [FieldProblem("body", f"the description declares {what}")]
    if not is_structured(media_type or ""):
        return []
    try:
        files = not is_json(media_type or "")
        return check(body.schema, value, details.defs, path=("body",), files=files, limit=MAX_PROBLEMS)
    except TooCostly:
        return [FieldProblem("body", "is too large or too deep to be checked against the description")]


def is_json(media_type: str) -> bool:
    """Whether a media type is JSON (RFC 6839 § 3.1). NDJSON is not."""
    return media_type == "application/json" or media_type.endswith("+json")


def is_structured(media_type: str) -> bool:
    """Whether a body in this media type is given as JSON fields."""
    return is_json(media_type) or media_type in ("multipart/form-data", "application/x-www-form-urlencoded")


def _judge(details: OperationDetails, parameter: Parameter, value: Json, at: tuple[str, ...]) -> list[FieldProblem]:
    try:
        return check(parameter.schema, value, details.defs, path=at, limit=4)
    except TooCostly:
        return [FieldProblem(".".join(at), "can't be checked against the description")]


def _unknown(where: str, given: Mapping[str, Json], declared: Mapping[str, Parameter], out: list[FieldProblem]) -> None:
    for name in given:
        if name not in declared:
            path = f"{where}.{name[:100]}"
            out.append(FieldProblem(path, f"is not a parameter of this operation{near(name, declared)}"))
            if len(out) >= MAX_PROBLEMS:
                return


def _oversized(value: Json, limit: int) -> bool:
    if isinstance(value, list):
        return len(value) > limit or sum(len(item) for item in value if isinstance(item, str)) > limit
    return isinstance(value, str) and len(value) > limit


def _query_conflicts(declared: Mapping[str, Parameter], given: Mapping[str, Json]) -> Iterator[FieldProblem]:
    """An exploded object puts its own keys into the query: none may pass for another parameter."""
    spread = [
        (name, key)
        for name, p in declared.items()
        if p.style == "form" and p.explode and not p.json and isinstance(given.get(name), dict)
        for key in given[name]
    ]
    seen: set[str] = set()
    for name, key in spread:
        if key in declared or key in seen or not key:
            yield FieldProblem(f"query.{name}.{key[:100]}", "has the name of another parameter")
        seen.add(key)

"""`NAME_call`: one operation of the pinned description, checked and made into the request it means. Pure."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, Final
from urllib.parse import unquote

from connectors.base import ConnectionView, Json, Prepared
from connectors.cloudflare import graphql
from connectors.cloudflare.config import Base, split_base
from connectors.cloudflare.guarded import handles_secrets, secret_fields
from connectors.cloudflare.operations import GRAPHQL, REST, operation_of
from connectors.cloudflare.resources import request_resources
from connectors.cloudflare.summary import summarise
from connectors.egress import check_target
from connectors.errors import FieldProblem, InvalidInput, SpecError
from connectors.openapi.content import json_bytes
from connectors.openapi.index import SpecIndex
from connectors.openapi.model import ABSENT, Absent, OperationDetails, OperationRow
from connectors.openapi.request import Built, build
from connectors.openapi.template import parse
from connectors.openapi.validate import is_structured

FIELDS: Final = ("operation", "path_params", "query", "body", "account_id", "content_type", "headers")
MAX_WARNING: Final = 300
MAX_UNKNOWN: Final = 10

_DOMAIN = re.compile(r"(?=.{4,253}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")


@lru_cache(maxsize=1024)
def base_of(url: str) -> Base:
    return split_base(url)


def index_of(connection: ConnectionView) -> SpecIndex:
    """The description pinned for the connection.

    Raises:
        SpecError: none is pinned yet.
    """
    spec = connection.spec
    if not isinstance(spec, SpecIndex):
        raise SpecError("the connection has no description yet; refresh it")
    return spec


def prepare_call(connection: ConnectionView, given: Mapping[str, Json]) -> Prepared:
    """The request that a `NAME_call` input means.

    Raises:
        InvalidInput, UnknownOperation, PayloadTooLarge, EgressRefused
    """
    _check_fields(given)
    ref = given["operation"].strip()
    body: Json | Absent = given.get("body", ABSENT)
    if ref in graphql.REFS:
        return _graphql(connection, given, body)
    row = index_of(connection).find(ref)
    path_params = dict(_object(given, "path_params"))
    warnings = _fill_account(row, path_params, given.get("account_id"))
    return prepare_row(
        connection,
        row,
        path_params=path_params,
        query=_object(given, "query"),
        body=body,
        content_type=given.get("content_type"),
        headers=_object(given, "headers"),
        warnings=warnings,
    )


def prepare_row(
    connection: ConnectionView,
    row: OperationRow,
    *,
    path_params: Mapping[str, Json],
    query: Mapping[str, Json],
    body: Json | Absent,
    content_type: str | None = None,
    headers: Mapping[str, Json] | None = None,
    warnings: tuple[str, ...] = (),
) -> Prepared:
    """The request of one operation of the description."""
    details = index_of(connection).details(row)
    _refuse_names(row, path_params)
    if body is None and not details.bodies:
        body = ABSENT  # models write null for "none"
    built = build(details, path_params=path_params, query=query, body=body, content_type=content_type, headers=headers)
    if built.problems and connection.config.get("body_check") == "strict":
        raise InvalidInput(list(built.problems), hint="this connection checks bodies strictly (body_check)")
    base = base_of(connection.config["base_url"])
    path = base.prefix + built.path
    check_target(path, built.query)
    _refuse_other_operation(index_of(connection), row, built.path)
    operation = operation_of(row)
    plain = None if isinstance(body, Absent) else body
    return Prepared(
        operation=operation,
        method=row.method,
        origin=base.origin,
        path=path,
        query=built.query,
        headers=built.headers,
        body=built.body,
        resources=request_resources(row.path, built.path, query, plain, unread=_unread(details, built, plain)),
        meters=(REST,),
        warnings=warnings + _as_warnings(built),
        summary=summarise(row.ref, path_params, query, plain, len(built.body or b"")),
        redact=secret_fields(row.method, row.path),
        idempotent=row.method in ("GET", "HEAD"),
        binary_answer=_answers_raw(details),
    )


def _graphql(connection: ConnectionView, given: Mapping[str, Json], body: Json | Absent) -> Prepared:
    for name in ("path_params", "query", "headers", "content_type"):
        if given.get(name):
            raise InvalidInput([FieldProblem(name, "a GraphQL request has only a body")])
    plain = None if isinstance(body, Absent) else body
    operation, resources = graphql.read_document(plain)
    base = base_of(connection.config["base_url"])
    data = json_bytes(plain, "body")
    return Prepared(
        operation=operation,
        method="POST",
        origin=base.origin,
        path=base.prefix + graphql.PATH,
        headers=(("Content-Type", "application/json"),),
        body=data,
        resources=resources,
        meters=(REST, GRAPHQL),
        summary={"operation": operation.ref, "body_bytes": len(data)},
    )


def _check_fields(given: Mapping[str, Json]) -> None:
    # Cut before the likenesses are sought: they are costly, and a caller may send a million names.
    problems = [_unknown(str(name)) for name in islice((n for n in given if n not in FIELDS), MAX_UNKNOWN)]
    operation = given.get("operation")
    if not isinstance(operation, str) or not operation.strip():
        problems.append(FieldProblem("operation", 'is required: an operation id, or "GET /zones/{zone_id}"'))
    problems.extend(
        FieldProblem(name, "must be text")
        for name in ("account_id", "content_type")
        if not isinstance(given.get(name), (str, type(None)))
    )
    if problems:
        raise InvalidInput(problems[:10])


def _unknown(name: str) -> FieldProblem:
    near = get_close_matches(name[:60], FIELDS, n=1, cutoff=0.4)
    known = f"did you mean {near[0]}?" if near else f"known fields: {', '.join(FIELDS)}"
    return FieldProblem(name[:100], f"unknown field; {known}", unknown=True)


def _object(given: Mapping[str, Any], name: str) -> Mapping[str, Json]:
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput([FieldProblem(name, "must be an object of names and values")])
    return value


def _fill_account(row: OperationRow, path_params: dict[str, Json], account: str | None) -> tuple[str, ...]:
    """Puts `account_id` where the path wants it; says so where it wants none."""
    if account is None:
        return ()
    wanted = [name for place, name in _placed(row.path) if place == "accounts"]
    if not wanted:
        return (f"account_id was not used: {row.ref} takes none",)
    for name in wanted:
        if path_params.setdefault(name, account) != account:
            raise InvalidInput([FieldProblem("account_id", f"differs from path_params.{name}; give one of them")])
    return ()


def _refuse_names(row: OperationRow, path_params: Mapping[str, Json]) -> None:
    """A domain where a zone's id belongs is the commonest slip of all, and looks like a 404 upstream."""
    for place, name in _placed(row.path):
        value = path_params.get(name)
        if place == "zones" and isinstance(value, str) and _DOMAIN.fullmatch(value):
            raise InvalidInput(
                [FieldProblem(f"path_params.{name}", "must be the zone's id (32 hex digits), not its name")],
                hint=f'find it with operation "GET /zones" and query {{"name": "{value}"}}',
            )


def _refuse_other_operation(index: SpecIndex, row: OperationRow, path: str) -> None:
    """Refuses values that make the path another operation's, as the upstream reads it: what is judged is what is done.

    `GET …/stream/{identifier}` with "webhook" *is* `GET …/stream/webhook`, which returns a secret. So may a value with
    an encoded slash be, where the upstream decodes before it routes; a slash in an object's key stays allowed.
    """
    read = path
    for _ in range(4):
        found = index.match(row.method, read)
        other = None
        if found is not None and not _same_shape(found[0], row):
            other = found[0].ref
        elif found is None and read != path and handles_secrets(row.method, read):
            other = f"{row.method} {read[:200]}"
        if other is not None:
            told = f"would make this another operation, {other}"
            raise InvalidInput([FieldProblem("path_params", told)], hint="call that operation by its own name")
        if unquote(read) == read:
            return
        read = unquote(read)


def _same_shape(one: OperationRow, other: OperationRow) -> bool:
    """Whether two operations' templates take the same paths: they differ in their parameters' names at most."""
    return one.number == other.number or parse(one.path).shape == parse(other.path).shape


def _placed(template: str) -> list[tuple[str, str]]:
    """Each parameter that fills a whole segment, with the literal segment before it."""
    parts = template.split("/")
    return [
        (before, part[1:-1])
        for before, part in pairwise(parts)
        if part.startswith("{") and part.endswith("}") and not before.startswith("{")
    ]


def _unread(details: OperationDetails, built: Built, body: Json) -> bool:
    """Whether the body is text or bytes although the operation reads fields, whatever its media type says."""
    if not (isinstance(body, str) or (isinstance(body, dict) and body.keys() == {"$binary"})):
        return False
    sent = built.media_type or ""
    stored = (sent, f"{sent.split('/')[0]}/*", "*/*")
    return not any(media in stored for media in details.bodies if not is_structured(media))


def _as_warnings(built: Built) -> tuple[str, ...]:
    return tuple(f"{p.path}: {p.problem}"[:MAX_WARNING] for p in built.problems)


def _answers_raw(details: OperationDetails) -> bool:
    """Whether success is answered with a stored thing itself rather than with Cloudflare's envelope."""
    types = [t for status, found in details.responses.items() if status.startswith("2") for t in found]
    return bool(types) and not any("json" in t for t in types)

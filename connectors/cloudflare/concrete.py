"""A program's request: method and concrete path, as Cloudflare's documentation writes them, made into the request of
one operation of the pinned description. Pure.

Nothing here opens a way around `call`: the path is matched to a template, and the operation's own checks build the
bytes that are sent. So a program reaches what the description names below the connection's base URL, and nothing else.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from itertools import islice, pairwise
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

from connectors.base import ConnectionView, Json, Prepared, Resources
from connectors.cloudflare import graphql
from connectors.cloudflare.call import index_of, prepare_call, prepare_row
from connectors.cloudflare.resources import EVERY
from connectors.egress import check_target
from connectors.errors import EgressRefused, FieldProblem, InvalidInput, PayloadTooLarge, UnknownOperation
from connectors.openapi.bounds import MAX_REQUEST_BODY
from connectors.openapi.content import check_media_type, decode_base64, text_bytes
from connectors.openapi.model import ABSENT, Absent, OperationDetails, OperationRow
from connectors.openapi.template import encode
from connectors.openapi.validate import is_json
from connectors.openapi.weight import too_heavy
from connectors.openapi.wire import Unsendable, scalar, types_of

FIELDS: Final = ("method", "path", "query", "headers", "contentType", "body", "bodyText", "bodyBase64")
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
PREFIX: Final = "/client/v4"
PAGING: Final = ("page", "per_page", "cursor", "limit")
"""Query parameters that any list may be asked with: they choose a part of the answer, never another thing."""
MAX_PATH: Final = 8_192
MAX_QUERY_NAMES: Final = 200
MAX_NAMES: Final = 1_000
"""So many names of parts are looked at."""

_MULTIPART: Final = "multipart/form-data"
_FORM: Final = "application/x-www-form-urlencoded"
_DOMAIN = re.compile(r"(?=.{4,253}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_UNFILLED = re.compile(r"undefined|null|NaN|\[object Object\]|\$?\{.*\}|:[a-z_]+|<.*>")
_DISPOSITION = re.compile(rb"content-disposition\s*+:(.*?)(?:\r?\n\r?\n|\Z)", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(rb'(?<![a-z0-9_-])name\s*+(\*?)[0-9]*+(\*?)\s*+=\s*+"?((?:[^"\\;\r\n]|\\.)*+)', re.IGNORECASE)
_NAMING = re.compile(r"\s*(?:zone|account)(?:s|_?ids?|_?tags?|\.id|_identifier)?\s*(?:\[.*\])?\s*", re.IGNORECASE)


def prepare_request(connection: ConnectionView, given: Mapping[str, Json]) -> Prepared:
    """The request that `given` means (`connectors.base.Programmable`).

    Raises:
        InvalidInput, UnknownOperation, PayloadTooLarge, EgressRefused
    """
    unknown = [name for name in given if name not in FIELDS]
    if unknown:
        raise _wrong(str(unknown[0])[:60], f"is not known; a request has {', '.join(FIELDS)}")
    method = _method(given.get("method"))
    path, in_path = _path(given.get("path"))
    query = _query(in_path, given.get("query"))
    if path == graphql.PATH:
        return _graphql(connection, method, given, query)
    check_target(path)
    found = index_of(connection).match(method, path)
    if found is None and path.endswith("/") and path != "/":
        found = index_of(connection).match(method, path.rstrip("/"))
    if found is None:
        raise UnknownOperation(f"{method} {path}")
    row, values = found
    _check_values(row, values)
    return _prepared(connection, row, values, query, given)


def _prepared(
    connection: ConnectionView,
    row: OperationRow,
    values: Mapping[str, str],
    query: dict[str, Json],
    given: Mapping[str, Json],
) -> Prepared:
    details = index_of(connection).details(row)
    query, paging = _by_description(details, query)
    headers = _headers(given.get("headers"))
    content_type = _content_type(given)
    body, raw = _body(given, content_type)
    if raw is not None and connection.config.get("body_check") == "strict":
        told = "is checked strictly on this connection: give an object of parts, not a multipart text"
        raise _wrong("body", told)
    try:
        prepared = prepare_row(
            connection if raw is None else _Lenient(connection.name, connection.config, connection.spec),
            row,
            path_params=values,
            query=query,
            body=body,
            content_type=None if isinstance(body, Absent) else content_type,
            headers=headers,
        )
    except InvalidInput as error:
        raise InvalidInput([FieldProblem(_named(f.path), f.problem) for f in error.fields], error.hint) from None
    if paging:
        joined = "&".join(part for part in (prepared.query, paging) if part)
        check_target(prepared.path, joined)
        prepared = dataclasses.replace(prepared, query=joined)
    return prepared if raw is None else _with_raw(prepared, raw, content_type or "", details)


@dataclasses.dataclass(frozen=True, slots=True)
class _Lenient:
    """A connection whose bodies are not compared with the description: a multipart text is sent as it is."""

    name: str
    given: Mapping[str, Json]
    spec: Any

    @property
    def config(self) -> Mapping[str, Json]:
        return {**self.given, "body_check": "advise"}


def _with_raw(prepared: Prepared, raw: bytes, content_type: str, details: OperationDetails) -> Prepared:
    if len(raw) > MAX_REQUEST_BODY:
        raise PayloadTooLarge(MAX_REQUEST_BODY)
    if _MULTIPART not in details.bodies:
        offered = ", ".join(details.bodies) or "no body"
        raise _wrong("contentType", f"{details.row.ref} takes {offered}, not {_MULTIPART}")
    resources = prepared.resources
    heads = (found[1] for found in _DISPOSITION.finditer(raw))
    names = [found.groups() for found in islice((n for head in heads for n in _NAME.finditer(head)), MAX_NAMES + 1)]
    if len(names) > MAX_NAMES or any(_names_resource(*name) for name in names):
        # A part that is called like an account or zone may name any: only a grant without lists covers that.
        resources = Resources((*resources.accounts, EVERY), (*resources.zones, EVERY))
    return dataclasses.replace(
        prepared,
        body=raw,
        headers=(*prepared.headers, ("Content-Type", content_type)),
        resources=resources,
        warnings=tuple(w for w in prepared.warnings if not w.startswith("body")),
        summary={**prepared.summary, "body_bytes": len(raw)},
    )


def _names_resource(extended: bytes, numbered: bytes, name: bytes) -> bool:
    """Whether a multipart part's name, however it is spelled, may be read as an account's or a zone's."""
    if extended or numbered:
        return True  # RFC 2231: in a character set of its own, or in pieces
    plain = unquote(name.replace(b"\\", b"").decode("utf-8", "replace"))
    return _NAMING.fullmatch(plain) is not None


def _graphql(connection: ConnectionView, method: str, given: Mapping[str, Json], query: Mapping[str, Json]) -> Prepared:
    if method != "POST":
        raise _wrong("method", "a GraphQL request is a POST")
    if query or given.get("headers"):
        raise _wrong("query", "a GraphQL request has only a body: {query, variables}")
    body, raw = _body(given, _content_type(given) or "application/json")
    if raw is not None or isinstance(body, Absent):
        raise _wrong("body", "is required: {query, variables}")
    return prepare_call(connection, {"operation": "graphql", "body": body})


def _method(value: Json) -> str:
    if not isinstance(value, str) or value.upper() not in METHODS:
        raise _wrong("method", f"must be one of {', '.join(METHODS)}")
    return value.upper()


def _path(value: Json) -> tuple[str, str]:
    """The path below `/client/v4`, percent-encoded, and the query written behind it."""
    if not isinstance(value, str) or not value:
        raise _wrong("path", 'is required, such as "/zones"')
    if len(value) > MAX_PATH + 32_768:
        raise _wrong("path", "is too long")
    if "://" in value.split("?", 1)[0] or value.startswith("//"):
        raise EgressRefused("path", "A path names no host: write it from the first slash on, such as /zones.")
    path, _, query = value.partition("?")
    if not path.startswith("/"):
        path = f"/{path}"
    if path == PREFIX or path.startswith(f"{PREFIX}/"):
        path = path[len(PREFIX) :] or "/"
    try:
        # What a browser would encode is encoded; what is written encoded already stays as it is.
        return quote(path, safe="/%:@!$&'()*+,;=~-._"), query
    except UnicodeEncodeError:
        raise _wrong("path", "is not valid Unicode") from None


def _query(in_path: str, value: Json) -> dict[str, Json]:
    query: dict[str, Json] = {}
    try:
        pairs = parse_qsl(in_path, keep_blank_values=True, max_num_fields=MAX_QUERY_NAMES)
    except ValueError:
        raise _wrong("path", "has too many query parameters") from None
    for name, text in pairs:
        held = query.get(name)
        query[name] = text if held is None else [*held, text] if isinstance(held, list) else [held, text]
    if value is None:
        return query
    if not isinstance(value, dict) or len(value) > MAX_QUERY_NAMES:
        raise _wrong("query", f"must be an object of at most {MAX_QUERY_NAMES} names and values")
    return query | {name: item for name, item in value.items() if item is not None}


def _by_description(details: OperationDetails, query: dict[str, Json]) -> tuple[dict[str, Json], str]:
    """Single values of list parameters as lists, and what only chooses a page apart, encoded."""
    declared = details.located("query")
    kept: dict[str, Json] = {}
    paging: list[str] = []
    for name, value in query.items():
        parameter = declared.get(name)
        if parameter is None and name in PAGING and details.row.method == "GET":
            try:
                paging.append(f"{name}={encode(scalar(value))}")
            except (Unsendable, UnicodeEncodeError):
                raise _wrong(f"query.{name}", "must be a single value") from None
        elif parameter is not None and isinstance(value, str | int | float):
            types = types_of(parameter.schema, details.defs)
            kept[name] = [value] if "array" in types and not types & {"string", "integer", "number"} else value
        else:
            kept[name] = value
    return kept, "&".join(paging)


def _headers(value: Json) -> Mapping[str, Json]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > 50:
        raise _wrong("headers", "must be an object of names and values")
    # A program written for fetch says what it would accept; the answer is JSON or what is stored, whatever it says.
    return {name: item for name, item in value.items() if name.lower() not in ("accept", "content-type")}


def _content_type(given: Mapping[str, Json]) -> str | None:
    value = given.get("contentType")
    return None if value is None else check_media_type(value, "contentType")


def _body(given: Mapping[str, Json], content_type: str | None) -> tuple[Json | Absent, bytes | None]:
    """The body as `prepare_row` takes it, or the bytes of a multipart text that goes out as it is."""
    if sum(name in given for name in ("body", "bodyText", "bodyBase64")) > 1:
        raise _wrong("body", "is given twice")
    bare = (content_type or "").split(";")[0].strip().lower()
    if "body" in given:
        return given["body"], None
    if "bodyText" in given:
        text = given["bodyText"]
        data = text_bytes(text, "body")
        if bare == _MULTIPART:
            return ABSENT, data
        if bare == _FORM:
            return _query(text, None), None
        return (_read_json(data), None) if is_json(bare) or not bare else (text, None)
    if "bodyBase64" in given:
        if bare == _MULTIPART:
            return ABSENT, decode_base64(given["bodyBase64"], "body")
        return {"$binary": {"base64": given["bodyBase64"], "media_type": bare or "application/octet-stream"}}, None
    return ABSENT, None


def _read_json(data: bytes) -> Json:
    """JSON in which no member is named twice: what is judged must be what the upstream reads."""

    def once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise _wrong("body", "names a member twice")
        return made

    if too_heavy(data):
        raise _wrong("body", "has too many objects, arrays and members to be read: send less at a time")
    try:
        return json.loads(data, object_pairs_hook=once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _wrong("body", "is not JSON, though its contentType says so") from None


def _no_constant(name: str) -> Json:
    raise ValueError(name)


def _check_values(row: OperationRow, values: Mapping[str, str]) -> None:
    """The commonest slips: an id that was never put in, and a domain's name where its zone's id belongs."""
    for name, value in values.items():
        if _UNFILLED.fullmatch(value):
            raise _wrong("path", f"has {value[:40]!r} where {row.path} wants {name}: put the id in")
    parts = row.path.split("/")
    for before, part in pairwise(parts):
        value = values.get(part[1:-1], "") if part.startswith("{") else ""
        if before == "zones" and _DOMAIN.fullmatch(value):
            raise InvalidInput(
                [FieldProblem("path", f"has the zone's name {value!r} where its id (32 hex digits) belongs")],
                hint='find the id: (await cloudflare.request({path: "/zones", query: '
                f'{{name: "{value}"}}}})).result[0].id',
            )


def _named(path: str) -> str:
    """A field as a program knows it."""
    head, _, rest = path.partition(".")
    return f"path ({rest})" if head == "path_params" else "contentType" if head == "content_type" else path


def _wrong(field: str, problem: str) -> InvalidInput:
    return InvalidInput([FieldProblem(field, problem)])

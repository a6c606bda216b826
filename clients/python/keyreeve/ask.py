"""One request, as a value: what to send, what will come back, and whether it may be sent twice. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from msgspec import Struct

from keyreeve.errors import InvalidInput, WrongField
from keyreeve.wire import encode

T = TypeVar("T")


class Ask(Struct, Generic[T], frozen=True):
    """A request. `repeatable`: sending it twice does no more than sending it once, so a lost answer may be asked for
    again. `path` is relative to the server's URL and starts with a slash, query included."""

    method: str
    path: str
    answer: type[T]
    body: bytes | None = None
    repeatable: bool = False
    idempotency_key: str | None = None


def get(path: str, answer: type[T], **query: Any) -> Ask[T]:
    """A reading request; what is None is left out of the query."""
    return Ask("GET", path + _query(query), answer, repeatable=True)


def send(method: str, path: str, answer: type[T], body: Mapping[str, Any] | None = None, **query: Any) -> Ask[T]:
    """A changing request; members that are None are left out of body and query. Raises InvalidInput."""
    raw = None if body is None else encode({k: _plain(v) for k, v in body.items() if v is not None})
    return Ask(method, path + _query(query), answer, raw)


def patch(path: str, answer: type[T], changes: Mapping[str, Any], version: int | None) -> Ask[T]:
    """A change of the members given; here None is a value, which empties one. Raises InvalidInput."""
    versioned = {} if version is None else {"version": version}
    return Ask("PATCH", path, answer, encode({name: _plain(value) for name, value in changes.items()} | versioned))


def segment(name: str, value: str) -> str:
    """`value` as one segment of a path. Raises InvalidInput for what would name another path."""
    if not value or value in (".", "..") or not value.isprintable():
        raise wrong(name, "must be a name, not empty")
    return quote(value, safe="@")


def wrong(name: str, problem: str) -> InvalidInput:
    """The refusal of an argument, before anything is sent."""
    return InvalidInput(
        "invalid_input", 422, f"{name}: {problem}", fix="model", fields=[WrongField(name, problem)], sent=False
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [*value]
    return value


def _time(value: datetime) -> str:
    if value.tzinfo is None:
        raise wrong("time", "must have a time zone")
    return value.isoformat()


def _query(query: Mapping[str, Any]) -> str:
    given = {name: _word(value) for name, value in query.items() if value is not None}
    return f"?{urlencode(given, errors='surrogatepass')}" if given else ""


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _time(value) if isinstance(value, datetime) else str(value)

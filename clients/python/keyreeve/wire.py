"""Between Python and the bytes of the wire. Pure.

Integers of any size pass unharmed both ways. What JSON cannot hold is refused before it is sent, never bent: msgspec
and orjson would write NaN as null.
"""

import json
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from keyreeve.errors import BY_CODE, ApiError, Approval, InvalidInput, Sent, UnexpectedAnswer, WrongField

T = TypeVar("T")

_DIGITS = 4_000
"""Longer integers stay text: Python refuses to read them (CVE-2020-10735)."""
_KNOWN = frozenset(
    "type|title|status|code|detail|hint|fix|fields|execution_id|sent|retry_after|connect_url|approval".split("|")  # noqa: SIM905 - a list of fourteen texts reads worse
)


def encode(body: Mapping[str, Any]) -> bytes:
    """`body` as JSON. Raises InvalidInput, naming the field, for what JSON cannot hold."""
    try:
        return _encoded(body)
    except (TypeError, ValueError, RecursionError):
        pass
    name = next((name for name, value in body.items() if not _is_json(value)), "body")
    why = "holds what JSON cannot: NaN, half a character, an object of Python's, or nesting without end"
    raise InvalidInput("invalid_input", 422, f"{name}: {why}", fix="model", fields=[WrongField(name, why)], sent=False)


def _is_json(value: Any) -> bool:
    try:
        _encoded(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


@lru_cache(maxsize=64)
def _decoder(kind: Hashable) -> Any:
    made: Any = msgspec.json.Decoder
    return made(kind)


def decode(raw: bytes, kind: type[T]) -> T:
    """`raw` as a `kind`; members that are not known are passed over. Raises UnexpectedAnswer.

    What msgspec will not read although it is JSON (numbers out of range, halves of surrogate pairs) is read the slow
    way; such a number stays the text it was.
    """
    try:
        return cast(T, _decoder(cast(Hashable, kind)).decode(raw))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    problem = ""
    try:
        return msgspec.convert(json.loads(raw, parse_float=_float, parse_int=_int, parse_constant=_constant), kind)
    except msgspec.ValidationError as error:
        problem = str(error)[:200]  # names a place and a type, never a value
    except (ValueError, RecursionError):
        problem = "it is not JSON"
    raise UnexpectedAnswer(f"the server's answer cannot be read: {problem}")


def _float(text: str) -> "float | str":
    value = float(text)
    return text if value in (float("inf"), float("-inf")) else value


def _int(text: str) -> "int | str":
    return text if len(text) > _DIGITS else int(text)


def _constant(name: str) -> Any:
    raise ValueError(name)


def refusal(status: int, raw: bytes, retry_after: str | None = None) -> ApiError:
    """The error that an answer of status 300 or more amounts to. An answer that is no problem of Keyreeve's (a proxy's
    page) becomes an ApiError with code `http_STATUS`."""
    try:
        found = json.loads(raw, parse_int=_int)
    except (ValueError, RecursionError):
        found = None
    problem = _members(found)
    code: Any = problem.get("code")
    if not isinstance(code, str):
        return _foreign(status, retry_after)
    wait = problem.get("retry_after")
    return BY_CODE.get(code, ApiError)(
        code,
        status,
        _text(problem.get("detail")) or _text(problem.get("title")) or code,
        hint=_text(problem.get("hint")),
        fix=_text(problem.get("fix")) or "operator",
        fields=_fields(problem.get("fields")),
        execution_id=_text(problem.get("execution_id")),
        sent=_sent(problem.get("sent")),
        retry_after=seconds(wait if isinstance(wait, int | float) else retry_after),
        connect_url=_text(problem.get("connect_url")),
        approval=_approval(problem.get("approval")),
        extra={name: value for name, value in problem.items() if name not in _KNOWN},
    )


def _foreign(status: int, retry_after: str | None) -> ApiError:
    hint = "is the URL the server's own? redirects are not followed" if status < 400 else None
    detail = "something in front of Keyreeve answered, or this is no Keyreeve server"
    fix = "wait" if status in (429, 502, 503, 504) else "operator"
    wait = seconds(retry_after)
    return ApiError(f"http_{status}", status, detail, hint=hint, fix=fix, sent="unknown", retry_after=wait)


def seconds(value: "str | float | None") -> float | None:
    """A `Retry-After` in seconds (RFC 9110 § 10.2.3); None for dates and nonsense."""
    try:
        found = None if value is None or isinstance(value, bool) else float(value)
    except ValueError:
        return None
    return found if found is not None and 0 <= found < 1e9 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _sent(value: Any) -> Sent:
    if value is True or value is False:
        return value
    return None if value is None else "unknown"


def _fields(value: Any) -> list[WrongField]:
    found: list[Any] = [*value] if isinstance(value, list) else []
    members = [_members(item) for item in found]
    return [WrongField(str(item.get("path", "")), str(item.get("problem", ""))) for item in members if item]


def _members(value: Any) -> dict[str, Any]:
    return {**value} if isinstance(value, dict) else {}


def _approval(value: Any) -> Approval | None:
    found = _members(value)
    if not found:
        return None
    return Approval(str(found.get("id", "")), str(found.get("url", "")), _text(found.get("expires_at")))

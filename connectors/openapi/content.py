"""Small conversions of body content, each naming the field at fault."""

import base64
import binascii
import json
import math
import re
from typing import Any

import orjson

from connectors.errors import FieldProblem, InvalidInput

Json = Any
_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}"
    r"(?: ?; ?[A-Za-z0-9!#$&^_.+-]{1,50}=(?:[A-Za-z0-9!#$&^_.+-]{1,100}|\"[A-Za-z0-9!#$&^_.+ /:=-]{0,99}\"))*"
)


def json_bytes(value: Json, at: str) -> bytes:
    """Compact JSON in UTF-8, field order kept, integers of any size exact. Raises InvalidInput."""
    try:
        encoded = orjson.dumps(value)
        if b"null" in encoded and not _all_finite(value):  # it writes NaN and infinities as null
            raise InvalidInput([FieldProblem(at, "holds a number that JSON can't write")])
        return encoded
    except TypeError as error:
        if "64-bit" not in str(error):
            raise InvalidInput([FieldProblem(at, "can't be written as JSON (depth or invalid Unicode)")]) from None
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError, TypeError):  # UnicodeEncodeError is a ValueError
        raise InvalidInput([FieldProblem(at, "can't be written as JSON")]) from None


def _all_finite(value: Json) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float) and not math.isfinite(item):
            return False
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return True


def text_bytes(value: Json, at: str) -> bytes:
    """A string in UTF-8. Raises InvalidInput."""
    if not isinstance(value, str):
        raise InvalidInput([FieldProblem(at, "must be a string")])
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidInput([FieldProblem(at, "is not valid Unicode")]) from None


def decode_base64(value: Json, at: str) -> bytes:
    """Standard, padded base64 (RFC 4648 § 4), decoded strictly. Raises InvalidInput."""
    if not isinstance(value, str):
        raise InvalidInput([FieldProblem(at, "must be a string of base64")])
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput([FieldProblem(at, "is not valid base64")]) from None


def check_media_type(value: Json, at: str) -> str:
    """The media type itself. Raises InvalidInput for one that could not stand in a header."""
    if not isinstance(value, str) or len(value) > 300 or not _MEDIA_TYPE.fullmatch(value):
        raise InvalidInput([FieldProblem(at, "must be a media type such as text/plain")])
    return value

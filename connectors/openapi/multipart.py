"""`multipart/form-data` (RFC 7578) from plain JSON: an object of part name → value.

A string is a text part. `{"$file": {"text" | "base64", "filename"?, "content_type"?}}` is a file; a list of
files is one part each, under the same name. Any other value is a part of JSON. The boundary is drawn from the
content's digest, so the same body is the same bytes, and nobody can put the boundary into the content he
sends.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from connectors.errors import FieldProblem, InvalidInput
from connectors.openapi.content import Json, check_media_type, decode_base64, json_bytes, text_bytes

_FILE_KEYS = frozenset({"text", "base64", "filename", "content_type"})
_ESCAPED = {'"': "%22", "\r": "%0D", "\n": "%0A"}  # WHATWG HTML, multipart/form-data encoding
_ESCAPE = re.compile('["\r\n]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_PARTS = 1_000


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    filename: str | None
    content_type: str | None
    content: bytes


def encode_multipart(body: Json, part_types: Mapping[str, str]) -> tuple[bytes, str]:
    """The body and its Content-Type.

    `part_types` are the description's types for named parts. Raises InvalidInput.
    """
    if not isinstance(body, dict):
        raise InvalidInput([FieldProblem("body", "must be an object of part names and values")])
    parts: list[_Part] = []
    for name, value in body.items():
        parts.extend(_parts(name, value, part_types.get(name)))
    if len(parts) > _MAX_PARTS:
        raise InvalidInput([FieldProblem("body", f"has more than {_MAX_PARTS:,} parts")])
    boundary = _boundary(parts)
    opening, closing = b"--" + boundary + b"\r\n", b"--" + boundary + b"--\r\n"
    encoded = b"".join(opening + _head(part) + b"\r\n\r\n" + part.content + b"\r\n" for part in parts)
    return encoded + closing, f"multipart/form-data; boundary={boundary.decode()}"


def _parts(name: str, value: Json, declared: str | None) -> list[_Part]:
    at = f"body.{name[:100]}"
    if not name or len(name) > 500 or _CONTROL.search(name):
        raise InvalidInput([FieldProblem(at, "is not usable as a part's name")])
    if isinstance(value, list) and value and all(_is_file(item) for item in value):
        return [_file(name, item, declared, at) for item in value]
    if _is_file(value):
        return [_file(name, value, declared, at)]
    if isinstance(value, str):
        return [_Part(name, None, declared, text_bytes(value, at))]
    return [_Part(name, None, declared or "application/json", json_bytes(value, at))]


def _is_file(value: Json) -> bool:
    return isinstance(value, dict) and "$file" in value


def _file(name: str, value: dict[str, Json], declared: str | None, at: str) -> _Part:
    given = value["$file"] if len(value) == 1 else None
    if not isinstance(given, dict) or not given.keys() <= _FILE_KEYS or ("text" in given) == ("base64" in given):
        usage = "takes either text or base64, and may have filename and content_type"
        raise InvalidInput([FieldProblem(f"{at}.$file", usage)])
    filename = given.get("filename", name)
    if not isinstance(filename, str) or len(filename) > 500 or _CONTROL.search(filename):
        raise InvalidInput([FieldProblem(f"{at}.$file.filename", "must be a string without control characters")])
    if "text" in given:
        content = text_bytes(given["text"], f"{at}.$file.text")
    else:
        content = decode_base64(given["base64"], f"{at}.$file.base64")
    media_type = given.get("content_type", declared or "application/octet-stream")
    return _Part(name, filename, check_media_type(media_type, f"{at}.$file.content_type"), content)


def _head(part: _Part) -> bytes:
    text = f'Content-Disposition: form-data; name="{_quoted(part.name)}"'
    if part.filename is not None:
        text += f'; filename="{_quoted(part.filename)}"'
    if part.content_type is not None:
        text += f"\r\nContent-Type: {part.content_type}"
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidInput([FieldProblem("body", "has a part whose name is not valid Unicode")]) from None


def _quoted(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPED[found[0]], text)


def _boundary(parts: list[_Part]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.content).digest())
        digest.update(hashlib.sha256(_head(part)).digest())
    while True:
        boundary = b"----keyreeve" + digest.hexdigest()[:40].encode()
        if not any(boundary in part.content or boundary in _head(part) for part in parts):
            return boundary
        digest.update(b"again")

"""Takes secrets out of answers: the credential's own, anything shaped like a Cloudflare token, and named
fields.

Untouched bytes stay untouched. Numbers are copied digit for digit even where fields are replaced.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from connectors.base import Json

MARK: Final = "[redacted by Keyreeve]"
_MARK: Final = MARK.encode()

# cfk_ Global API Key, cfut_ user token, cfat_ account token, cfoat_ OAuth access token.
TOKEN: Final = re.compile(rb"cf(?:k|ut|at|oat)_[A-Za-z0-9_-]{20,}")
_ESCAPE: Final = re.compile(rb"\\(?:u00([2-7][0-9A-Fa-f])|.)", re.DOTALL)
_TOKEN_BYTES: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+=/")


def scrub(raw: bytes, needles: Sequence[bytes], *, json_text: bool) -> bytes:
    r"""`raw` with every token and needle replaced; the same object where there is none.

    In JSON, a secret spelled with `\u00XX` or `\/` escapes is found too.
    """
    found = TOKEN.search(raw) is not None or any(needle in raw for needle in needles)
    if not found and json_text and b"\\" in raw and (b"\\u00" in raw or b"\\/" in raw):
        plain = _ESCAPE.sub(_unescape, raw)
        if TOKEN.search(plain) is not None or any(needle in plain for needle in needles):
            raw, found = plain, True
    elif found and json_text and b"\\" in raw:
        raw = _ESCAPE.sub(_unescape, raw)
    if not found:
        return raw
    for needle in needles:
        raw = raw.replace(needle, _MARK)
    return TOKEN.sub(_MARK, raw)


def hide_fields(raw: bytes, value: Json, fields: Sequence[str]) -> bytes | None:
    """`raw` (whose decoded form is `value`) with the named fields replaced; None where it holds none of
    them.
    """
    paths = [tuple(field.split(".")) for field in fields]
    if not any(_reaches(value, path) for path in paths) and not _repeats(raw):
        return None
    exact: Json = json.loads(raw, parse_int=_verbatim, parse_float=_verbatim)
    for path in paths:
        exact = _hide(exact, path)
    try:
        return orjson.dumps(exact)
    except (
        orjson.JSONEncodeError,
        TypeError,
    ):  # a lone surrogate: valid JSON text, which orjson does not write
        plain: Json = json.loads(raw)
        for path in paths:
            plain = _hide(plain, path)
        return json.dumps(plain, separators=(",", ":")).encode()


def _repeats(raw: bytes) -> bool:
    """Whether any object of the text has a key twice: decoding keeps the last, and the text still holds the first."""
    found = False

    def noted(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        nonlocal found
        made = dict(pairs)
        found = found or len(made) < len(pairs)
        return made

    json.loads(raw, object_pairs_hook=noted)
    return found


def _verbatim(number: str) -> Any:
    return orjson.Fragment(number)


def _unescape(match: re.Match[bytes]) -> bytes:
    text = match[0]
    if match[1] is not None:
        character = int(match[1], 16)
        return bytes((character,)) if character in _TOKEN_BYTES else text
    return b"/" if text == b"\\/" else text


def _reaches(value: Json, path: tuple[str, ...]) -> bool:
    """Whether any text stands at or under the path."""
    if not path:
        return _has_text(value)
    head, rest = path[0], path[1:]
    if isinstance(value, dict):
        inner = value.values() if head == "*" else (value.get(head),)
        return any(_reaches(item, rest) for item in inner)
    return isinstance(value, list) and head == "*" and any(_reaches(item, rest) for item in value)


def _has_text(value: Json) -> bool:
    if isinstance(value, str):
        return bool(value)
    if isinstance(value, Mapping):
        return any(_has_text(item) for item in value.values())
    return isinstance(value, list) and any(_has_text(item) for item in value)


def _hide(value: Json, path: tuple[str, ...]) -> Json:
    if not path:
        return _mark(value)
    head, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {key: _hide(item, rest) if head in ("*", key) else item for key, item in value.items()}
    if isinstance(value, list) and head == "*":
        return [_hide(item, rest) for item in value]
    return value


def _mark(value: Json) -> Json:
    if isinstance(value, str):
        return MARK if value else value
    if isinstance(value, dict):
        return {key: _mark(item) for key, item in value.items()}
    return [_mark(item) for item in value] if isinstance(value, list) else value

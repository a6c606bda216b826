"""multipart/form-data, read strictly and in one pass (RFC 7578)."""

import re
from dataclasses import dataclass

MAX_PARTS = 200
_PARAMETER = re.compile(r';\s*([a-zA-Z*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its field name, file name where there is one, media type and bytes."""

    name: str
    filename: str | None
    media_type: str
    body: bytes


def parse(content_type: str, body: bytes) -> list[Part]:
    """The parts of `body`. Raises ValueError where it isn't what `content_type` says."""
    parameters = {m[1].lower(): m[2] or m[3] for m in _PARAMETER.finditer(content_type)}
    boundary = parameters.get("boundary", "")
    if not content_type.lower().startswith("multipart/form-data") or not 1 <= len(boundary) <= 70:
        raise ValueError("not multipart/form-data with a boundary")
    mark = b"\r\n--" + boundary.encode("latin-1")
    pieces = (b"\r\n" + body).split(mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--") or len(pieces) > MAX_PARTS + 2:
        raise ValueError("the last boundary is missing or there are too many parts")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank:
        raise ValueError("a part has no headers")
    headers: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    disposition = headers.get("content-disposition", "")
    found = {m[1].lower(): m[2] if m[2] is not None else m[3] for m in _PARAMETER.finditer(disposition)}
    if "name" not in found:
        raise ValueError("a part has no name")
    return Part(found["name"], found.get("filename"), headers.get("content-type", "text/plain"), content)

"""The artifact's container: what compiling writes and what `SpecIndex.load` opens.

Layout: 8 bytes of magic and version; the SHA-256 of all that follows; three little-endian 32-bit lengths;
then the sections `meta` (JSON), `rows` (zlib, JSON) and `details` (one zlib blob of JSON per operation,
placed by offset and length from its row). Nothing in it is executable; every length and every inflated size
is checked when it is read.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass

from connectors.errors import SpecError
from connectors.openapi.bounds import MAX_ARTIFACT

_MAGIC = b"KRSPEC\x00\x01"
_LENGTHS = struct.Struct("<III")
_HEAD = len(_MAGIC) + 32 + _LENGTHS.size


@dataclass(frozen=True, slots=True)
class Sections:
    """The three sections; `details` still compressed."""

    meta: bytes
    rows: bytes
    details: bytes


def pack(sections: Sections) -> bytes:
    """The artifact. Raises SpecError when it would be over its bound."""
    rows = zlib.compress(sections.rows, 6)
    body = _LENGTHS.pack(len(sections.meta), len(rows), len(sections.details)) + sections.meta + rows + sections.details
    if len(body) + _HEAD > MAX_ARTIFACT:
        raise SpecError(f"the compiled description is larger than {MAX_ARTIFACT // 1024 // 1024} MiB")
    return _MAGIC + hashlib.sha256(body).digest() + body


def unpack(artifact: bytes, *, max_rows: int) -> Sections:
    """The sections of an artifact. Raises SpecError when it is not one, is damaged or is over a bound."""
    if not artifact.startswith(_MAGIC) or not _HEAD <= len(artifact) <= MAX_ARTIFACT:
        raise SpecError("not a compiled description, or one of another version; compile it again")
    start = len(_MAGIC) + 32
    body = memoryview(artifact)[start:]
    if hashlib.sha256(body).digest() != artifact[len(_MAGIC) : start]:
        raise SpecError("the compiled description is damaged; compile it again")
    meta, rows, details = _LENGTHS.unpack_from(body)
    at = _LENGTHS.size
    if at + meta + rows + details != len(body):
        raise SpecError("the compiled description is damaged; compile it again")
    return Sections(
        bytes(body[at : at + meta]),
        inflate(bytes(body[at + meta : at + meta + rows]), max_rows),
        bytes(body[at + meta + rows :]),
    )


def deflate(data: bytes) -> bytes:
    """One blob of the details section."""
    return zlib.compress(data, 6)


def inflate(data: bytes, limit: int) -> bytes:
    """The inflated blob. Raises SpecError when it is damaged or larger than `limit`."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, limit + 1)
    except zlib.error:
        raise SpecError("the compiled description is damaged; compile it again") from None
    if len(plain) > limit or not inflater.eof:
        raise SpecError("the compiled description is damaged or over its bounds")
    return plain

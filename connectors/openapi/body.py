"""Request bodies: which media type a value is sent as, and its bytes.

How a value is given: JSON types take any JSON value; `multipart/form-data` and
`application/x-www-form-urlencoded` an object of fields; NDJSON a string or a list of values; everything else
a string (sent as UTF-8) or `{"$binary": {"base64", "media_type"?}}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.errors import FieldProblem, InvalidInput, PayloadTooLarge
from connectors.openapi import wire
from connectors.openapi.content import check_media_type, decode_base64, json_bytes, text_bytes
from connectors.openapi.model import Json, OperationDetails
from connectors.openapi.multipart import encode_multipart
from connectors.openapi.template import encode
from connectors.openapi.validate import is_json

MULTIPART = "multipart/form-data"
FORM = "application/x-www-form-urlencoded"
_NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_TEXTUAL = ("text/", "application/javascript", "application/ecmascript", "application/xml", *_NDJSON)
_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Choice:
    """`declared` is the description's media type (None: none declared fits), `header` what is sent."""

    declared: str | None
    header: str


def choose(details: OperationDetails, value: Json, content_type: str | None) -> Choice:
    """The media type for a value: the one asked for, else JSON, else the only one, else by the value's shape.

    Raises InvalidInput for a `content_type` that is no media type.
    """
    offered = details.bodies
    if content_type is not None:
        asked = check_media_type(content_type, "content_type")
        bare = asked.split(";")[0].strip().lower()
        wild = next((w for w in (f"{bare.split('/')[0]}/*", "*/*") if w in offered), None)
        return Choice(bare if bare in offered else wild, asked)
    if not offered:
        return Choice(None, _shape_default(value))
    declared = _pick(offered, value)
    return Choice(declared, _concrete(declared, value))


def _pick(offered: Mapping[str, object], value: Json) -> str:
    if len(offered) == 1:
        return next(iter(offered))
    as_json = next((media for media in offered if is_json(media)), None)
    marked = _is_binary(value) or _holds_file(value)
    if as_json is not None and not marked:
        return as_json
    if isinstance(value, dict) and not _is_binary(value):
        wanted: tuple[str, ...] = (MULTIPART, FORM)
    elif isinstance(value, list):
        wanted = _NDJSON
    elif _is_binary(value):
        wanted = (_OCTETS,)
    else:
        wanted = tuple(media for media in offered if media.startswith(_TEXTUAL))
    found = [media for media in wanted if media in offered]
    raw = [media for media in offered if not is_json(media) and media not in (MULTIPART, FORM)]
    if isinstance(value, dict) and not _is_binary(value):
        return (found or [as_json] if as_json else found or raw or list(offered))[0]
    return (found or raw or list(offered))[0]


def _concrete(declared: str, value: Json) -> str:
    given = value["$binary"].get("media_type") if _is_binary(value) else None
    if "*" in declared:
        return check_media_type(given, "body.$binary.media_type") if given is not None else _OCTETS
    return declared


def _shape_default(value: Json) -> str:
    if _is_binary(value):
        given = value["$binary"].get("media_type")
        return check_media_type(given, "body.$binary.media_type") if given is not None else _OCTETS
    return MULTIPART if _holds_file(value) else "application/json"


def encode_body(details: OperationDetails, value: Json, choice: Choice, limit: int) -> tuple[bytes, str]:
    """The bytes of a body and its Content-Type. Raises InvalidInput, PayloadTooLarge (over `limit` bytes)."""
    if isinstance(value, str) and len(value) > limit:
        raise PayloadTooLarge(limit)
    bare = choice.header.split(";")[0].strip().lower()
    header = choice.header
    if _is_binary(value) and bare not in (MULTIPART, FORM):
        encoded = decode_base64(value["$binary"].get("base64"), "body.$binary.base64")
    elif is_json(bare):
        encoded = json_bytes(value, "body")
    elif bare == MULTIPART:
        declared = details.bodies.get(MULTIPART)
        encoded, header = encode_multipart(value, declared.part_types if declared else {})
    elif bare == FORM:
        encoded = _form(value)
    elif bare in _NDJSON and isinstance(value, list):
        encoded = b"".join(json_bytes(item, f"body.{place}") + b"\n" for place, item in enumerate(value))
    elif isinstance(value, str):
        encoded = text_bytes(value, "body")
    else:
        usage = f'is sent as {bare}: give a string, or {{"$binary": {{"base64": …}}}}'
        raise InvalidInput([FieldProblem("body", usage)])
    if len(encoded) > limit:
        raise PayloadTooLarge(limit)
    return encoded, header


def _form(value: Json) -> bytes:
    if not isinstance(value, dict):
        raise InvalidInput([FieldProblem("body", "must be an object of fields")])
    pairs: list[str] = []
    for name, field in value.items():
        for item in field if isinstance(field, list) else [field]:
            try:
                pairs.append(f"{encode(name)}={encode(wire.scalar(item))}")
            except (wire.Unsendable, UnicodeEncodeError) as error:
                text = str(error) if isinstance(error, wire.Unsendable) else "is not valid Unicode"
                raise InvalidInput([FieldProblem(f"body.{name[:100]}", text)]) from None
    return "&".join(pairs).encode()


def _is_binary(value: Json) -> bool:
    return isinstance(value, dict) and value.keys() == {"$binary"} and isinstance(value["$binary"], dict)


def _holds_file(value: Json) -> bool:
    fields = value.values() if isinstance(value, dict) else ()
    items = [item for field in fields for item in (field if isinstance(field, list) else [field])]
    return any(isinstance(item, dict) and "$file" in item for item in items)

"""Reads an upstream answer: removes secrets, decodes the envelope, and says in one place what went wrong.

Cloudflare's envelope is {success, errors: [{code, message, …}], messages, result}. GraphQL answers {data,
errors}. A stored object (KV value, R2 object, Worker script) has no envelope: it is the body, whatever it
looks like.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from connectors.base import Answer, Json, Prepared, RateHint, RawAnswer
from connectors.cloudflare.redact import MARK, hide_fields, scrub
from connectors.errors import UpstreamUnreachable
from connectors.limits import rate_hint

MAX_ANSWER: Final = 10 * 1024 * 1024  # bytes, after decompression
MAX_ERRORS: Final = 20
MAX_DETAIL: Final = 1_000
MAX_ERROR_TEXT: Final = 65_536

_RAY = re.compile(r"[0-9A-Za-z-]{1,64}")
_MEDIA = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,100}")
_TEXTUAL: Final = frozenset(
    [
        "application/javascript",
        "application/ecmascript",
        "application/xml",
        "application/x-ndjson",
        "application/ndjson",
        "application/x-www-form-urlencoded",
        "application/graphql",
        "application/yaml",
        "application/toml",
        "multipart/form-data",
        "multipart/mixed",
    ]
)


def read_answer(prepared: Prepared, raw: RawAnswer, needles: Sequence[bytes]) -> Answer:
    """The answer as its caller may see it.

    `data` is an `orjson.Fragment` of the upstream's own JSON text, a `str` for textual bodies,
    `{"$binary": …}`, or None for an empty body.

    Raises:
        UpstreamUnreachable: a success that claims to be JSON and is not (`sent` is True: it was answered).
    """
    media = _media_type(raw.headers.get("content-type", ""))
    is_json = media == "application/json" or media.endswith("+json")
    body = scrub(raw.body, needles, json_text=is_json)
    value: Json = None
    data: Json
    decoded = False
    if is_json and body:
        decoded, value = _decode(body)
        if not decoded and raw.status < 400 and not prepared.binary_answer:
            raise UpstreamUnreachable("the upstream answered with malformed JSON", sent=True)
    if decoded:
        body, value = _without_fields(prepared, body, value)
        data = orjson.Fragment(body.removeprefix(b"\xef\xbb\xbf"))
    elif body and prepared.redact and raw.status < 400:
        data = MARK  # the secret is somewhere in it, and not in a field that could be named
    else:
        data = _undecoded(raw.status, media, body)
    error = None if prepared.binary_answer and raw.status < 300 else _error(raw, value)
    return Answer(
        status=raw.status,
        data=data,
        is_error=error is not None,
        error=error,
        ray=_ray(raw.headers.get("cf-ray")),
        request_bytes=len(prepared.body or b""),
        response_bytes=len(raw.body),
        rate=_first_meters(prepared, rate_hint(raw.headers)),
        media_type=media,
    )


def _first_meters(prepared: Prepared, hint: RateHint) -> RateHint:
    """The hint, without its counts where they are those of another of the request's meters than the first.

    Counts are booked on the first meter; GraphQL answers count GraphQL queries.
    """
    if hint.limit is None or any(meter.limit == hint.limit for meter in prepared.meters[:1]):
        return hint
    if any(meter.limit == hint.limit for meter in prepared.meters[1:]):
        return RateHint(retry_after_seconds=hint.retry_after_seconds)
    return hint


def error_codes(answer: Answer) -> tuple[int, ...]:
    """The error codes of an error answer, in order."""
    if answer.error is None:
        return ()
    errors = answer.error.get("errors") or ()
    return tuple(e["code"] for e in errors if isinstance(e, dict) and type(e.get("code")) is int)


def _without_fields(prepared: Prepared, body: bytes, value: Json) -> tuple[bytes, Json]:
    if not prepared.redact:
        return body, value
    try:
        hidden = hide_fields(body, value, prepared.redact)
    except RecursionError as exc:
        raise UpstreamUnreachable("the upstream's answer is nested too deeply to redact", sent=True) from exc
    return (body, value) if hidden is None else (hidden, _decode(hidden)[1])


def _decode(body: bytes) -> tuple[bool, Json]:
    try:
        return True, orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    # Valid JSON that orjson does not take: a byte order mark, lone surrogates, numbers past a double's range.
    try:
        return True, json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False, None


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _undecoded(status: int, media: str, body: bytes) -> Json:
    if not body:
        return None
    textual = media.startswith(("text/", "application/javascript")) or media in _TEXTUAL or media.endswith("+xml")
    if textual or status >= 400:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            text = None
        if text is not None:
            return text if status < 400 else text[:MAX_ERROR_TEXT]
    return {"$binary": {"media_type": media, "bytes": len(body), "base64": base64.b64encode(body).decode("ascii")}}


def _error(raw: RawAnswer, value: Json) -> Mapping[str, Json] | None:
    envelope = value if isinstance(value, dict) else {}
    failed = envelope.get("success") is False or (
        "data" in envelope and envelope.get("data") is None and bool(envelope.get("errors"))
    )
    if 200 <= raw.status < 300 and not failed:
        return None
    errors = _errors(envelope.get("errors"))
    error: dict[str, Json] = {"detail": _detail(raw, errors), "status": raw.status}
    if errors:
        error["errors"] = errors
    retry = rate_hint(raw.headers).retry_after_seconds
    if retry is not None:
        error["retry_after"] = retry
    return error


def _errors(value: Json) -> list[dict[str, Json]]:
    if not isinstance(value, list):
        return []
    found: list[dict[str, Json]] = []
    for item in value[:MAX_ERRORS]:
        if not isinstance(item, dict):
            continue
        kept: dict[str, Json] = {}
        if type(item.get("code")) is int:
            kept["code"] = item["code"]
        for name in ("message", "documentation_url"):
            if isinstance(item.get(name), str):
                kept[name] = item[name][:500]
        for name in ("source", "path", "error_chain"):
            if isinstance(item.get(name), (dict, list)) and len(orjson.dumps(item[name])) <= 1_000:
                kept[name] = item[name]
        found.append(kept)
    return found


def _detail(raw: RawAnswer, errors: list[dict[str, Json]]) -> str:
    said = "; ".join(
        f"{e['code']}: {e.get('message', '')}" if "code" in e else str(e.get("message", "")) for e in errors
    )
    if 300 <= raw.status < 400:
        return f"Cloudflare answered {raw.status}, a redirect, which is not followed"
    if not said:
        kind = _media_type(raw.headers.get("content-type", ""))
        said = "no error was named" if "json" in kind or not raw.body else f"the body is {kind}, not JSON"
    return f"Cloudflare answered {raw.status}: {said}"[:MAX_DETAIL]


def _media_type(header: str) -> str:
    media = header.split(";", 1)[0].strip().lower()
    return media if _MEDIA.fullmatch(media) else "application/octet-stream"


def _ray(value: str | None) -> str | None:
    return value if value is not None and _RAY.fullmatch(value) else None

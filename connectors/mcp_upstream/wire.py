"""Messages to a server and what comes back: requests of both eras, JSON and SSE answers, never more than was asked.

A request's body begins with `_HEAD`: a server with sessions gets another id put in its place.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from connectors.base import Json, RawAnswer
from connectors.errors import UpstreamUnreachable
from connectors.mcp_upstream.streams import Events, answers

MODERN: Final = "2026-07-28"
LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
ID: Final = 1
CLIENT: Final[Mapping[str, str]] = {"name": "keyreeve", "version": "1"}
MCP_RESULT: Final = "application/vnd.keyreeve.mcp-result+json"
"""Media type of an Answer whose data is the result of `tools/call` itself."""

_HEAD: Final = b'{"jsonrpc":"2.0","id":1,'
_ID = re.compile(rb'\{"jsonrpc":"2\.0","id":([0-9]{1,18}),')
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_META: Final[Mapping[str, Json]] = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": dict(CLIENT),
}
_COMMON: Final = (("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream"))


def modern(version: str) -> bool:
    """Whether a revision is of the era without a handshake."""
    return version not in LEGACY


def request(
    version: str,
    method: str,
    params: Mapping[str, Json],
    *,
    name: str | None = None,
    meta: Mapping[str, Json] | None = None,
) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """Headers and body of one request. `name` is what `Mcp-Name` repeats; `meta` is added to the params' `_meta`."""
    if modern(version):
        named = () if name is None else (("Mcp-Name", header_value(name)),)
        headers = (*_COMMON, ("MCP-Protocol-Version", version), ("Mcp-Method", method), *named)
        params = {**params, "_meta": {**_META, **meta} if meta else _META}
    else:
        headers = (*_COMMON, ("MCP-Protocol-Version", version))
        if meta:
            params = {**params, "_meta": meta}
    return headers, _HEAD + orjson.dumps({"method": method, "params": params})[1:]


def with_id(body: bytes, id_: int) -> bytes:
    """The same request under another id."""
    return b'{"jsonrpc":"2.0","id":%d,' % id_ + body.removeprefix(_HEAD)


def id_of(body: bytes) -> int | None:
    """The id of a request that `request` or `with_id` made; None for a notification."""
    found = _ID.match(body)
    return None if found is None else int(found[1])


def header_value(text: str) -> str:
    """A value as a header carries it; what it cannot, as `=?base64?…?=` (2026-07-28, transports)."""
    if _PLAIN.fullmatch(text) is not None and not text.startswith("=?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode('utf-8', 'replace')).decode()}?="


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request: a result, or an error of JSON-RPC or of HTTP alone (`code` 0)."""

    result: Mapping[str, Json] | None
    code: int = 0
    message: str = ""
    data: Json = None


def read_reply(raw: RawAnswer, id_: int) -> Reply:
    """The one message that answers request `id_`.

    Raises:
        UpstreamUnreachable: none does, or it cannot be read. (`sent` is True: it was answered.)
    """
    media = raw.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw.status >= 300:
        found = _decoded(raw.body) if media == "application/json" else None
        error = found.get("error") if isinstance(found, dict) else None
        return _error(error) if isinstance(error, dict) else Reply(None, 0, "")
    if media == "text/event-stream":
        messages: Iterator[Json] = map(_decoded, Events().feed(raw.body))
    elif media == "application/json":
        messages = iter((_decoded(raw.body),))
    else:
        raise UpstreamUnreachable("the server's answer is neither JSON nor an event stream", sent=True)
    for message in messages:
        # Whatever else a stream holds (notifications, requests of the server's) is neither answered nor passed on.
        if isinstance(message, dict) and "method" not in message and answers(message, id_):
            return _reply(message)
    raise UpstreamUnreachable("the server's answer does not answer the request", sent=True)


def _reply(message: Mapping[str, Any]) -> Reply:
    error, result = message.get("error"), message.get("result")
    if isinstance(error, dict) and result is None:
        return _error(error)
    if isinstance(result, dict) and error is None:
        return Reply(result)
    raise UpstreamUnreachable("the server's answer is neither a result nor an error", sent=True)


def _error(error: Mapping[str, Any]) -> Reply:
    code, message = error.get("code"), error.get("message")
    return Reply(
        None,
        code if type(code) is int and abs(code) < 2**31 else -32603,
        message if isinstance(message, str) else "",
        error.get("data"),
    )


def _decoded(body: bytes) -> Json:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamUnreachable("the server answered with malformed JSON", sent=True) from None

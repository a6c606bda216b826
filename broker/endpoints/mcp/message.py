"""From an HTTP request to one JSON-RPC message of a known era. Pure; every check that the protocol asks of a server
before it looks at what the message wants (2026-07-28, basic/transports and basic/index; 2025-11-25, basic/transports).
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json

from broker.endpoints.mcp.handshake import HEADER, capabilities_of
from broker.endpoints.mcp.rpc import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    Refused,
    RequestId,
)
from broker.endpoints.mcp.versions import HANDSHAKE, META_CAPABILITIES, META_CLIENT, META_VERSION, MODERN

NAMED: Final[Mapping[str, str]] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Methods whose `Mcp-Name` header repeats one of their parameters, and which."""

SINGLE: Final = frozenset(
    {
        "accept",
        "authorization",
        "content-type",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "mcp-session-id",
        "origin",
        "x-keyreeve-identifier",
        "x-keyreeve-tenant",
    }
)
"""Headers that may be there once: of two, a proxy in front might have read the other."""

MAX_METHOD: Final = 200
MAX_ID: Final = 1000

_ENCODED = re.compile(r"=\?base64\?(.*)\?=\Z")

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """A client's answer to what it was asked; `result` is None where that was an error."""

    id: RequestId
    result: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Message:
    """One request; or one notification, which has no `id` and no answer; or the answer to a question of ours.

    `version` is the revision it speaks. `capabilities` are the client's: in the modern era as it repeats them with
    every request, before that as its session says (`handshake`). `client` is how it calls itself, or None.
    """

    version: str
    id: RequestId
    method: str
    params: Mapping[str, Any]
    meta: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    client: str | None = None
    reply: "Reply | None" = None

    @property
    def modern(self) -> bool:
        """Whether it is of the era without a handshake."""
        return self.version in MODERN

    @property
    def is_request(self) -> bool:
        """Whether it is owed an answer."""
        return self.id is not None


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers by lower-case name, without white space around their values (RFC 9110 § 5.5). Raises Refused where
    one that counts is there twice."""
    found: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1").lower()
        if key in found and key in SINGLE:
            raise Refused(HEADER_MISMATCH, f"the header {key} is there more than once", early=True)
        found[key] = value.decode("latin-1").strip(" \t")
    return found


def read_message(headers: Headers, raw: bytes) -> Message:
    """The message. Raises Refused: `early` for what no request is, plainly for a request that breaks a rule."""
    try:
        body = from_json(raw, allow_inf_nan=False)
    except ValueError:
        raise Refused(PARSE_ERROR, "the body is not JSON, or nested too deeply", early=True) from None
    if isinstance(body, list):
        raise Refused(INVALID_REQUEST, "batches are not taken: send one message", early=True)
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
        raise Refused(INVALID_REQUEST, "the body must be one JSON-RPC 2.0 message", early=True)
    id_ = _id(body)
    try:
        return _read(headers, body, id_)
    except Refused as refused:
        refused.id, refused.early = id_, True
        raise


def _id(body: Mapping[str, Any]) -> RequestId:
    if "id" not in body:
        return None
    id_ = body["id"]
    if isinstance(id_, bool) or not isinstance(id_, str | int) or len(str(id_)) > MAX_ID:
        raise Refused(INVALID_REQUEST, "id must be a string or an integer", early=True)
    return id_


def _read(headers: Headers, body: Mapping[str, Any], id_: RequestId) -> Message:
    method, params = body.get("method"), body.get("params")
    version = headers.get("mcp-protocol-version")
    spoken = HANDSHAKE[1] if version is None else version  # what a missing header means, since 2025-06-18
    if spoken in HANDSHAKE and "method" not in body and ("result" in body or "error" in body):
        result = body.get("result")
        return Message(spoken, None, "", {}, reply=Reply(id_, result if isinstance(result, dict) else None))
    if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD:
        raise Refused(INVALID_REQUEST, "method is missing: answers to requests of ours are not awaited")
    if params is not None and not isinstance(params, dict):
        raise Refused(INVALID_PARAMS, "params must be an object")
    params = params or {}
    meta = params.get("_meta")
    meta = meta if isinstance(meta, dict) else None
    if version is None and (meta is None or META_VERSION not in meta):
        version = spoken
    if version in HANDSHAKE:
        return Message(version, id_, method, params, meta or {}, capabilities_of(headers.get(HEADER)))
    if id_ is None:
        # A notification names its version in the header alone.
        _served(version)
        return Message(str(version), None, method, params, meta or {})
    return _modern(headers, version, id_, method, params, meta)


def _modern(
    headers: Headers,
    version: str | None,
    id_: RequestId,
    method: str,
    params: Mapping[str, Any],
    meta: Mapping[str, Any] | None,
) -> Message:
    if meta is None or META_VERSION not in meta or META_CAPABILITIES not in meta:
        raise Refused(INVALID_PARAMS, f"params._meta must hold {META_VERSION} and {META_CAPABILITIES}")
    if version is None or version != meta[META_VERSION]:
        raise Refused(HEADER_MISMATCH, "the header mcp-protocol-version and the version in params._meta differ")
    if headers.get("mcp-method") != method:
        raise Refused(HEADER_MISMATCH, "the header mcp-method and the message's method differ")
    named = NAMED.get(method)
    if named is not None and params.get(named) is not None and _decoded(headers.get("mcp-name")) != params[named]:
        raise Refused(HEADER_MISMATCH, f"the header mcp-name and params.{named} differ")
    _served(version)
    capabilities = meta[META_CAPABILITIES]
    if not isinstance(capabilities, dict):
        raise Refused(INVALID_PARAMS, f"params._meta's {META_CAPABILITIES} must be an object")
    return Message(version, id_, method, params, meta, capabilities, client_name(meta.get(META_CLIENT)))


def _served(version: str | None) -> None:
    if version not in MODERN:
        data = {"supported": list(MODERN), "requested": (version or "")[:100]}
        raise Refused(UNSUPPORTED_VERSION, "this version of the protocol is not served", data=data)


def _decoded(value: str | None) -> str | None:
    """A header's value, out of the `=?base64?…?=` that carries what a header cannot; None where that is malformed."""
    found = None if value is None else _ENCODED.match(value)
    if found is None:
        return value
    try:
        content = base64.b64decode(found[1], validate=True)
        # One spelling for each value: two would let a proxy and us read different names.
        return content.decode() if base64.b64encode(content).decode() == found[1] else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def client_name(info: object) -> str | None:
    """How a client calls itself, `name/version`, as one printable line of at most 200 characters."""
    if not isinstance(info, dict):
        return None
    parts = [str(info[key])[:100] for key in ("name", "version") if isinstance(info.get(key), str)]
    told = "".join(c for c in "/".join(parts) if c.isprintable())
    return told[:200] or None

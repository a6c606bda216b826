"""JSON-RPC 2.0 as MCP uses it: the errors, and how answers look on the wire. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from broker.tools.results import dumps

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
RESOURCE_NOT_FOUND: Final = -32002
"""Until 2025-11-25; since then it is an invalid parameter."""
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022
MISSING_CAPABILITY: Final = -32021
"""The client cannot be asked what a server behind us wants to ask it first."""

_STATUS: Final[Mapping[int, int]] = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    UNSUPPORTED_VERSION: 400,
    MISSING_CAPABILITY: 400,
    METHOD_NOT_FOUND: 404,
}
"""2026-07-28 fixes the HTTP status of an error; before it, an error in answer to a request is a 200."""

_REASONS: Final[Mapping[int, str]] = {INVALID_PARAMS: "invalid_input", RESOURCE_NOT_FOUND: "not_found"}

RequestId = str | int | None


class Refused(Exception):
    """A message that is not one this protocol allows, or names what is not there: a JSON-RPC error.

    Its text never repeats more of the message than a name. `early` errors were found before the message counted as a
    request, and so have their HTTP status in either era. `reason` is the problem's code under which it goes on record
    once the caller is known; None: it does not, being about the message's form, or on record as something else.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        data: Mapping[str, Any] | None = None,
        early: bool = False,
        id_: RequestId = None,
        reason: str | None = None,
    ) -> None:
        self.reason = reason or _REASONS.get(code)
        self.code = code
        self.message = message
        self.data = data
        self.early = early
        self.id = id_
        super().__init__(f"{code}: {message}")

    def status(self, *, modern: bool) -> int:
        """The HTTP status it leaves with."""
        return _STATUS.get(self.code, 200) if modern or self.early else 200

    def body(self) -> bytes:
        """The JSON-RPC error message."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return dumps({"jsonrpc": "2.0", "id": self.id, "error": error})


def answer(id_: RequestId, result: bytes) -> bytes:
    """A result message around an encoded result."""
    return b'{"jsonrpc":"2.0","id":' + dumps(id_) + b',"result":' + result + b"}"


def notification(method: str, params: Mapping[str, Any]) -> bytes:
    """A notification message."""
    return dumps({"jsonrpc": "2.0", "method": method, "params": params})

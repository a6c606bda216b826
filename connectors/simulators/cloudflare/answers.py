"""Cloudflare's envelope, and the errors it gives.

Every JSON answer is `{result, success, errors, messages, result_info?}`; an error is `{code, message,
error_chain?}`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

JSON = b"application/json"
OCTETS = b"application/octet-stream"

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """One response before it is sent. `headers` are additional to content-type, length and `cf-ray`."""

    body: bytes
    status: int = 200
    media_type: bytes = JSON
    headers: Headers = ()


class ApiError(Exception):
    """An error answer in Cloudflare's envelope: HTTP `status`, and the `errors` to list."""

    def __init__(self, status: int, *errors: Mapping[str, Any], headers: Headers = ()) -> None:
        self.status = status
        self.errors = errors
        self.headers = headers
        super().__init__(f"{status} {[e.get('code') for e in errors]}")

    def answer(self) -> Answer:
        """The envelope that says so."""
        envelope = {"success": False, "errors": list(self.errors), "messages": [], "result": None}
        return Answer(orjson.dumps(envelope), self.status, headers=self.headers)


def ok(result: Any, info: Mapping[str, Any] | None = None, messages: Sequence[Any] = ()) -> Answer:
    """A success envelope; `info` becomes `result_info`."""
    envelope: dict[str, Any] = {"result": result, "success": True, "errors": [], "messages": list(messages)}
    if info is not None:
        envelope["result_info"] = info
    return Answer(orjson.dumps(envelope))


def fail(status: int, code: int, message: str, chain: tuple[int, str] | None = None) -> ApiError:
    """One error of the given code; `chain` is the root cause that older endpoints wrap."""
    error: dict[str, Any] = {"code": code, "message": message}
    if chain is not None:
        error["error_chain"] = [{"code": chain[0], "message": chain[1]}]
    return ApiError(status, error)


def missing_auth() -> ApiError:
    """No credential at all [memory]."""
    return fail(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")


def malformed_auth(header: str) -> ApiError:
    """A credential header that can't be one: 6003 with its cause [I]."""
    cause = {"Authorization": 6111, "X-Auth-Key": 6103, "X-Auth-Email": 6102}[header]
    return fail(400, 6003, "Invalid request headers", (cause, f"Invalid format for {header} header"))


def unknown_token() -> ApiError:
    """A well-formed token that is unknown, disabled, expired or not yet valid [I]."""
    return fail(403, 9109, "Invalid access token")


def unknown_key() -> ApiError:
    """A Global API Key that does not belong to that e-mail address [memory]."""
    return fail(403, 9103, "Unknown X-Auth-Key or X-Auth-Email")


def wrong_location(address: str) -> ApiError:
    """The token's IP condition refuses the caller [I]."""
    return fail(403, 9109, f"Cannot use the access token from location: {address}")


def invalid_api_token() -> ApiError:
    """What the verify endpoints say of a token that is not theirs [I: 1000; status memory]."""
    return fail(401, 1000, "Invalid API Token")


def not_permitted() -> ApiError:
    """A missing permission on an account or zone: 10000, which is also what a few services say of a bad token [I]."""
    return fail(403, 10000, "Authentication error")


def not_authorized() -> ApiError:
    """A missing permission on users, tokens and zone lists: 9109 again, with another text [I]."""
    return fail(403, 9109, "Unauthorized to access requested resource")


def no_user() -> ApiError:
    """An account token on a user-level endpoint [memory]."""
    return fail(403, 9109, "Valid user-level authentication not found")


def wrong_scheme() -> ApiError:
    """An endpoint that another authentication scheme is for [memory]."""
    return fail(405, 10405, "Method not allowed for this authentication scheme")


def unroutable(path: str) -> ApiError:
    """No such path, or an identifier in it that can't be one: 7003 with 7000 [I; status memory]."""
    return ApiError(
        404,
        {"code": 7003, "message": f"Could not route to {path}, perhaps your object identifier is invalid?"},
        {"code": 7000, "message": "No route for that URI"},
    )


def wrong_method(method: str) -> ApiError:
    """The path exists, not with this method [I: text; code and status memory]."""
    return fail(405, 7001, f"Method {method} not available for that URI.")


def bad_json() -> ApiError:
    """A body that isn't the JSON it should be [memory]."""
    return fail(400, 9207, "Request body is invalid.")


def too_large(limit: int) -> ApiError:
    """A body over the simulator's bound [memory]."""
    return fail(413, 10024, f"Request body exceeds {limit} bytes")


def throttled(limit: int, window: float, wait: int) -> ApiError:
    """Over the limit [I: code 10100 and text]. `wait` is in seconds."""
    text = (
        f"More than {limit} requests per {window:.0f} seconds reached."
        " Please wait and consider throttling your request speed"
    )
    error = fail(429, 10100, text)
    error.headers = ((b"retry-after", b"%d" % wait),)
    return error

"""How OAuth's JSON endpoints answer and refuse, and how their forms are read."""

import base64
import binascii
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus

import orjson
from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from broker.endpoints.rest.problems import problem_response
from broker.errors import Problem
from broker.identity.oauth.errors import OAuthRefusal

MAX_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 30
FORM: Final = "application/x-www-form-urlencoded"
_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class OAuthRoute(APIRoute):
    """A route whose refusals are OAuth's own."""

    def get_route_handler(self) -> Handler:
        """The handler with everything around it."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await inner(request)
            except OAuthRefusal as refusal:
                return refused(refusal)
            except RequestValidationError:
                return problem_response(Problem("not_found", "there is nothing at this address"))

        return handle


def router() -> APIRouter:
    """A router for OAuth's endpoints, which RFC 8414 metadata describes and `/openapi.json` does not."""
    return APIRouter(route_class=OAuthRoute, include_in_schema=False)


def answered(content: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON answer that nobody keeps."""
    return Response(orjson.dumps(content), status, _NO_STORE, media_type="application/json")


def refused(refusal: OAuthRefusal) -> Response:
    """RFC 6749 § 5.2."""
    response = answered({"error": refusal.error, "error_description": refusal.description}, refusal.status)
    if refusal.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="keyreeve"'
    if refusal.retry_after is not None:
        response.headers["Retry-After"] = str(refusal.retry_after)
    return response


async def read_form(request: Request) -> dict[str, str]:
    """The parameters of a token or revocation request: each at most once, empty ones left out (OAuth 2.1 § 3.2). Raises
    OAuthRefusal."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise OAuthRefusal("invalid_request", f"send {FORM}")
    if request.url.query:
        raise OAuthRefusal("invalid_request", "send the parameters in the body alone")
    raw = await request.body()
    if len(raw) > MAX_BYTES:
        raise OAuthRefusal("invalid_request", f"a request must not exceed {MAX_BYTES} bytes")
    try:
        pairs = parse_qsl(raw.decode("ascii"), max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise OAuthRefusal("invalid_request", "the body is not a form") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise OAuthRefusal("invalid_request", "a parameter is there twice")
    if any("\x00" in value for value in fields.values()):
        raise OAuthRefusal("invalid_request", "a parameter holds a NUL")
    return fields | _basic(request, fields)


def _basic(request: Request, fields: Mapping[str, str]) -> dict[str, str]:
    """Client id and secret out of `Authorization: Basic` (RFC 6749 § 2.3.1), which must not be in the body as well."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        client_id, _, secret = base64.b64decode(given.strip(), validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        raise OAuthRefusal("invalid_client", "the Authorization header cannot be read") from None
    named = unquote_plus(client_id)
    if "client_secret" in fields or fields.get("client_id", named) != named:
        raise OAuthRefusal("invalid_request", "the client is named twice")
    return {"client_id": named} | ({"client_secret": unquote_plus(secret)} if secret else {})

"""The one map from errors to HTTP: every failure leaves as `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Described
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from broker.db.trouble import problem_of
from broker.endpoints.rest.validation import misread
from broker.errors import CODES, Problem, invalid
from broker.logs import redact

_log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class ProblemField(BaseModel):
    """One wrong field."""

    path: str
    problem: str


class ProblemBody(BaseModel):
    """`application/problem+json`: what went wrong, who can mend it (`fix`) and how (`hint`)."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Described(examples=["urn:keyreeve:problem:not_granted"])
    title: str
    status: int
    code: str = Described(examples=["not_granted"])
    detail: str
    fix: str = Described(description="model, user, admin, wait or operator")
    hint: str | None = None
    execution_id: str | None = None
    sent: bool | str | None = None
    retry_after: int | None = None
    fields: list[ProblemField] | None = None


ALWAYS = (
    "unauthenticated",
    "session_expired",
    "forbidden",
    "payload_too_large",
    "rate_limited",
    "internal",
    "unavailable",
)


FRAMEWORK = ("invalid_input", "unknown_field", "not_found", "method_not_allowed", "unsupported_media_type")
"""What any request can meet before a handler sees it."""


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for its OpenAPI description: these codes and those every route can answer."""
    by_status: dict[int, list[str]] = {}
    for code in (*ALWAYS, *FRAMEWORK, *codes):
        names = by_status.setdefault(CODES[code].status, [])
        if code not in names:
            names.append(code)
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": ", ".join(f"`{n}`" for n in names),
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status, names in sorted(by_status.items())
    }


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP answer a Problem amounts to, with `Retry-After` and `WWW-Authenticate` where they belong."""
    sent = dict(headers or {})
    if problem.retry_after is not None:
        sent["Retry-After"] = str(problem.retry_after)
    if problem.kind.status == 401:
        error = "" if problem.detail == "no Authorization header" else ', error="invalid_token"'
        sent["WWW-Authenticate"] = f'Bearer realm="keyreeve"{error}'
    sent["Cache-Control"] = "no-store"
    # A detail may repeat a name that was asked for, and people paste tokens where names belong.
    told = redact(orjson.dumps(problem.as_wire()).decode())
    return Response(told, problem.kind.status, sent, media_type=MEDIA_TYPE)


_HTTP = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large", 415: "unsupported_media_type"}


def fault(error: Exception, path: str) -> Problem:
    """What an error that nobody expected is answered with. It is logged, unless it says that the database is away."""
    known = problem_of(error)
    if known is not None:
        _log.warning("database", path=path, error=type(error).__name__, answered=known.code)
        return known
    _log.error("unhandled", path=path, exc_info=error)
    return Problem("internal", "something went wrong here; it has been logged")


def _allowed(scope: Scope, routers: Sequence[APIRouter]) -> list[str]:
    """The methods that the path takes, of all its routes: the framework names those of the first alone."""
    routes = [route for router in routers for route in router.routes if isinstance(route, Route)]
    methods = {m for route in routes if route.matches(scope)[0] is not Match.NONE for m in route.methods or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Registers the map on `app`, whose routes are those of `routers`."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - what it is registered for
        return problem_response(error)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
        return problem_response(misread(request, error.errors()))

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
        if error.detail == "There was an error parsing the body":
            # FastAPI's, of a body that its JSON reader gave up on without saying where.
            return problem_response(invalid("body", "is not valid JSON in UTF-8, or nested too deeply"))
        code = _HTTP.get(error.status_code, "invalid_input" if error.status_code < 500 else "internal")
        detail = {
            "not_found": "there is nothing at this path",
            "method_not_allowed": "the path is right, the method is not",
        }
        headers = dict(error.headers or {})
        if code == "method_not_allowed":
            headers["Allow"] = ", ".join(_allowed(request.scope, routers))
        return problem_response(Problem(code, detail.get(code, str(error.detail)[:200])), headers)

    async def unexpected(request: Request, error: Exception) -> Response:
        return problem_response(fault(error, str(request.scope.get("path"))))

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(Exception, unexpected)

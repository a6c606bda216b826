"""How a page's handler is called: problems become pages, and every answer is hardened."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from broker.endpoints.pages import cookies
from broker.endpoints.pages.hardening import harden
from broker.endpoints.pages.view import render
from broker.endpoints.rest.deps import services_of
from broker.endpoints.rest.problems import fault
from broker.errors import Problem
from broker.identity.logins import Login

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route whose every answer is a page."""

    def get_route_handler(self) -> Handler:
        """The handler with everything around it."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return harden(await inner(request))
            except Problem as problem:
                return harden(problem_page(request, problem))
            except RequestValidationError:
                return harden(problem_page(request, Problem("not_found", "there is nothing at this address")))
            except Exception as error:  # noqa: BLE001 - logged by `fault`; a person gets a page, never a trace
                return harden(problem_page(request, fault(error, request.url.path)))

        return handle


def router() -> APIRouter:
    """A router for pages; its routes stay out of `/openapi.json`."""
    return APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=Response)


def problem_page(request: Request, problem: Problem) -> Response:
    """A problem for people: what happened and what to do."""
    headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    return render(request, "problem.html", status=problem.kind.status, headers=headers, problem=problem)


async def login_of(request: Request) -> Login | None:
    """Who is signed in, or None. A cookie that opens nothing any more counts as none."""
    services = services_of(request)
    value = cookies.read(request, cookies.LOGIN)
    if value is None:
        return None
    try:
        return await services.logins.resolve(value, services.clock.now())
    except Problem as problem:
        if problem.kind.status in (401, 403):
            return None
        raise


async def required_login(request: Request) -> Login:
    """Who is signed in. Raises Problem `unauthenticated`."""
    login = await login_of(request)
    if login is None:
        raise Problem("unauthenticated", "you are not signed in", hint="sign in, then try again")
    return login

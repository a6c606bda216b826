"""Signing in and out. A sign-in link is opened by GET, which changes nothing, and used by the button on its page."""

from datetime import timedelta
from typing import Final

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from broker.endpoints.pages import cookies
from broker.endpoints.pages.forms import read_form
from broker.endpoints.pages.guesses import Guesses
from broker.endpoints.pages.route import login_of, required_login
from broker.endpoints.pages.route import router as pages
from broker.endpoints.pages.view import render
from broker.endpoints.pages.ways import way_to
from broker.endpoints.rest.deps import services_of
from broker.errors import Problem
from broker.identity.logins import NewLogin, return_path
from broker.identity.names import TENANT_NAME

RETURN_FOR: Final = timedelta(minutes=30)

router = pages()
_guesses = Guesses()


def address(request: Request) -> str:
    """Who asks, for counting wrong tickets."""
    return "" if request.client is None else request.client.host


@router.get("/signin")
async def ways(request: Request, return_to: str | None = None, tenant: str | None = None) -> Response:
    """The ways to sign in. `return_to`, a path of this server, is where signing in leads; `tenant` the organisation."""
    if tenant is not None and TENANT_NAME.fullmatch(tenant.strip().lower()):
        response: Response = RedirectResponse(f"/t/{tenant.strip().lower()}/signin", 303)
    else:
        way = await way_to(request)
        response = render(request, "signin.html", login=await login_of(request), wanted=None, way=way)
    remember_return(request, response, return_to)
    return response


@router.get("/s/{ticket}")
async def open_link(request: Request, ticket: str) -> Response:
    """Takes the ticket out of the address: what history, logs and referrers keep opens nothing without the cookie."""
    services = services_of(request)
    try:
        link = await services.sign_in.peek(ticket, services.clock.now())
    except Problem as problem:
        if problem.code == "not_found":
            # Only now: what opens a link is never refused for what others at its address have tried.
            _guesses.check(address(request))
            _guesses.wrong(address(request))
        raise
    response = RedirectResponse("/signin/link", 303)
    cookies.put(request, response, cookies.SIGN_IN_LINK, ticket, link.expires_at)
    return response


@router.get("/signin/link")
async def ask(request: Request) -> Response:
    """Who would be signed in, where, and by whose link; with the button that does it."""
    services = services_of(request)
    ticket = cookies.read(request, cookies.SIGN_IN_LINK)
    if ticket is None:
        raise Problem("not_found", "this page is opened by a sign-in link", hint="open your link again")
    link = await services.sign_in.peek(ticket, services.clock.now())
    return render(request, "signin_link.html", link=link, current=await login_of(request))


@router.post("/signin/link")
async def sign_in(request: Request) -> Response:
    """Uses the link up and signs in. Whoever was signed in with this browser before is signed out."""
    services = services_of(request)
    now = services.clock.now()
    ticket = cookies.read(request, cookies.SIGN_IN_LINK)
    if ticket is None:
        raise Problem("not_found", "this form belongs to a sign-in link", hint="open your link again")
    link = await services.sign_in.peek(ticket, now)
    await read_form(request, link.csrf)
    before = await login_of(request)
    login = await services.sign_in.use(ticket, now)
    if before is not None:
        await services.logins.end(before, now)
    response = signed_in(request, login)
    cookies.drop(request, response, cookies.SIGN_IN_LINK)
    return response


@router.post("/signout")
async def sign_out(request: Request) -> Response:
    """Ends the login."""
    services = services_of(request)
    login = await required_login(request)
    await read_form(request, login.csrf)
    await services.logins.end(login, services.clock.now())
    response = RedirectResponse("/", 303)
    cookies.drop(request, response, cookies.LOGIN)
    return response


def signed_in(request: Request, login: NewLogin) -> Response:
    """The answer that begins a login: its cookie, and on to where the person was going. For every way to sign in."""
    to = return_path(cookies.read(request, cookies.RETURN)) or "/"
    response = RedirectResponse(to, 303)
    cookies.put(request, response, cookies.LOGIN, login.cookie, login.expires_at)
    cookies.drop(request, response, cookies.RETURN)
    return response


def remember_return(request: Request, response: Response, path: str | None) -> None:
    """Has signing in lead to `path` within the next half hour, if it is one of ours."""
    checked = return_path(path)
    if checked is not None:
        cookies.put(request, response, cookies.RETURN, checked, services_of(request).clock.now() + RETURN_FOR)

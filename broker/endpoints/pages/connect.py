"""Connecting an account: what the credential is for, paste, verify, what it turned out to be.

Two ways lead to the same page: a connect link (no sign-in; one identity, one connection, once) and `connect_url`
(`/connect/TENANT/CONNECTION`, stable, holds no secret, asks for sign-in).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import Path, Request
from starlette.responses import RedirectResponse, Response

from broker.accounts.links import asker_of
from broker.accounts.offers import Asker, Offer, Review
from broker.domain import CONNECTION_NAME
from broker.endpoints.pages import cookies
from broker.endpoints.pages.deposits import Filled, Shown, credential_of, failures, filled
from broker.endpoints.pages.forms import read_form
from broker.endpoints.pages.guesses import Guesses
from broker.endpoints.pages.route import login_of
from broker.endpoints.pages.route import router as pages
from broker.endpoints.pages.signin import address, remember_return
from broker.endpoints.pages.view import render
from broker.endpoints.pages.ways import way_to
from broker.endpoints.rest.deps import services_of
from broker.errors import Problem
from broker.identity.logins import Login
from broker.identity.names import TENANT_NAME
from broker.identity.onetime import Link

router = pages()
_guesses = Guesses()

LINK_PAGE: Final = "/connect/link"
TenantName = Annotated[str, Path(max_length=63)]
ConnectionName = Annotated[str, Path(max_length=24)]
Put = Callable[[Mapping[str, Any]], Awaitable[tuple[dict[str, Any], Review]]]


@dataclass(frozen=True, slots=True)
class Page:
    """Whose page it is, on which connection, and where its form goes."""

    asker: Asker
    tenant: str
    identifier: str
    offer: Offer
    action: str
    csrf: str = field(repr=False)
    login: Login | None
    link: Link | None


@router.get("/c/{ticket}")
async def open_link(request: Request, ticket: str) -> Response:
    """Takes the ticket out of the address. Uses nothing up."""
    services = services_of(request)
    try:
        link = await services.links.peek(ticket, services.clock.now())
    except Problem as problem:
        if problem.code == "not_found":
            # Only now: what opens a link is never refused for what others at its address have tried.
            _guesses.check(address(request))
            _guesses.wrong(address(request))
        raise
    response = RedirectResponse(LINK_PAGE, 303)
    cookies.put(request, response, cookies.CONNECT_LINK, ticket, link.expires_at)
    return response


@router.get(LINK_PAGE)
async def link_page(request: Request, kind: str | None = None) -> Response:
    """The page that a connect link opens."""
    return show(request, await by_link(request), kind)


@router.post(LINK_PAGE)
async def link_deposit(request: Request) -> Response:
    """Deposits by a connect link, which the deposit that verifies uses up."""
    services = services_of(request)
    page = await by_link(request)
    fields = await read_form(request, page.csrf)
    link = page.link
    assert link is not None  # noqa: S101 - `by_link` found it

    async def put(credential: Mapping[str, Any]) -> tuple[dict[str, Any], Review]:
        return await services.links.deposit(link, credential)

    response, done = await _deposit(request, page, fields, put)
    if done:
        cookies.drop(request, response, cookies.CONNECT_LINK)
    return response


@router.get("/connect/{tenant}/{connection_name}")
async def own_page(
    request: Request, tenant: TenantName, connection_name: ConnectionName, kind: str | None = None
) -> Response:
    """The page behind `connect_url`, for whoever is signed in; others are asked to."""
    login = await here(request, tenant, connection_name)
    if login is None:
        wanted = f"connect {connection_name}"
        response = render(request, "signin.html", status=401, wanted=wanted, way=await way_to(request, tenant))
        remember_return(request, response, request.url.path)
        return response
    return show(request, await by_login(request, login, connection_name), kind)


@router.post("/connect/{tenant}/{connection_name}")
async def own_deposit(request: Request, tenant: TenantName, connection_name: ConnectionName) -> Response:
    """Deposits as the person signed in."""
    services = services_of(request)
    login = await here(request, tenant, connection_name)
    if login is None:
        raise Problem("unauthenticated", "you are not signed in any more", hint="sign in and paste the token again")
    fields = await read_form(request, login.csrf)
    page = await by_login(request, login, connection_name)

    async def put(credential: Mapping[str, Any]) -> tuple[dict[str, Any], Review]:
        resolved = await services.offers.caller(page.asker, services.clock.now())
        account = await services.accounts.put(
            resolved.caller,
            connection_name=connection_name,
            identifier=login.identifier,
            shared=False,
            label=None,
            credential=credential,
            replace=False,
        )
        now = services.clock.now()
        return account, await services.offers.review(page.asker, connection_name, account["id"], now)

    response, _ = await _deposit(request, page, fields, put)
    return response


async def by_link(request: Request, ticket: str | None = None) -> Page:
    """The page of the link that this browser opened. Raises Problem `not_found`, `forbidden`."""
    services = services_of(request)
    now = services.clock.now()
    ticket = ticket or cookies.read(request, cookies.CONNECT_LINK)
    if ticket is None:
        raise Problem("not_found", "this page is opened by a connect link", hint="open your link again")
    link = await services.links.peek(ticket, now)
    login = await login_of(request)
    if login is not None and (login.tenant_id, login.identity_id) != (link.tenant_id, link.identity_id):
        # Whoever sends their own link to somebody else would get that person's account connected to themselves.
        told = f"this link connects an account for {link.identifier}, and you are signed in as {login.identifier}"
        raise Problem("forbidden", told, hint="do not use a link that was made for somebody else", fix="user")
    asker = asker_of(link)
    assert link.connection_name is not None  # noqa: S101 - a connect link has one
    offer = await services.offers.offer(asker, link.connection_name, now)
    return Page(asker, link.tenant_name, link.identifier, offer, LINK_PAGE, link.csrf, login, link)


async def here(request: Request, tenant: str, connection_name: str) -> Login | None:
    """Who is signed in to this tenant. What the address names is looked up for nobody else. Raises Problem `not_found`,
    `forbidden`."""
    if TENANT_NAME.fullmatch(tenant) is None or CONNECTION_NAME.fullmatch(connection_name) is None:
        raise Problem("not_found", "there is nothing at this address")
    login = await login_of(request)
    if login is not None and login.tenant_name != tenant:
        told = f"you are signed in to {login.tenant_name}, and this page belongs to {tenant}"
        raise Problem("forbidden", told, hint="sign out, then sign in there", fix="user")
    return login


async def by_login(request: Request, login: Login, connection_name: str) -> Page:
    """The page of whoever is signed in. Raises Problem `unknown_connection`, `forbidden`."""
    services = services_of(request)
    asker = Asker(login.token, login.client)
    offer = await services.offers.offer(asker, connection_name, services.clock.now())
    action = f"/connect/{login.tenant_name}/{connection_name}"
    return Page(asker, login.tenant_name, login.identifier, offer, action, login.csrf, login, None)


async def _deposit(request: Request, page: Page, fields: Mapping[str, str], put: Put) -> tuple[Response, bool]:
    """Deposits and shows what came of it; whether it was kept."""
    kind = fields.get("kind")
    try:
        credential = credential_of(page.offer, fields)
        account, review = await put(credential)
    except Problem as problem:
        if problem.kind.status == 401 or problem.code == "not_found":
            raise
        shown = failures(problem, page.offer)
        return show(request, page, kind, filled(page.offer, fields), shown, problem), False
    response = render(request, "connected.html", page=page, login=page.login, account=account, review=review)
    return response, True


def show(
    request: Request,
    page: Page,
    kind: str | None,
    values: Filled | None = None,
    errors: Shown | None = None,
    problem: Problem | None = None,
) -> Response:
    """The form, with what is wrong where something is."""
    kinds = page.offer.kinds
    chosen = next((k for k in kinds if k.name == kind), kinds[0])
    return render(
        request,
        "connect.html",
        status=200 if problem is None else problem.kind.status,
        page=page,
        login=page.login,
        chosen=chosen,
        values=values or {},
        errors=errors or Shown((), {}),
        problem=problem,
    )

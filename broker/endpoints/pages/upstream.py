"""Connecting an account by signing in to its MCP server: out to its authorization server, and back.

Nobody is sent anywhere by a redirect: the page before says which host it is that asks, and the person goes there. The
answer is taken from the browser that left alone (`cookies.UPSTREAM`), at the address that its authorization server was
given alone, and only while the same person, or the same connect link, stands before us.
"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request
from starlette.responses import JSONResponse, Response

from broker.accounts.upstream_oauth.redirects import CALLBACK, DOCUMENT, DOCUMENT_CALLBACK
from broker.accounts.upstream_oauth.sign_ins import Back
from broker.domain import Connection
from broker.endpoints.pages import cookies
from broker.endpoints.pages.connect import LINK_PAGE, ConnectionName, Page, TenantName, by_link, by_login, here
from broker.endpoints.pages.forms import read_form
from broker.endpoints.pages.route import login_of
from broker.endpoints.pages.route import router as pages
from broker.endpoints.pages.view import render
from broker.endpoints.rest.deps import services_of
from broker.errors import Problem

router = pages()

MAX_TEXT = 4_000
Text = Annotated[str | None, Query(max_length=MAX_TEXT)]
_SEPARATOR = "~"


@router.get(DOCUMENT)
async def client_document(request: Request, issuer_id: str) -> Response:
    """Our client id metadata document for an authorization server that takes one."""
    redirects = services_of(request).upstream_sign_ins.clients.redirects
    return JSONResponse(redirects.published(issuer_id), headers={"Cache-Control": "public, max-age=3600"})


@router.post(LINK_PAGE + "/sign_in")
async def leave_by_link(request: Request) -> Response:
    """Prepares a sign-in for the link's identity. Uses nothing of the link up."""
    page = await by_link(request)
    await read_form(request, page.csrf)
    ticket = cookies.read(request, cookies.CONNECT_LINK)
    return await _leave(request, page, f"{_SEPARATOR}{ticket}")


@router.post("/connect/{tenant}/{connection_name}/sign_in")
async def leave_by_login(request: Request, tenant: TenantName, connection_name: ConnectionName) -> Response:
    """Prepares a sign-in for whoever is signed in here."""
    login = await here(request, tenant, connection_name)
    if login is None:
        raise Problem("unauthenticated", "you are not signed in any more", hint="sign in and start again")
    await read_form(request, login.csrf)
    return await _leave(request, await by_login(request, login, connection_name), "")


@router.get(CALLBACK)
@router.get(DOCUMENT_CALLBACK)
async def back(
    request: Request,
    issuer_id: str,  # noqa: ARG001 - the whole path is compared
    state: Annotated[str, Query(max_length=100)] = "",
    code: Text = None,
    iss: Text = None,
    error: Text = None,
) -> Response:
    """Takes the answer of an authorization server, once, and connects the account."""
    services = services_of(request)
    browser, _, ticket = (cookies.read(request, cookies.UPSTREAM) or "").partition(_SEPARATOR)
    found = await services.upstream_sign_ins.take(state, browser, request.url.path)
    page = await _whose(request, found, ticket)
    connection = await _connection(request, page, found.connection_name)
    tokens = await services.upstream_sign_ins.redeem(found, connection, iss=iss, code=code, error=error)
    try:
        account, review = await _deposit(request, page, {"kind": "oauth", "token": tokens})
    except BaseException:
        await services.upstream_sign_ins.return_unused(found, tokens)
        raise
    await services.renewals.kept(found.tenant_id, UUID(account["id"]), tokens)
    response = render(request, "connected.html", page=page, login=page.login, account=account, review=review)
    cookies.drop(request, response, cookies.UPSTREAM)
    if page.link is not None:
        cookies.drop(request, response, cookies.CONNECT_LINK)
    return response


async def _leave(request: Request, page: Page, ticket: str) -> Response:
    services = services_of(request)
    resolved = await services.offers.caller(
        page.asker, services.clock.now(), connection_name=page.offer.connection_name
    )
    connection = next(c for c in resolved.connections if c.name == page.offer.connection_name)
    link_id = None if page.link is None else page.link.id
    leaving = await services.upstream_sign_ins.begin(resolved.caller, connection, link_id)
    response = render(request, "leaving.html", page=page, login=page.login, leaving=leaving)
    cookies.put(request, response, cookies.UPSTREAM, leaving.browser + ticket, leaving.expires_at)
    return response


async def _whose(request: Request, found: Back, ticket: str) -> Page:
    """The page of whoever the sign-in is for, if that is who stands here. Raises Problem `forbidden`, `not_found`,
    `unauthenticated`."""
    if found.link_id is not None:
        page = await by_link(request, ticket or None)
        stands = page.link is not None and page.link.id == found.link_id
        if not stands or page.link is None or page.link.identity_id != found.identity_id:
            raise _another()
        return page
    login = await login_of(request)
    if login is None:
        raise Problem("unauthenticated", "you are not signed in any more", hint="sign in and connect again")
    if (login.tenant_id, login.identity_id) != (found.tenant_id, found.identity_id):
        raise _another()
    return await by_login(request, login, found.connection_name)


async def _connection(request: Request, page: Page, name: str) -> Connection:
    services = services_of(request)
    resolved = await services.offers.caller(page.asker, services.clock.now(), connection_name=name)
    connection = next((c for c in resolved.connections if c.name == name), None)
    if connection is None:
        raise Problem("unknown_connection", f"there is no connection {name!r} here any more")
    return connection


async def _deposit(request: Request, page: Page, credential: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    services = services_of(request)
    if page.link is not None:
        return await services.links.deposit(page.link, credential)
    name, now = page.offer.connection_name, services.clock.now()
    resolved = await services.offers.caller(page.asker, now)
    account = await services.accounts.put(
        resolved.caller,
        connection_name=name,
        identifier=page.identifier,
        shared=False,
        label=None,
        credential=credential,
        replace=False,
    )
    return account, await services.offers.review(page.asker, name, account["id"], services.clock.now())


def _another() -> Problem:
    return Problem("forbidden", "somebody else left for this sign-in", hint="start it yourself", fix="user")

"""Signing in by the organisation's own provider. Opening a page here changes nothing but this browser's cookie, until
the provider sends the browser back to `/t/TENANT/signin/callback` with what only this browser waits for."""

from typing import Annotated, Final
from urllib.parse import parse_qsl

from fastapi import Path, Request
from starlette.responses import RedirectResponse, Response

from broker.endpoints.pages import cookies
from broker.endpoints.pages.route import login_of
from broker.endpoints.pages.route import router as pages
from broker.endpoints.pages.signin import address, remember_return, signed_in
from broker.endpoints.pages.view import render
from broker.endpoints.pages.ways import way_to
from broker.endpoints.rest.deps import services_of
from broker.errors import Problem, invalid
from broker.identity.oidc.room import source_of

router = pages()
TenantName = Annotated[str, Path(max_length=63)]
MAX_QUERY: Final = 8192
MAX_FIELDS: Final = 20


@router.get("/t/{tenant}/signin")
async def page(request: Request, tenant: TenantName, return_to: str | None = None) -> Response:
    """The ways to sign in to one organisation."""
    way = await way_to(request, tenant)
    if way is None:
        told = "there is no such organisation here, or it has not set up signing in with its own accounts"
        raise Problem("not_found", told, hint="check the name, or ask your admin for a sign-in link", fix="user")
    response = render(request, "signin.html", login=await login_of(request), wanted=None, way=way)
    remember_return(request, response, return_to)
    return response


@router.get("/t/{tenant}/signin/start")
async def start(request: Request, tenant: TenantName) -> Response:
    """On to the provider. Only from a page of ours, or typed: another site must not begin what people then believe to
    have begun themselves."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return RedirectResponse(f"/t/{tenant}/signin", 303)
    services = services_of(request)
    started = await services.oidc.begin(tenant, services.clock.now(), source_of(address(request)))
    response = RedirectResponse(started.location, 303)
    cookies.put(request, response, cookies.OIDC, started.cookie, started.until)
    return response


@router.get("/t/{tenant}/signin/callback")
async def callback(request: Request, tenant: TenantName) -> Response:
    """The provider's answer. Whoever was signed in with this browser before is signed out."""
    services = services_of(request)
    now = services.clock.now()
    answer = _answer(request.url.query)
    before = await login_of(request)
    cookie, source = cookies.read(request, cookies.OIDC), source_of(address(request))
    login = await services.oidc.finish(tenant, cookie, answer, now, source)
    if before is not None:
        await services.logins.end(before, now)
    response = signed_in(request, login)
    cookies.drop(request, response, cookies.OIDC)
    return response


def _answer(query: str) -> dict[str, str]:
    """The answer's parameters, each once. Raises Problem `invalid_input`."""
    if len(query) > MAX_QUERY:
        raise invalid("query", "is too long for an answer of a sign-in provider")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise invalid("query", "is not an answer of a sign-in provider") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise invalid("query", "names a parameter twice")
    return fields

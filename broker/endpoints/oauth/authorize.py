"""The authorization endpoint: sign in, then a page that says who asks, where the answer goes, and what it would allow.

Nothing is agreed to without that page: a client that anybody can pass for (all of ours are public) would get a person's
authority by a link alone. The page's form carries the request as it was asked, and the answer judges all of it anew.
"""

from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Path, Request
from starlette.responses import RedirectResponse, Response

from broker.accounts.offers import Asker
from broker.domain import Access
from broker.endpoints.pages.forms import read_form
from broker.endpoints.pages.hardening import harden
from broker.endpoints.pages.route import login_of
from broker.endpoints.pages.route import router as pages
from broker.endpoints.pages.signin import remember_return
from broker.endpoints.pages.view import render
from broker.endpoints.pages.ways import way_to
from broker.endpoints.rest.deps import services_of
from broker.errors import Problem
from broker.identity.logins import Login
from broker.identity.names import TENANT_NAME
from broker.identity.oauth import redirects
from broker.identity.oauth.asking import Asking, Astray, fields_of, read_asking
from broker.identity.oauth.choices import FEW, MOST, accesses, read_choice
from broker.identity.oauth.metadata import is_document
from broker.identity.oauth.resources import issuer_of

router = pages()
TenantName = Annotated[str, Path(max_length=63)]
MOST_FIELDS: Final = MOST + 6

ONWARD: Final = "https: http://127.0.0.1:* http://localhost:* cursor: vscode: vscode-insiders:"
"""Where a program's own page may send the person on to. Chromium holds every redirect after a form to the policy of the
form's page, also those that the program answers with: it would leave the person on this page, as if nothing had
happened. What the form holds, a decision and our token against forgery, is of use to nobody else."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What the page shows. `connections` are those the person has a grant on and may choose among: none where they are
    `too_many`, `many` where one choice stands for the rest; `accesses` what the program may do there at most."""

    asking: Asking
    action: str
    request: str
    where: redirects.Shown
    known_by: str
    connections: tuple[str, ...]
    too_many: bool
    accesses: tuple[Access, ...]

    @property
    def many(self) -> bool:
        """Whether one choice stands for the connections that none is made for."""
        return len(self.connections) > FEW


@router.get("/t/{tenant}/oauth/authorize")
async def authorize(request: Request, tenant: TenantName) -> Response:
    """Asks the person."""
    login = await _here(request, tenant)
    query = request.url.query
    if login is None:
        fields_of(query)
        way = await way_to(request, tenant)
        response = render(request, "signin.html", status=401, wanted="use your tools from an editor", way=way)
        remember_return(request, response, f"{request.url.path}?{query}")
        return response
    try:
        asking = await _asking(request, login, query)
    except Astray as astray:
        return _astray(request, tenant, astray)
    connections, too_many = await _choosable(request, login, asking)
    consent = Consent(
        asking=asking,
        action=request.url.path,
        request=query,
        where=redirects.shown(asking.redirect_uri),
        known_by=_known_by(asking),
        connections=connections,
        too_many=too_many,
        accesses=accesses(asking.access),
    )
    response = render(request, "consent.html", login=login, consent=consent)
    return harden(response, forms=f"'self' {consent.where.source} {ONWARD}")


@router.post("/t/{tenant}/oauth/authorize")
async def agree(request: Request, tenant: TenantName) -> Response:
    """What the person decided."""
    login = await _here(request, tenant)
    if login is None:
        raise Problem("unauthenticated", "you are not signed in any more", hint="start again from your editor")
    fields = await read_form(request, login.csrf, most=MOST_FIELDS)
    try:
        asking = await _asking(request, login, fields.get("request", ""))
    except Astray as astray:
        return _astray(request, tenant, astray)
    if fields.get("decision") != "allow":
        return _answer(request, tenant, asking, {"error": "access_denied"})
    choice = read_choice(asking, (await _choosable(request, login, asking))[0], fields)
    services = services_of(request)
    code = await services.oauth.codes.issue(login, asking, choice, now=services.clock.now())
    return _answer(request, tenant, asking, {"code": code})


async def _here(request: Request, tenant: str) -> Login | None:
    """Who is signed in to this tenant. Raises Problem `not_found`, `forbidden`."""
    if TENANT_NAME.fullmatch(tenant) is None:
        raise Problem("not_found", "there is nothing at this address")
    login = await login_of(request)
    if login is not None and login.tenant_name != tenant:
        told = f"you are signed in to {login.tenant_name}, and this sign-in is for {tenant}"
        raise Problem("forbidden", told, hint="sign out, then start again from your editor", fix="user")
    return login


async def _asking(request: Request, login: Login, query: str) -> Asking:
    """The request, judged. Only for somebody who is signed in: looking a client up may fetch its document."""
    services = services_of(request)
    fields = fields_of(query)
    client = await services.oauth.clients.find(login.tenant_id, fields.get("client_id"), services.clock.now())
    return read_asking(client, fields, services.base_url, login.tenant_name)


async def _choosable(request: Request, login: Login, asking: Asking) -> tuple[tuple[str, ...], bool]:
    """The connections that may be chosen among, and whether there are none of them for being too many."""
    if asking.resource.connection is not None:
        return (), False
    services = services_of(request)
    resolved = await services.offers.caller(Asker(login.token, login.client), services.clock.now())
    found = tuple(await services.authenticator.usable_connections(resolved.caller, MOST + 1))
    return ((), True) if len(found) > MOST else (found, False)


def _known_by(asking: Asking) -> str:
    """How far the client's name can be believed."""
    client = asking.client
    if client.source == "admin":
        return "Registered by your admin."
    if is_document(client.client_id):
        return f"Described by {urlsplit(client.client_id).netloc}."
    return "It registered itself: anybody could have given it this name."


def _astray(request: Request, tenant: str, astray: Astray) -> Response:
    if astray.stranger:
        raise Problem("invalid_input", f"the program's request is wrong: {astray.description}", fix="user")
    answer = {"error": astray.error, "error_description": astray.description, "state": astray.client_state}
    return _redirect(request, tenant, astray.redirect_uri, answer)


def _answer(request: Request, tenant: str, asking: Asking, answer: dict[str, str]) -> Response:
    return _redirect(request, tenant, asking.redirect_uri, {**answer, "state": asking.state})


def _redirect(request: Request, tenant: str, uri: str, answer: dict[str, str | None]) -> Response:
    """To the client, with our name in the answer, so that it is taken for no other server's (RFC 9207)."""
    issuer = issuer_of(services_of(request).base_url, tenant)
    return RedirectResponse(redirects.with_answer(uri, {**answer, "iss": issuer}), 303)

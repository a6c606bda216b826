"""What handlers are handed: the services of this process, and the authenticated caller."""

from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from broker.domain import Caller
from broker.errors import Problem, invalid
from broker.identity.authenticate import Asked, parse_bearer

if TYPE_CHECKING:
    from broker.services import Services
else:
    Services = object

TENANT_HEADER = "x-keyreeve-tenant"


def bounded(request: Request, name: str, limit: int = 200) -> str | None:
    """A header's value, or None; longer than `limit` or unprintable is refused."""
    value = request.headers.get(name)
    if value is None or value == "":
        return None
    if len(value) > limit or not value.isprintable():
        raise invalid(name, f"must be printable and at most {limit} characters")
    return value


def services_of(request: Request) -> "Services":
    """The composition root's services."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated["Services", Depends(services_of)]


def asked_of(request: Request, *, connection: str | None, identifier: str | None = None) -> Asked:
    """What the request's headers say about who asks."""
    return Asked(
        tenant=bounded(request, TENANT_HEADER, 63),
        identifier=identifier,
        connection=connection,
        client=bounded(request, "user-agent", 300),
    )


async def caller_of(request: Request) -> Caller:
    """Who calls, without any identity acted for. Raises Problem `unauthenticated` and its kin."""
    services = services_of(request)
    try:
        token = parse_bearer(request.headers.get("authorization"))
        resolved = await services.authenticator.resolve(token, asked_of(request, connection=""), services.clock.now())
    except Problem as problem:
        if problem.kind.status == 401:
            services.metrics.auth_failed(problem.code)
        raise
    return resolved.caller


CallerDep = Annotated[Caller, Depends(caller_of)]

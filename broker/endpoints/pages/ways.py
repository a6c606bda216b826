"""Which way to sign in a page offers besides links: the provider of the organisation it is for."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from broker.endpoints.rest.deps import services_of
from broker.identity.names import TENANT_NAME

HOME: Final = "default"
"""The tenant of pages that are no tenant's own. The others' names are shown to nobody who does not give them."""


@dataclass(frozen=True, slots=True)
class Way:
    """A button: to whom it leads, and where it points."""

    host: str
    path: str


async def way_to(request: Request, tenant: str = HOME) -> Way | None:
    """The way to sign in to `tenant` by its own provider, if it has set one."""
    if TENANT_NAME.fullmatch(tenant) is None:
        return None
    provider = await services_of(request).oidc.offered(tenant)
    return None if provider is None else Way(provider.host, f"/t/{tenant}/signin/start")

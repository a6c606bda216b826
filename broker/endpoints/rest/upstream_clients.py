"""The OAuth client of a connection to an MCP server, where its authorization server takes no registrations."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.connections import Name
from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.problems import documented

router = APIRouter(tags=["connections"])


class UpstreamClientIn(BaseModel):
    """What an admin registered there. `issuer` is the authorization server's, letter by letter: the secret goes to it
    and to no other."""

    model_config = ConfigDict(extra="forbid")

    issuer: Annotated[str, Field(max_length=2000)]
    client_id: Annotated[str, Field(max_length=500)]
    client_secret: str | None = Field(default=None, max_length=2000, repr=False)
    method: Literal["client_secret_basic", "client_secret_post", "none"] | None = None


class UpstreamClientOut(BaseModel):
    """The client, without its secret, and the redirect to register for it."""

    issuer: str
    client_id: str
    redirect_uri: str


class UpstreamRegistration(BaseModel):
    """What to register a client with: at `issuer`, with `redirect_uri`, which is for that issuer alone. `client_id` is
    of the client that is set, null where none is."""

    issuer: str
    client_id: str | None
    redirect_uri: str


class UpstreamClientGone(BaseModel):
    """When it was forgotten."""

    removed_at: datetime


@router.get(
    "/v1/connections/{name}/oauth_client",
    response_model=UpstreamRegistration,
    responses=documented("unknown_connection", "egress_refused", "upstream_unreachable", "upstream_timeout"),
)
async def get_upstream_client(name: Name, caller: CallerDep, services: ServicesDep) -> Any:
    """What an admin needs to register a client for the connection's server. Where none is set, the server is asked
    which its authorization server is."""
    return await services.upstream_sign_ins.registration(caller, name)


@router.put(
    "/v1/connections/{name}/oauth_client",
    response_model=UpstreamClientOut,
    responses=documented("unknown_connection"),
)
async def put_upstream_client(name: Name, body: UpstreamClientIn, caller: CallerDep, services: ServicesDep) -> Any:
    """Sets the client by which people sign in to the connection's server. Its secret is sealed."""
    return await services.upstream_sign_ins.clients.preregister(caller, name, body.model_dump())


@router.delete(
    "/v1/connections/{name}/oauth_client",
    response_model=UpstreamClientGone,
    responses=documented("unknown_connection"),
)
async def delete_upstream_client(name: Name, caller: CallerDep, services: ServicesDep) -> Any:
    """Forgets it. Accounts that were connected by it stay."""
    await services.upstream_sign_ins.clients.remove(caller, name)
    return {"removed_at": services.clock.now()}

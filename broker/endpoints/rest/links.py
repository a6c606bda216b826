"""One-time links over REST: to connect an account on a page, and to sign a person in."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.paging import Line
from broker.endpoints.rest.problems import documented

router = APIRouter(tags=["links"])


class NewConnectLink(BaseModel):
    """Whose account it is to be, and on which connection."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"connection_name": "cloudflare", "identifier": "priya@acme.example"}},
    )

    connection_name: Line = Field(min_length=1, max_length=24)
    identifier: Line | None = Field(None, min_length=1, max_length=200, description="Required unless a session asks.")


class NewSignInLink(BaseModel):
    """Who is to be signed in."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"identifier": "priya@acme.example"}})

    identifier: Line = Field(min_length=1, max_length=200)


class MadeLink(BaseModel):
    """A link, shown this once: give it to the person it is for, and to nobody else."""

    url: str
    expires_at: datetime


@router.post(
    "/v1/connect_links",
    status_code=201,
    response_model=MadeLink,
    responses=documented("unknown_connection", "unknown_identity", "identity_disabled"),
)
async def create_connect_link(body: NewConnectLink, caller: CallerDep, services: ServicesDep) -> Any:
    """Makes the address of a page on which one identity deposits its own credential, once, within 15 minutes."""
    return await services.links.create(caller, connection_name=body.connection_name, identifier=body.identifier)


@router.post(
    "/v1/sign_in_links",
    status_code=201,
    response_model=MadeLink,
    responses=documented("unknown_identity", "identity_disabled"),
)
async def create_sign_in_link(body: NewSignInLink, caller: CallerDep, services: ServicesDep) -> Any:
    """Makes the address of a page that signs one identity in, once, within 10 minutes. Audited as impersonation."""
    return await services.sign_in.create(caller, body.identifier)

"""The clients of a tenant's authorization server, for its admins."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.paging import Line, PageDep, PageOf
from broker.endpoints.rest.problems import documented

router = APIRouter(tags=["oauth"])


class NewClient(BaseModel):
    """An editor or other program that people may sign in with. It is public: PKCE proves it, not a secret."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "client_id": "cursor",
                "name": "Cursor",
                "redirect_uris": ["http://localhost:8787/callback", "cursor://anysphere.cursor-mcp/oauth/callback"],
            }
        },
    )

    client_id: Line = Field(min_length=1, max_length=64)
    name: Line = Field(min_length=1, max_length=100)
    redirect_uris: list[Line] = Field(
        min_length=1, max_length=20, description="Compared as strings; a loopback address's port may differ."
    )


class ClientOut(BaseModel):
    """A client. `source`: `admin`, `dynamic` (it registered itself) or `document` (its id is an address)."""

    client_id: str
    source: str
    name: str
    redirect_uris: list[str]
    made_by: str
    created_at: datetime
    last_used_at: datetime | None


class DeletedClient(BaseModel):
    """What ended with it."""

    revoked_at: datetime
    in_flight: list[str]
    signed_out: int


@router.post(
    "/v1/oauth_clients",
    status_code=201,
    response_model=ClientOut,
    responses=documented("already_exists"),
)
async def create(body: NewClient, caller: CallerDep, services: ServicesDep) -> Any:
    """Registers a client."""
    return await services.oauth.clients.create(
        caller, client_id=body.client_id, name=body.name, redirect_uris=body.redirect_uris
    )


@router.get("/v1/oauth_clients", response_model=PageOf[ClientOut], responses=documented("invalid_input"))
async def list_(page: PageDep, caller: CallerDep, services: ServicesDep) -> Any:
    """Every client, also those that registered themselves, oldest first."""
    return (await services.oauth.clients.list(caller, page)).wire()


@router.delete("/v1/oauth_clients/{client_id:path}", response_model=DeletedClient, responses=documented("not_found"))
async def delete(client_id: str, caller: CallerDep, services: ServicesDep) -> Any:
    """Deletes a client and ends every sign-in with it."""
    return await services.oauth.clients.delete(caller, client_id)

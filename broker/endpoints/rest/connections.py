"""Connectors and connections over REST."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.paging import Line, PageDep, PageOf
from broker.endpoints.rest.problems import documented

router = APIRouter(tags=["connections"])

Name = Annotated[str, Path(min_length=1, max_length=24, examples=["cloudflare"])]


class NewConnection(BaseModel):
    """A connection to make."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "cloudflare",
                "connector": "cloudflare",
                "config": {},
                "default_grant": "read",
            }
        },
    )

    name: str = Field(min_length=1, max_length=24, description="`^[a-z][a-z0-9-]{0,23}$`; tool names begin with it.")
    connector: str = Field(min_length=1, max_length=60)
    config: dict[str, Any] = Field(default_factory=dict, description="After the connector; see `GET /v1/connectors`.")
    default_grant: Literal["read"] | None = Field(None, description="Also grants everyone read access.")


class ConnectionChange(BaseModel):
    """A connection's new configuration, whole. `version` is the one it was read at."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"config": {}, "version": 1}})

    config: dict[str, Any]
    version: int | None = Field(None, ge=1, le=2**31 - 1)


class Accepted(BaseModel):
    """The description that was reviewed."""

    model_config = ConfigDict(extra="forbid")

    digest: Line = Field(min_length=64, max_length=64)


class PinnedSpec(BaseModel):
    """The description pinned for a connection."""

    digest: str
    source: str
    operations: int
    fetched_at: datetime


class ConnectionOut(BaseModel):
    """A connection's metadata. It holds no credential."""

    id: str
    name: str
    connector: str
    config: dict[str, Any]
    origins: list[str]
    spec: PinnedSpec | None
    pending_spec: dict[str, Any] | None
    status: str
    version: int
    created_at: datetime


class Revoked(BaseModel):
    """When it took effect, and the executions that were open then."""

    revoked_at: datetime
    in_flight: list[str]


class SpecRefresh(BaseModel):
    """What a refreshed description would change, and whether it is pinned already or waits for acceptance."""

    digest: str
    applied: bool
    pending: bool
    report: dict[str, Any]


@router.get("/v1/connectors", response_model=PageOf[dict[str, Any]], responses=documented())
async def list_connectors(_: CallerDep, services: ServicesDep) -> Any:
    """The connectors of this installation: credential kinds, permissions they need, budgets."""
    return {"items": services.connections.catalogue(), "next_page_token": None}


@router.post(
    "/v1/connections",
    status_code=201,
    response_model=ConnectionOut,
    responses=documented("already_exists", "egress_refused", "upstream_unreachable"),
)
async def create_connection(body: NewConnection, caller: CallerDep, services: ServicesDep) -> Any:
    """Makes a connection and pins its description."""
    return await services.connections.create(
        caller, name=body.name, connector=body.connector, config=body.config, default_grant=body.default_grant
    )


@router.get("/v1/connections", response_model=PageOf[ConnectionOut], responses=documented())
async def list_connections(caller: CallerDep, services: ServicesDep, page: PageDep) -> Any:
    """The tenant's connections."""
    return (await services.connections.list(caller, page)).wire()


@router.get("/v1/connections/{name}", response_model=ConnectionOut, responses=documented("unknown_connection"))
async def get_connection(name: Name, caller: CallerDep, services: ServicesDep) -> Any:
    """One connection."""
    return await services.connections.get(caller, name)


@router.patch(
    "/v1/connections/{name}",
    response_model=ConnectionOut,
    responses=documented("unknown_connection", "version_conflict", "egress_refused", "upstream_unreachable"),
)
async def change_connection(name: Name, body: ConnectionChange, caller: CallerDep, services: ServicesDep) -> Any:
    """Replaces the configuration. A changed origin makes the connection's accounts `needs_reauth`."""
    return await services.connections.change(caller, name, config=body.config, version=body.version)


@router.delete("/v1/connections/{name}", response_model=Revoked, responses=documented("unknown_connection"))
async def delete_connection(
    name: Name,
    caller: CallerDep,
    services: ServicesDep,
    reason: Annotated[Line, Query(max_length=300)] = "deleted",
) -> Any:
    """Removes a connection and revokes its accounts."""
    return await services.connections.delete(caller, name, reason)


@router.post(
    "/v1/connections/{name}:refresh",
    response_model=SpecRefresh,
    responses=documented("unknown_connection", "upstream_unreachable", "egress_refused", "version_conflict"),
)
async def refresh_connection(name: Name, caller: CallerDep, services: ServicesDep) -> Any:
    """Fetches the description again and reports what changed."""
    return (await services.connections.refresh(caller, name)).wire()


@router.post(
    "/v1/connections/{name}:accept",
    response_model=ConnectionOut,
    responses=documented("unknown_connection", "version_conflict"),
)
async def accept_spec(name: Name, body: Accepted, caller: CallerDep, services: ServicesDep) -> Any:
    """Pins the refreshed description that waits for acceptance."""
    return await services.connections.accept(caller, name, body.digest)

"""Grants over REST."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.paging import PageDep, PageOf, Time
from broker.endpoints.rest.problems import documented
from broker.policy.spec import GrantSpec

router = APIRouter(tags=["grants"])

GrantId = Annotated[str, Path(min_length=1, max_length=36)]
Access = Literal["read", "write", "destructive"]
Tool = Annotated[str, Field(min_length=1, max_length=60)]
Operation = Annotated[str, Field(min_length=1, max_length=300)]
ResourceId = Annotated[str, Field(min_length=1, max_length=64)]


class Subject(BaseModel):
    """To whom: exactly one of the three."""

    model_config = ConfigDict(extra="forbid")

    identifier: str | None = Field(None, min_length=1, max_length=200)
    group: str | None = Field(None, min_length=1, max_length=100)
    everyone: Literal[True] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Subject":
        if (self.identifier, self.group, self.everyone).count(None) != 2:
            raise ValueError("must hold exactly one of identifier, group and everyone: true")
        return self


class GrantResources(BaseModel):
    """The accounts and zones it is limited to. A list that is left out has no limit, an empty one covers
    nothing."""

    model_config = ConfigDict(extra="forbid")

    accounts: list[ResourceId] | None = Field(None, max_length=200)
    zones: list[ResourceId] | None = Field(None, max_length=200)


class NewGrant(BaseModel):
    """Authority to give. A list that is left out means all, an empty one none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "subject": {"group": "dns-team"},
                "connection_name": "cloudflare",
                "tools": ["cloudflare_call"],
                "access": "write",
                "operations": ["* /zones/*/dns_records/**"],
                "resources": {"zones": ["023e105f4ecef8ad9ca31a8372d0c353"]},
            }
        },
    )

    subject: Subject
    connection_name: str = Field(min_length=1, max_length=24)
    tools: list[Tool] | None = Field(None, max_length=200, description="Full names; `*` stands for any characters.")
    access: Access
    operations: list[Operation] | None = Field(
        None,
        max_length=200,
        description="Operation ids or `METHOD /template`, with `*` for a segment and `**` for any.",
    )
    resources: GrantResources | None = None
    account: Literal["own", "shared"] = Field("own", description="Whose credential: the identity's, or the shared one.")
    expires_at: Time | None = None


class GrantOut(BaseModel):
    """A grant."""

    id: str
    subject: dict[str, Any]
    connection_name: str
    tools: list[str] | None
    access: str
    operations: list[str] | None
    resources: dict[str, list[str] | None] | None
    account: str
    expires_at: datetime | None
    created_by: str
    created_at: datetime


class DeletedGrant(BaseModel):
    """When it took effect, and the executions open then of those whom the grant could serve."""

    revoked_at: datetime
    in_flight: list[str]


@router.post(
    "/v1/grants",
    status_code=201,
    response_model=GrantOut,
    responses=documented("unknown_connection", "unknown_identity"),
)
async def create_grant(body: NewGrant, caller: CallerDep, services: ServicesDep) -> Any:
    """Gives authority, from the very next call on."""
    limits = body.resources or GrantResources(accounts=None, zones=None)
    spec = GrantSpec(
        connection_name=body.connection_name,
        access=body.access,
        identifier=body.subject.identifier,
        group=body.subject.group,
        everyone=body.subject.everyone is True,
        tools=body.tools,
        operations=body.operations,
        accounts=limits.accounts,
        zones=limits.zones,
        account=body.account,
        expires_at=body.expires_at,
    )
    return await services.grants.create(caller, spec)


@router.get("/v1/grants", response_model=PageOf[GrantOut], responses=documented())
async def list_grants(
    caller: CallerDep,
    services: ServicesDep,
    page: PageDep,
    connection_name: Annotated[str | None, Query(min_length=1, max_length=24)] = None,
    identifier: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    group: Annotated[str | None, Query(min_length=1, max_length=100)] = None,
) -> Any:
    """The tenant's grants, oldest first."""
    found = await services.grants.list(
        caller, page, connection_name=connection_name, identifier=identifier, group=group
    )
    return found.wire()


@router.delete("/v1/grants/{grant_id}", response_model=DeletedGrant, responses=documented())
async def delete_grant(grant_id: GrantId, caller: CallerDep, services: ServicesDep) -> Any:
    """Takes authority away."""
    return await services.grants.delete(caller, grant_id)

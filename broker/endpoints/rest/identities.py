"""Identities over REST, and their offboarding."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.paging import PageDep, PageOf
from broker.endpoints.rest.problems import documented

router = APIRouter(tags=["identities"])

Identifier = Annotated[str, Path(min_length=1, max_length=200, examples=["priya@acme.example"])]
Group = Annotated[str, Field(min_length=1, max_length=100)]


class NewIdentity(BaseModel):
    """A user or service principal, by the tenant's own name for it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "identifier": "priya@acme.example",
                "email": "priya@acme.example",
                "display_name": "Priya",
                "groups": ["dns-team"],
            }
        },
    )

    identifier: str = Field(min_length=1, max_length=200, description="Printable, without spaces; never changes.")
    email: str | None = Field(None, min_length=3, max_length=254)
    display_name: str | None = Field(None, min_length=1, max_length=200)
    groups: list[Group] = Field(default_factory=list, max_length=100)


class IdentityChange(BaseModel):
    """What to change; what is left out stays. `version` is the one it was read at."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"groups": ["dns-team"], "version": 1}})

    email: str | None = Field(None, min_length=3, max_length=254)
    display_name: str | None = Field(None, min_length=1, max_length=200)
    groups: list[Group] | None = Field(None, max_length=100)
    status: Literal["active"] | None = Field(
        None, description="`active` brings an offboarded identity back, without what it lost."
    )
    version: int | None = Field(None, ge=1, le=2**31 - 1)


class IdentityOut(BaseModel):
    """An identity."""

    id: str
    identifier: str
    email: str | None
    display_name: str | None
    groups: list[str]
    status: str
    disabled_at: datetime | None
    version: int
    created_at: datetime


UPSTREAM = (
    "Also give the tokens of sign-ins back to the servers that issued them (RFC 7009). Each account's `upstream` says "
    "what came of it: `deleted`, `failed`, `pending` (the audit's `account.given_back` will say), or `kept`: not asked "
    "for, or not possible. Other credentials are kept: delete them at the upstream."
)


class Offboard(BaseModel):
    """Why, and how long to wait for the calls in flight."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "left the company"}})

    reason: str = Field(min_length=1, max_length=300)
    revoke_upstream: bool = Field(default=False, description=UPSTREAM)
    drain_seconds: float = Field(10, ge=0, le=60, allow_inf_nan=False)


class OffboardedAccount(BaseModel):
    """A connected account that was revoked."""

    id: str
    connection_name: str
    revoked_at: datetime
    in_flight: list[str]
    drained: bool
    upstream: Literal["deleted", "kept", "pending", "failed"]


class Offboarded(BaseModel):
    """The proof: what was taken, and what was still running. `report_id` is the audit event."""

    identifier: str
    at: datetime
    report_id: str
    sessions: list[str]
    keys: list[str]
    connected_accounts: list[OffboardedAccount]
    in_flight: list[str]
    drained: bool


@router.post("/v1/identities", status_code=201, response_model=IdentityOut, responses=documented("already_exists"))
async def create_identity(body: NewIdentity, caller: CallerDep, services: ServicesDep) -> Any:
    """Makes an identity. It can do nothing until a grant says so."""
    return await services.identities.create(
        caller,
        identifier=body.identifier,
        email=body.email,
        display_name=body.display_name,
        groups=body.groups,
    )


@router.get("/v1/identities", response_model=PageOf[IdentityOut], responses=documented())
async def list_identities(
    caller: CallerDep,
    services: ServicesDep,
    page: PageDep,
    group: Annotated[str | None, Query(min_length=1, max_length=100)] = None,
    status: Literal["active", "disabled"] | None = None,
) -> Any:
    """The tenant's identities, oldest first."""
    return (await services.identities.list(caller, page, group=group, status=status)).wire()


@router.get("/v1/identities/{identifier:path}", response_model=IdentityOut, responses=documented("unknown_identity"))
async def get_identity(identifier: Identifier, caller: CallerDep, services: ServicesDep) -> Any:
    """One identity."""
    return await services.identities.get(caller, identifier)


@router.patch(
    "/v1/identities/{identifier:path}",
    response_model=IdentityOut,
    responses=documented("unknown_identity", "version_conflict"),
)
async def change_identity(
    identifier: Identifier, body: IdentityChange, caller: CallerDep, services: ServicesDep
) -> Any:
    """Changes an identity. Other groups count from the very next call on."""
    changes = {name: getattr(body, name) for name in body.model_fields_set - {"version"}}
    return await services.identities.change(caller, identifier, changes, body.version)


@router.post(
    "/v1/identities/{identifier:path}:offboard",
    response_model=Offboarded,
    responses=documented("unknown_identity"),
)
async def offboard_identity(identifier: Identifier, body: Offboard, caller: CallerDep, services: ServicesDep) -> Any:
    """Ends everything done in an identity's name, in one act, and answers what that was."""
    return await services.offboarding.offboard(
        caller,
        identifier,
        reason=body.reason,
        revoke_upstream=body.revoke_upstream,
        drain_seconds=body.drain_seconds,
    )

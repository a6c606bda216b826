"""Operator and agent keys over REST."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.paging import PageDep, PageOf, Time
from broker.endpoints.rest.problems import documented
from broker.identity.keys import KeySpec

router = APIRouter(tags=["keys"])

KeyId = Annotated[str, Path(min_length=1, max_length=36)]


class NewKey(BaseModel):
    """A key to mint. An operator key has a role; an agent key has identifiers."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"kind": "agent", "name": "ci agent", "identifiers": ["priya@acme.example"]}},
    )

    kind: Literal["operator", "agent"]
    name: str = Field(min_length=1, max_length=100)
    role: Literal["platform_admin", "admin", "auditor"] | None = Field(None, description="Operator keys.")
    identifiers: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        None, max_length=1000, description='Agent keys: the identities it may act for; `["*"]` for all.'
    )
    tenants: list[Annotated[str, Field(min_length=1, max_length=63)]] | None = Field(
        None, max_length=100, description="Agent keys of a platform admin: the tenants it may act in, and no other."
    )
    expires_at: Time | None = Field(None, description="At most the minting key's own; that where left out.")


class KeyOut(BaseModel):
    """A key's metadata."""

    id: str
    kind: str
    name: str
    role: str | None
    identifiers: list[str] | None
    tenants: list[str] | None
    minted_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class MadeKey(KeyOut):
    """A key with its text, shown this once."""

    key: str


class RevokedBearer(BaseModel):
    """When it took effect, the executions open then, and the keys and sessions that ended with it."""

    revoked_at: datetime
    in_flight: list[str]
    also_revoked: list[str]


@router.post("/v1/keys", status_code=201, response_model=MadeKey, responses=documented())
async def create_key(body: NewKey, caller: CallerDep, services: ServicesDep) -> Any:
    """Mints a key, within the authority and lifetime of the one that asks."""
    spec = KeySpec(body.kind, body.name, body.role, body.identifiers, body.tenants, body.expires_at)
    return await services.keys.create(caller, spec)


@router.get("/v1/keys", response_model=PageOf[KeyOut], responses=documented())
async def list_keys(
    caller: CallerDep, services: ServicesDep, page: PageDep, kind: Literal["operator", "agent"] | None = None
) -> Any:
    """The tenant's keys, oldest first, the revoked ones too."""
    return (await services.keys.list(caller, page, kind=kind)).wire()


@router.delete("/v1/keys/{key_id}", response_model=RevokedBearer, responses=documented())
async def revoke_key(
    key_id: KeyId,
    caller: CallerDep,
    services: ServicesDep,
    keep_minted: Annotated[
        bool, Query(description="Let the keys and sessions that it minted live on, to replace it without ending them.")
    ] = False,
) -> Any:
    """Revokes a key and everything minted from it."""
    return await services.keys.revoke(caller, key_id, keep_minted=keep_minted)

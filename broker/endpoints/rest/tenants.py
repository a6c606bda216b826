"""Tenants over REST: for platform admins alone."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.problems import documented

router = APIRouter(tags=["tenants"])


class NewTenant(BaseModel):
    """A tenant to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "acme"}})

    name: str = Field(min_length=1, max_length=63, description="`^[a-z][a-z0-9-]{0,62}$`; never changes.")


class TenantOut(BaseModel):
    """A tenant."""

    id: str
    name: str
    status: str
    created_at: datetime


class MadeTenant(BaseModel):
    """The tenant and its first admin's operator key, shown this once."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "tenant": {
                    "id": "0199aa00-0000-7000-8000-000000000001",
                    "name": "acme",
                    "status": "active",
                    "created_at": "2026-11-21T09:00:00Z",
                },
                "admin_key": "krv_op_…",
                "admin_key_id": "0199aa00-0000-7000-8000-000000000002",
            }
        }
    )

    tenant: TenantOut
    admin_key: str
    admin_key_id: str


@router.post("/v1/tenants", status_code=201, response_model=MadeTenant, responses=documented("already_exists"))
async def create_tenant(body: NewTenant, caller: CallerDep, services: ServicesDep) -> Any:
    """Makes a tenant with its own encryption keys. The admin key ends with the key that asked, unless that
    one is revoked with `keep_minted`."""
    return await services.tenants.create(caller, name=body.name)

"""Tenants over REST: for platform admins alone."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
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


class SandboxChange(BaseModel):
    """What the tenant's programs (Code Mode) are held to. What is left out stays; null is the installation's again."""

    model_config = ConfigDict(extra="forbid")

    isolate: bool | None = Field(None, description="Each run in a process of its own, ended after it.")
    cpu_ms: int | None = Field(None, description="Computing time of one run, in milliseconds.")
    wall_seconds: float | None = Field(None, allow_inf_nan=False, description="From a run's start to its end.")
    memory_mb: int | None = Field(None, description="What a run may allocate, in MiB.")
    host_calls: int | None = Field(None, description="Requests of one run.")
    output_bytes: int | None = Field(None, description="The longest result, as JSON.")
    runs_at_once: int | None = Field(None, description="Runs of the tenant at a time, in each serving process.")


class TenantChange(BaseModel):
    """What to change; what is left out stays. `version` is the one it was read at."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"sandbox": {"isolate": True, "cpu_ms": 500}, "version": 1}}
    )

    sandbox: SandboxChange | None = Field(None, description="null: everything is the installation's again.")
    version: int | None = Field(None, ge=1, le=2**31 - 1)


class SandboxOut(BaseModel):
    """What is in force: the smaller of the tenant's own and the installation's."""

    isolate: bool
    cpu_ms: int
    wall_seconds: float
    memory_mb: int
    host_calls: int
    output_bytes: int
    runs_at_once: int


class TenantDetail(TenantOut):
    """A tenant, with `sandbox`, what was set for it, and `sandbox_limits`, what is in force."""

    version: int
    sandbox: dict[str, Any]
    sandbox_limits: SandboxOut


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


TenantName = Annotated[str, Path(min_length=1, max_length=63, description="Its name or id.", examples=["acme"])]


@router.get("/v1/tenants/{tenant}", response_model=TenantDetail, responses=documented("not_found"))
async def get_tenant(tenant: TenantName, caller: CallerDep, services: ServicesDep) -> Any:
    """One tenant, for platform admins."""
    return await services.tenants.get(caller, tenant)


@router.patch(
    "/v1/tenants/{tenant}",
    response_model=TenantDetail,
    responses=documented("not_found", "invalid_input", "version_conflict"),
)
async def change_tenant(tenant: TenantName, body: TenantChange, caller: CallerDep, services: ServicesDep) -> Any:
    """Holds a tenant's programs below the installation's limits, within a second."""
    sandbox: dict[str, Any] | None = None
    if body.sandbox is not None:
        sandbox = {name: getattr(body.sandbox, name) for name in body.sandbox.model_fields_set}
    elif "sandbox" not in body.model_fields_set:
        sandbox = {}
    return await services.tenants.change(caller, tenant, sandbox, body.version)

"""Session tokens over REST."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.keys import RevokedBearer
from broker.endpoints.rest.paging import PageDep, PageOf
from broker.endpoints.rest.problems import documented

router = APIRouter(tags=["sessions"])

SessionId = Annotated[str, Path(min_length=1, max_length=36)]
Access = Literal["read", "write", "destructive"]
_ACCESS_BY: Any = Field(
    None, description="By connection, where it differs: `access` is then the highest. Null: `access` holds for all."
)


class NewSession(BaseModel):
    """A session to mint. What is left out is as wide, and at most as long, as what mints it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"identifier": "priya@acme.example", "connections": ["cloudflare"], "access": "read"}
        },
    )

    identifier: str | None = Field(None, min_length=1, max_length=200, description="Required unless a session asks.")
    connections: list[Annotated[str, Field(min_length=1, max_length=24)]] | None = Field(None, max_length=100)
    access: Access | None = None
    ttl_seconds: int | None = Field(None, ge=60, le=86_400, strict=True, description="900 where left out.")


class MadeSession(BaseModel):
    """A session with its token, shown this once."""

    id: str
    token: str
    expires_at: datetime
    ttl_seconds: int = Field(description="How long it lives from now: a client needs no right clock to renew in time.")
    mcp_url: str
    identifier: str
    connections: list[str] | None
    access: str | None
    access_by: dict[str, str] | None = _ACCESS_BY


class SessionOut(BaseModel):
    """A session's metadata."""

    id: str
    identifier: str
    connections: list[str] | None
    access: str | None
    access_by: dict[str, str] | None = _ACCESS_BY
    audience: str | None = Field(None, description="The one MCP endpoint it is good at; null: everywhere.")
    client: str | None
    minted_by: str | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@router.post(
    "/v1/sessions",
    status_code=201,
    response_model=MadeSession,
    responses=documented("unknown_identity", "unknown_connection", "identity_disabled"),
)
async def create_session(body: NewSession, caller: CallerDep, services: ServicesDep) -> Any:
    """Mints a short-lived token for one identity: hand it to an agent."""
    made = await services.sessions.create(
        caller,
        identifier=body.identifier,
        connections=body.connections,
        access=body.access,
        ttl_seconds=body.ttl_seconds,
    )
    return {**made, "ttl_seconds": int((made["expires_at"] - caller.now).total_seconds())}


@router.get("/v1/sessions", response_model=PageOf[SessionOut], responses=documented())
async def list_sessions(
    caller: CallerDep,
    services: ServicesDep,
    page: PageDep,
    identifier: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    ended: Annotated[bool, Query(description="Also the revoked and the expired.")] = False,
) -> Any:
    """Sessions, oldest first: an admin's tenant's, else those that the asking key or session minted."""
    return (await services.sessions.list(caller, page, identifier=identifier, ended=ended)).wire()


@router.delete("/v1/sessions/{session_id}", response_model=RevokedBearer, responses=documented())
async def revoke_session(session_id: SessionId, caller: CallerDep, services: ServicesDep) -> Any:
    """Revokes a session and its children. A session may end itself."""
    return await services.sessions.revoke(caller, session_id)

"""The pinned definitions of an MCP server's tools over REST: what an admin reviews before accepting."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from broker.endpoints.rest.connections import Name
from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.problems import documented

router = APIRouter(tags=["connections"])


class DefinitionOut(BaseModel):
    """One tool. `found`: what screening met in it; `held`: it is not offered until an admin accepts."""

    name: str
    title: str
    description: str
    input_schema: dict[str, Any]
    annotations: dict[str, bool]
    digest: str
    found: list[str]
    held: bool


class PromptOut(BaseModel):
    """One prompt. `found` and `held` as a tool's."""

    name: str
    title: str
    description: str
    arguments: list[dict[str, Any]]
    digest: str
    found: list[str]
    held: bool


class TemplateOut(BaseModel):
    """One resource template: `uri` is its RFC 6570 text. `found` and `held` as a tool's."""

    uri: str
    name: str
    title: str
    description: str
    media_type: str | None
    digest: str
    found: list[str]
    held: bool


class PendingOut(BaseModel):
    """What waits: the digest to accept, what would change, and tools, prompts and templates as they would be."""

    digest: str
    report: dict[str, Any]
    tools: list[DefinitionOut]
    prompts: list[PromptOut]
    resource_templates: list[TemplateOut]


class DefinitionsOut(BaseModel):
    """Everything pinned for a connection. `dropped`: what the server declared and could not be taken."""

    url: str
    digest: str
    version: str
    fetched_at: datetime
    tools: list[DefinitionOut]
    prompts: list[PromptOut]
    resource_templates: list[TemplateOut]
    dropped: list[str]
    pending: PendingOut | None


@router.get(
    "/v1/connections/{name}/definitions",
    response_model=DefinitionsOut,
    responses=documented("unknown_connection", "not_found"),
)
async def get_definitions(name: Name, caller: CallerDep, services: ServicesDep) -> Any:
    """The definitions pinned for a connection of an MCP server, and those that wait."""
    return await services.definitions.shown(caller, name)

"""Executions over REST."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.problems import documented
from broker.errors import Problem
from broker.ids import parse_id

router = APIRouter(tags=["tools"])


class ExecutionCall(BaseModel):
    """One upstream request of an execution."""

    n: int
    at: datetime
    operation: str | None
    method: str | None
    path: str | None
    effect: str | None
    outcome: str
    sent: bool | Literal["unknown"]
    status: int | None
    latency_ms: float | None


class ExecutionRefusal(BaseModel):
    """Why an execution was refused."""

    code: str | None
    reason: str | None
    detail: str | None


class Execution(BaseModel):
    """What became of an execution. `sent`: `true` where a request surely left, `"unknown"` where one may
    have.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "execution_id": "01938a1e-7c1b-7e0a-9c55-3f0f5f0a9b11",
                "at": "2026-11-21T09:00:00.123456Z",
                "state": "done",
                "sent": True,
                "identifier": "priya@acme.example",
                "connection_name": "cloudflare",
                "connected_account_id": "01938a1e-0000-7e0a-9c55-3f0f5f0a9b11",
                "tool_name": "cloudflare_call",
                "run_id": None,
                "calls": [],
            }
        }
    )

    execution_id: str
    at: datetime
    state: Literal["open", "done", "refused"]
    sent: bool | Literal["unknown"]
    identifier: str | None
    connection_name: str | None
    connected_account_id: str | None
    tool_name: str | None
    run_id: str | None
    calls: list[ExecutionCall]
    refusal: ExecutionRefusal | None = Field(None, description="Where it was refused.")


@router.get(
    "/v1/executions/{execution_id}",
    response_model=Execution,
    response_model_exclude_unset=True,
    responses=documented(),
    summary="Did it happen?",
    description="For a client that lost the answer. An execution is written down before anything is sent: one that is "
    "not found has sent nothing.",
)
async def read(
    execution_id: Annotated[str, Path(min_length=1, max_length=36)], caller: CallerDep, services: ServicesDep
) -> dict[str, Any]:
    parsed = parse_id(execution_id)
    if parsed is None:
        raise Problem("not_found", "there is no such execution of yours")
    return await services.executions.read(caller, parsed)


class ProgramText(BaseModel):
    """The program of a Code Mode execution, for review. `code_digest` is the SHA-256 of `code`, in hex."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "execution_id": "01938a1e-7c1b-7e0a-9c55-3f0f5f0a9b11",
                "at": "2026-11-21T09:00:00.123456Z",
                "code_digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "code": 'async () => (await cloudflare.request({path: "/zones"})).result.length',
            }
        }
    )

    execution_id: str
    at: datetime
    code_digest: str
    code: str


@router.get(
    "/v1/executions/{execution_id}/code",
    response_model=ProgramText,
    responses=documented(),
    summary="Which program ran?",
    description="For admins and auditors. Programs are kept sealed for as long as the audit; reading one is noted.",
)
async def code(
    execution_id: Annotated[str, Path(min_length=1, max_length=36)], caller: CallerDep, services: ServicesDep
) -> dict[str, Any]:
    parsed = parse_id(execution_id)
    if parsed is None:
        raise Problem("not_found", "there is no program of such an execution")
    return await services.programs.code(caller, parsed)

"""Policy over REST: why something would be allowed or refused."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from broker.endpoints.rest.deps import ServicesDep, asked_of
from broker.endpoints.rest.problems import documented
from broker.identity.authenticate import parse_bearer

router = APIRouter(tags=["policy"])


class ExplainedOperation(BaseModel):
    """The operation in question. `guarded`: it makes or returns secrets, so only a grant naming it covers it."""

    id: str
    ref: str
    effect: str
    permissions: list[str]
    guarded: bool


class AccountProblem(BaseModel):
    """Why no account can be used, whatever the grants say."""

    code: str
    detail: str
    hint: str | None


class ExplainedGrant(BaseModel):
    """One grant's part in the decision."""

    id: str
    subject: str
    covers: bool
    reason: str
    sentence: str
    only: dict[str, list[str]] | None


class Explained(BaseModel):
    """Policy's answer for an operation as such, whatever account and zone a request would name."""

    identifier: str
    connection_name: str
    connected_account_id: str | None
    operation: ExplainedOperation
    allowed: bool
    reason: str
    detail: str | None
    hint: str | None
    grant_id: str | None
    would_grant: dict[str, Any] | None
    permitted_upstream: str
    missing_permission: str | None
    grants: list[ExplainedGrant]
    account_problem: AccountProblem | None = None


@router.get(
    "/v1/policy/explain",
    response_model=Explained,
    responses=documented("unknown_identity", "identity_disabled", "unknown_connection", "unknown_operation"),
)
async def explain(
    request: Request,
    services: ServicesDep,
    identifier: Annotated[str, Query(min_length=1, max_length=200)],
    connection_name: Annotated[str, Query(min_length=1, max_length=24)],
    operation: Annotated[str, Query(min_length=1, max_length=300, examples=["DELETE /zones/{zone_id}"])],
) -> Any:
    """By which grant and token permission an operation would be allowed or refused for an identity."""
    token = parse_bearer(request.headers.get("authorization"))
    asked = asked_of(request, connection=connection_name, identifier=identifier)
    return await services.explaining.explain(token, asked, operation)

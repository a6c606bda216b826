"""Connected accounts and budgets over REST. No answer holds a credential, and no error repeats one."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.paging import Line, PageDep, PageOf
from broker.endpoints.rest.problems import documented

router = APIRouter(tags=["connected accounts"])

AccountId = Annotated[str, Path(min_length=1, max_length=36)]


class Deposited(BaseModel):
    """A credential to verify and keep."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "connection_name": "cloudflare",
                "identifier": "priya@acme.example",
                "credential": {"kind": "api_token", "token": "cfut_…"},
            }
        },
    )

    connection_name: Line = Field(min_length=1, max_length=24)
    identifier: Line | None = Field(None, min_length=1, max_length=200)
    shared: bool = False
    label: str | None = Field(None, min_length=1, max_length=60, pattern=r"^[\w .@-]+$")
    replace: bool = Field(
        default=False, description="Also when the credential belongs to another upstream principal (admins)."
    )
    credential: dict[str, Any] = Field(description="`{kind, …}`; the kinds are in `GET /v1/connectors`.")


UPSTREAM = (
    "Also give the tokens of a sign-in back to the server that issued them (RFC 7009). The answer's `upstream` says "
    "what came of it: `deleted`, `failed`, `pending` (the audit's `account.given_back` will say), or `kept`: not asked "
    "for, or not possible. Repeating the call asks again. Other credentials are kept: delete them at the upstream."
)


class RevokeAccount(BaseModel):
    """Why, and how long to wait for calls in flight."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "left the company"}})

    reason: Line = Field(min_length=1, max_length=300)
    upstream: bool = Field(default=False, description=UPSTREAM)
    drain_seconds: float = Field(0, ge=0, le=60, allow_inf_nan=False)


class Upstream(BaseModel):
    """Who the credential is at the upstream."""

    principal: str | None
    display: str | None = None
    account_id: str | None = None
    expires_at: datetime | None = None


class CredentialOut(BaseModel):
    """A credential's metadata; `fingerprint` is keyed and tells equal credentials apart from different ones."""

    version: int | None
    fingerprint: str | None
    created_at: datetime | None


class KnownPermissions(BaseModel):
    """How the credential's permissions are known, and what refusals have taught since."""

    source: str
    learned: dict[str, str]


class AccountOut(BaseModel):
    """A connected account's metadata."""

    id: str
    connection_name: str
    identifier: str | None
    shared: bool
    label: str | None
    status: str
    kind: str
    upstream: Upstream
    credential: CredentialOut
    permissions: KnownPermissions
    version: int
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


class RevokedAccount(BaseModel):
    """`in_flight` names the executions that were open; `drained` whether all had ended."""

    revoked_at: datetime
    in_flight: list[str]
    drained: bool
    upstream: Literal["deleted", "kept", "pending", "failed"]


class BudgetOut(BaseModel):
    """One upstream principal's budget as this tenant may see it."""

    connection_name: str
    key: Literal["user", "token", "account"] = Field(description="The connection's `config.budget.key`.")
    principal: str
    meter: str
    limit: int
    window_seconds: int
    used: int
    foreign: int
    remaining: int
    blocked_until: datetime | None


@router.put(
    "/v1/connected_accounts",
    response_model=AccountOut,
    responses=documented(
        "unknown_connection",
        "unknown_identity",
        "identity_disabled",
        "principal_changed",
        "version_conflict",
        "egress_refused",
        "upstream_unreachable",
        "upstream_timeout",
        "budget_exhausted",
    ),
)
async def deposit(body: Deposited, caller: CallerDep, services: ServicesDep) -> Any:
    """Verifies a credential upstream and keeps it sealed. One that does not verify leaves nothing behind."""
    return await services.accounts.put(
        caller,
        connection_name=body.connection_name,
        identifier=body.identifier,
        shared=body.shared,
        label=body.label,
        credential=body.credential,
        replace=body.replace,
    )


@router.get("/v1/connected_accounts", response_model=PageOf[AccountOut], responses=documented())
async def list_accounts(
    caller: CallerDep,
    services: ServicesDep,
    page: PageDep,
    connection_name: Annotated[str | None, Query(max_length=24)] = None,
    identifier: Annotated[str | None, Query(max_length=200)] = None,
    status: Annotated[Literal["pending", "active", "needs_reauth", "revoked"] | None, Query()] = None,
) -> Any:
    """The tenant's connected accounts; a session's own."""
    found = await services.accounts.list(
        caller,
        page,
        connection_name=connection_name,
        identifier=identifier,
        status=status,
    )
    return found.wire()


@router.get("/v1/connected_accounts/{account_id}", response_model=AccountOut, responses=documented())
async def get_account(account_id: AccountId, caller: CallerDep, services: ServicesDep) -> Any:
    """One connected account."""
    return await services.accounts.get(caller, account_id)


@router.post("/v1/connected_accounts/{account_id}:revoke", response_model=RevokedAccount, responses=documented())
async def revoke_account(account_id: AccountId, body: RevokeAccount, caller: CallerDep, services: ServicesDep) -> Any:
    """Revokes an account: when this answers, nothing new is admitted with it."""
    return await services.accounts.revoke(
        caller, account_id, reason=body.reason, upstream=body.upstream, drain_seconds=body.drain_seconds
    )


@router.post(
    "/v1/connected_accounts/{account_id}:verify",
    response_model=AccountOut,
    responses=documented(
        "needs_reauth", "principal_changed", "upstream_unreachable", "upstream_timeout", "budget_exhausted"
    ),
)
async def verify_account(account_id: AccountId, caller: CallerDep, services: ServicesDep) -> Any:
    """Asks the upstream again about the credential: expiry and permissions."""
    return await services.accounts.verify(caller, account_id)


@router.get("/v1/budgets", response_model=PageOf[BudgetOut], responses=documented())
async def list_budgets(
    caller: CallerDep,
    services: ServicesDep,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
    page_token: Annotated[str | None, Query(max_length=1200)] = None,
) -> Any:
    """What is left of each upstream principal's budget. Other tenants' use of a principal shows in `foreign` only."""
    return (await services.budgets.list(caller, page_size=page_size, page_token=page_token)).wire()

"""The tenant's OIDC provider over REST, and which of its people is which identity."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.paging import Line, PageDep, PageOf
from broker.endpoints.rest.problems import documented
from broker.identity.oidc.providers import SCOPES, Wanted

router = APIRouter(tags=["sign-in"])

Identifier = Annotated[str, Path(min_length=1, max_length=200, examples=["priya@acme.example"])]


class NewProvider(BaseModel):
    """An OpenID Connect provider. It is asked for its description and keys before it is kept.

    Who signs in is told by issuer and subject. `link_by_email` and `create_identities` let the provider's word about a
    *verified* e-mail address in one of `allowed_domains` decide, once, at somebody's first sign-in.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "issuer": "https://login.acme.example",
                "client_id": "keyreeve",
                "client_secret": "…",
                "allowed_domains": ["acme.example"],
                "link_by_email": True,
            }
        },
    )

    issuer: Line = Field(min_length=1, max_length=250, description="Exactly as the provider's description spells it.")
    client_id: Line = Field(min_length=1, max_length=200)
    client_secret: str | None = Field(
        None, min_length=1, max_length=1000, description="Never shown again. Without it the client is public (PKCE)."
    )
    scopes: list[Line] = Field(default_factory=lambda: list(SCOPES), max_length=20)
    allowed_domains: list[Line] = Field(default_factory=list, max_length=100)
    create_identities: bool = Field(
        default=False, description="Make an identity, named by the e-mail address. It has what is granted to everyone."
    )
    link_by_email: bool = Field(
        default=False, description="Link the identity with that identifier or e-mail address, if nobody is linked yet."
    )


class ProviderOut(BaseModel):
    """The provider. `redirect_uri` is what to register there, and `backchannel_logout_uri` where it offers that: then
    whoever signs out there is signed out here at once, editors included."""

    issuer: str
    client_id: str
    has_client_secret: bool
    scopes: list[str]
    allowed_domains: list[str]
    create_identities: bool
    link_by_email: bool
    redirect_uri: str
    backchannel_logout_uri: str
    version: int
    made_by: str
    created_at: datetime
    updated_at: datetime


class SignedOut(BaseModel):
    """When, and how many logins and editors' sign-ins ended with it."""

    deleted_at: datetime
    signed_out: int


class Subject(BaseModel):
    """Somebody at a provider: `sub` of their ID tokens."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"subject": "00u1a2b3c4d5"}})

    subject: Line = Field(min_length=1, max_length=255)
    issuer: Line | None = Field(None, min_length=1, max_length=250, description="Default: the tenant's provider.")


class Linked(BaseModel):
    """Who is who."""

    identifier: str
    issuer: str
    subject: str


class SignInOut(Linked):
    """Who is who, and how that came: `linked_by` is `admin`, `email` or `created`."""

    linked_by: str
    made_by: str
    created_at: datetime
    last_used_at: datetime | None


@router.put("/v1/sign_in_provider", response_model=ProviderOut, responses=documented("egress_refused"))
async def put_provider(body: NewProvider, caller: CallerDep, services: ServicesDep) -> Any:
    """Sets the provider by which the tenant's people sign in, in place of any before."""
    return await services.oidc.providers.put(
        caller,
        Wanted(
            issuer=body.issuer,
            client_id=body.client_id,
            client_secret=body.client_secret,
            scopes=body.scopes,
            allowed_domains=body.allowed_domains,
            create_identities=body.create_identities,
            link_by_email=body.link_by_email,
        ),
    )


@router.get("/v1/sign_in_provider", response_model=ProviderOut, responses=documented("not_found"))
async def get_provider(caller: CallerDep, services: ServicesDep) -> Any:
    """The provider, without its client secret."""
    return await services.oidc.providers.get(caller)


@router.delete("/v1/sign_in_provider", response_model=SignedOut, responses=documented("not_found"))
async def delete_provider(caller: CallerDep, services: ServicesDep) -> Any:
    """Takes the provider away; logins begun with it, and editors let in by them, end. Who is linked stays so."""
    return await services.oidc.providers.delete(caller)


@router.get("/v1/sign_ins", response_model=PageOf[SignInOut], responses=documented())
async def list_sign_ins(
    caller: CallerDep,
    services: ServicesDep,
    page: PageDep,
    identifier: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
) -> Any:
    """Which identity is which subject of which issuer, oldest first."""
    return (await services.oidc.people.list(caller, page, identifier=identifier)).wire()


@router.put(
    "/v1/identities/{identifier:path}/sign_in",
    response_model=Linked,
    responses=documented("unknown_identity", "already_exists"),
)
async def link(identifier: Identifier, body: Subject, caller: CallerDep, services: ServicesDep) -> Any:
    """Links an identity to one subject, in place of any before, whose logins end."""
    return await services.oidc.people.link(caller, identifier, issuer=body.issuer, subject=body.subject)


@router.delete(
    "/v1/identities/{identifier:path}/sign_in",
    response_model=SignedOut,
    responses=documented("unknown_identity", "not_found"),
)
async def unlink(identifier: Identifier, caller: CallerDep, services: ServicesDep) -> Any:
    """Takes an identity's link away; logins begun with it, and editors let in by them, end."""
    return await services.oidc.people.unlink(caller, identifier)

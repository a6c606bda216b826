"""The token endpoint (OAuth 2.1 § 3.2) and the revocation endpoint (RFC 7009)."""

from typing import Annotated

from fastapi import Path, Request
from starlette.responses import Response

from broker.endpoints.oauth.answers import answered, read_form
from broker.endpoints.oauth.answers import router as oauth
from broker.endpoints.rest.deps import services_of
from broker.identity.oauth.errors import OAuthRefusal
from broker.identity.oauth.resources import resource_of
from broker.identity.oauth.sign_ins import Tokens

router = oauth()
TenantName = Annotated[str, Path(max_length=63)]


@router.post("/t/{tenant}/oauth/token")
async def token(request: Request, tenant: TenantName) -> Response:
    """Tokens for a code, a refresh token or a client's own credentials."""
    fields = await read_form(request)
    try:
        tokens = await _tokens(request, tenant, fields)
    except OAuthRefusal as refusal:
        services_of(request).metrics.auth_failed(refusal.error)
        raise
    return answered(tokens.as_wire())


async def _tokens(request: Request, tenant: str, fields: dict[str, str]) -> Tokens:
    services = services_of(request)
    oauth_server, now = services.oauth, services.clock.now()
    grant = fields.get("grant_type")
    if grant not in ("authorization_code", "refresh_token", "client_credentials"):
        raise OAuthRefusal("unsupported_grant_type", "authorization_code, refresh_token or client_credentials")
    tenant_id = await oauth_server.tenant_id(tenant)
    named = fields.get("resource")
    if grant == "client_credentials":
        return await oauth_server.machines.tokens(
            tenant,
            client_id=fields.get("client_id"),
            secret=fields.get("client_secret"),
            identifier=fields.get("identifier"),
            resource=resource_of(services.base_url, tenant, named),
            scope=fields.get("scope"),
            now=now,
        )
    if "client_secret" in fields:
        raise OAuthRefusal("invalid_client", "this client has no secret")
    resource = None if named is None else resource_of(services.base_url, tenant, named).path
    if grant == "refresh_token":
        return await oauth_server.sign_ins.refreshed(
            tenant_id, fields.get("refresh_token"), fields.get("client_id"), resource, now
        )
    return await oauth_server.codes.redeem(
        tenant_id,
        fields.get("code"),
        client_id=fields.get("client_id"),
        redirect_uri=fields.get("redirect_uri"),
        verifier=fields.get("code_verifier"),
        resource=resource,
        now=now,
    )


@router.post("/t/{tenant}/oauth/revoke")
async def revoke(request: Request, tenant: TenantName) -> Response:
    """Ends the sign-in that the token belongs to. The same answer whether there was one."""
    services = services_of(request)
    fields = await read_form(request)
    if "token" not in fields:
        raise OAuthRefusal("invalid_request", "token is missing")
    tenant_id = await services.oauth.tenant_id(tenant)
    await services.oauth.sign_ins.revoke(tenant_id, fields["token"], fields.get("client_id"), services.clock.now())
    return answered({})

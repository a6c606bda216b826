"""Authorization-server metadata (RFC 8414), at the path the RFC makes of the issuer and at the one that OpenID Connect
Discovery does: clients try both. It says the same of a tenant whether or not there is one."""

from typing import Annotated, Any, Final

import orjson
from fastapi import Path, Request
from starlette.responses import Response

from broker.endpoints.oauth.answers import router as oauth
from broker.endpoints.rest.deps import services_of
from broker.errors import Problem
from broker.identity.names import TENANT_NAME
from broker.identity.oauth.resources import issuer_of
from broker.identity.oauth.scopes import SCOPES

router = oauth()
TenantName = Annotated[str, Path(max_length=63)]
_CACHE: Final = {"Cache-Control": "public, max-age=300"}


def metadata(base_url: str, tenant: str) -> dict[str, Any]:
    """The document. Pure."""
    issuer = issuer_of(base_url, tenant)
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "registration_endpoint": f"{issuer}/oauth/register",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "client_id_metadata_document_supported": True,
        "authorization_response_iss_parameter_supported": True,
    }


@router.get("/.well-known/oauth-authorization-server/t/{tenant}")
@router.get("/t/{tenant}/.well-known/oauth-authorization-server")
async def authorization_server(request: Request, tenant: TenantName) -> Response:
    """The tenant's metadata."""
    if TENANT_NAME.fullmatch(tenant) is None:
        raise Problem("not_found", "there is nothing at this address")
    content = orjson.dumps(metadata(services_of(request).base_url, tenant))
    return Response(content, media_type="application/json", headers=_CACHE)

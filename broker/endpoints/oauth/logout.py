"""Where a tenant's OpenID provider says that somebody's session there ended (OpenID Connect Back-Channel Logout 1.0
§ 2.5, § 2.8)."""

from typing import Annotated, Final

from fastapi import Path, Request
from starlette.responses import Response

from broker.endpoints.oauth.answers import read_form
from broker.endpoints.oauth.answers import router as oauth
from broker.endpoints.rest.deps import services_of
from broker.identity.oauth.errors import OAuthRefusal
from broker.identity.oidc.errors import BadToken, OidcFault

router = oauth()
_NO_STORE: Final = {"Cache-Control": "no-store"}


@router.post("/t/{tenant}/oidc/backchannel-logout")
async def heard(request: Request, tenant: Annotated[str, Path(max_length=63)]) -> Response:
    """Ends the logins and editors of whom the token names. The same answer where there was none to end. § 2.8: 400
    whatever the reason is."""
    services = services_of(request)
    token = (await read_form(request)).get("logout_token")
    if token is None:
        raise OAuthRefusal("invalid_request", "logout_token is missing")
    try:
        await services.oidc.logouts.hear(tenant, token, services.clock.now())
    except OidcFault as fault:
        error = "invalid_request" if isinstance(fault, BadToken) else "server_error"
        raise OAuthRefusal(error, f"the logout token was not taken: {fault}") from None
    return Response(status_code=200, headers=_NO_STORE)

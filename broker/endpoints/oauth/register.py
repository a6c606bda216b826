"""Dynamic client registration (RFC 7591): open to all, bounded, and forgotten unless somebody uses it."""

from typing import Annotated, Final

import orjson
from fastapi import Path, Request
from starlette.responses import Response

from broker.endpoints.oauth.answers import MAX_BYTES, answered
from broker.endpoints.oauth.answers import router as oauth
from broker.endpoints.pages.signin import address
from broker.endpoints.rest.deps import services_of
from broker.identity.oauth.errors import OAuthRefusal

router = oauth()
_JSON: Final = "application/json"


@router.post("/t/{tenant}/oauth/register")
async def register(request: Request, tenant: Annotated[str, Path(max_length=63)]) -> Response:
    """Registers a public client."""
    services = services_of(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise OAuthRefusal("invalid_client_metadata", f"send {_JSON}")
    raw = await request.body()
    if len(raw) > MAX_BYTES:
        raise OAuthRefusal("invalid_client_metadata", f"a registration must not exceed {MAX_BYTES} bytes")
    try:
        given = orjson.loads(raw)
    except ValueError:
        raise OAuthRefusal("invalid_client_metadata", "the body is not JSON") from None
    tenant_id = await services.oauth.tenant_id(tenant)
    made = await services.oauth.clients.register(tenant_id, given, address(request), services.clock.now())
    return answered(made, 201)

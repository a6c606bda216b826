"""Renewing and giving back what is sealed of a sign-in, as requests that pass the gate like any other.

Where the refresh token goes is not the connection's to say, nor the database's: the endpoint is sealed beside it. So
the access token goes to the server alone, and the refresh token to its authorization server alone.
"""

from typing import Final

from connectors.auth import oauth_fields
from connectors.base import Answer, HttpSender, Json, Meter, Operation, Prepared, RateHint
from connectors.errors import CredentialRejected
from connectors.mcp_upstream.oauth.errors import TokenRefused
from connectors.mcp_upstream.oauth.tokens import Tokens, give_back, refresh
from vault.secret import Secret

REFRESH: Final = "maintenance:oauth/refresh"
REVOKE: Final = "maintenance:oauth/revoke"

_PATHS: Final = {REFRESH: "/oauth/refresh", REVOKE: "/oauth/revoke"}
_NOTHING: Final = RateHint()


def prepared(what: str, origin: str, meter: Meter) -> Prepared:
    """The request that `REFRESH` or `REVOKE` means for a connection whose server is at `origin`, whose budget it is."""
    path = _PATHS[what]
    return Prepared(
        operation=Operation(id=what, method="POST", path=path, effect="write"),
        method="POST",
        origin=origin,
        path=path,
        meters=(meter,),
        summary={"operation": what.partition(":")[2]},
    )


async def send(http: HttpSender, request: Prepared, secret: Secret) -> Answer:
    """Sends it to where the credential says. The data of a refresh's answer are the next `Tokens`; a revocation, up to
    two requests, has none. A refusal is an answer whose error names its `code` and the `issuer`.

    Raises:
        NoRevocation: there is nobody to give the tokens back to.
        UpstreamFault, EgressRefused: as `HttpSender.send`.
    """
    try:
        held = Tokens.load(oauth_fields(secret))
    except TypeError:
        raise CredentialRejected("the sealed sign-in is not in a form that can be used", "Connect again.") from None
    try:
        if request.operation.id == REFRESH:
            return _answer(await refresh(http, held))
        await give_back(http, held)
        return _answer(None)
    except TokenRefused as error:
        return _answer(None, {"detail": str(error), "code": error.code, "issuer": held.issuer, "status": 400})


def _answer(data: Json, error: dict[str, Json] | None = None) -> Answer:
    return Answer(
        status=200 if error is None else 400,
        data=data,
        is_error=error is not None,
        error=error,
        ray=None,
        request_bytes=0,
        response_bytes=0,
        rate=_NOTHING,
    )

"""The code for the ID token (OpenID Connect Core 1.0 § 3.1.3), and more about the person (§ 5.3) where that lacks."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from broker.identity.oidc.discovery import Metadata, origin_of
from broker.identity.oidc.errors import Away, BadProvider, BadToken
from connectors.base import HttpSender, RawAnswer
from connectors.errors import ConnectorError, EgressRefused

SECONDS: Final = 8.0
MAX_BYTES: Final = 64 * 1024
MAX_CODE: Final = 4096
MAX_ACCESS_TOKEN: Final = 8000
_FORM: Final = "application/x-www-form-urlencoded"


async def redeem(
    http: HttpSender,
    metadata: Metadata,
    *,
    code: str,
    verifier: str,
    redirect_uri: str,
    client_id: str,
    secret: bytes | None,
) -> tuple[str, str | None]:
    """The ID token, unverified, and the access token that came with it. Raises Away, BadProvider, BadToken."""
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    headers: list[tuple[str, str]] = [("accept", "application/json"), ("content-type", _FORM)]
    if secret is None:
        fields["client_id"] = client_id
    elif metadata.authentication == "basic":
        headers.append(("authorization", _basic(client_id, secret)))
    elif metadata.authentication == "post":
        fields |= {"client_id": client_id, "client_secret": secret.decode("ascii")}
    else:
        raise BadProvider("it takes no client secret in the ways that are known here")
    answer = await _send(http, "POST", metadata.token_endpoint, headers, urlencode(fields).encode("ascii"))
    if answer.status in (400, 401, 403):
        raise BadToken("the provider takes this code or this client no more; its own log says why")
    told = _object(answer)
    token, access = told.get("id_token"), told.get("access_token")
    if not isinstance(token, str):
        raise BadToken("the provider's answer holds no ID token")
    return token, access if isinstance(access, str) and 1 <= len(access) <= MAX_ACCESS_TOKEN else None


async def about(http: HttpSender, metadata: Metadata, access_token: str | None) -> Mapping[str, Any]:
    """What the userinfo endpoint says; nothing where there is none, or no token for it. Raises Away."""
    if metadata.userinfo_endpoint is None or access_token is None or not access_token.isascii():
        return {}
    headers = [("accept", "application/json"), ("authorization", f"Bearer {access_token}")]
    return _object(await _send(http, "GET", metadata.userinfo_endpoint, headers, None))


async def _send(
    http: HttpSender, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes | None
) -> RawAnswer:
    parts, origin = urlsplit(url), origin_of(url)
    try:
        return await http.send(
            method=method,
            origin=origin,
            path=parts.path or "/",
            query=parts.query,
            headers=headers,
            body=body,
            timeout_seconds=SECONDS,
            max_response_bytes=MAX_BYTES,
            allowed_origins=(origin,),
        )
    except EgressRefused as refused:
        raise BadProvider(f"an address of it is not allowed: {refused.reason}") from None
    except ConnectorError:
        raise Away("it did not answer") from None


def _object(answer: RawAnswer) -> dict[str, Any]:
    if answer.status != 200:
        raise Away(f"it answered {answer.status}")
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Away("its answer is not JSON") from None
    if not isinstance(told, dict):
        raise Away("its answer is not a JSON object")
    return told


def _basic(client_id: str, secret: bytes) -> str:
    """RFC 6749 § 2.3.1: each form-encoded, then Basic."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret.decode('ascii'))}"
    return "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")

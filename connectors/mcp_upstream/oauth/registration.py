"""Becoming a client of an authorization server: by a document that we publish, or by asking (RFC 7591)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from connectors.base import HttpSender
from connectors.errors import UpstreamUnreachable
from connectors.mcp_upstream.oauth.discovery import SignIn
from connectors.mcp_upstream.oauth.errors import NoRegistration, NoSignIn, TokenRefused
from connectors.mcp_upstream.oauth.tokens import MAX_BYTES, OAuthClient

SECONDS: Final = 10.0
NAME: Final = "Keyreeve"
METHODS: Final = ("client_secret_basic", "client_secret_post", "none")
"""How we can show who we are, the best first."""

YEAR_10_000: Final = 253_402_300_800
"""In seconds since 1970. Before it a moment is a date; a secret that ends later never does."""

_ID = re.compile(r"[\x21-\x7e]{1,500}")
_SECRET = re.compile(r"[\x20-\x7e]{1,2000}")


@dataclass(frozen=True, slots=True)
class Registered:
    """A client that a server made for us, and when its secret ends (seconds since 1970; None: never)."""

    client: OAuthClient
    secret_expires_at: int | None


def metadata(redirect_uri: str, method: str) -> dict[str, Any]:
    """What we say of ourselves, in a registration and in our document."""
    return {
        "client_name": NAME,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        # OpenID Connect Registration § 2: a web client's redirect is https.
        "application_type": "web" if redirect_uri.startswith("https://") else "native",
    }


def document(client_id: str, redirect_uri: str) -> dict[str, Any]:
    """The client id metadata document (draft-ietf-oauth-client-id-metadata-document) that is served at `client_id`."""
    return {"client_id": client_id, **metadata(redirect_uri, "none")}


def as_document(sign_in: SignIn, client_id: str | None) -> OAuthClient | None:
    """The client that we are by our own document, where the server takes documents and ours can be fetched."""
    if client_id is None or not sign_in.documents or not client_id.startswith("https://"):
        return None
    return OAuthClient(client_id)


async def register(http: HttpSender, sign_in: SignIn, redirect_uri: str) -> Registered:
    """A client made for us by dynamic registration.

    Raises:
        NoRegistration: the server takes none. NoSignIn: no method of ours. TokenRefused: it refused this one.
        UpstreamFault, EgressRefused: as `HttpSender.send`.
    """
    if sign_in.registration_endpoint is None:
        raise NoRegistration(sign_in.issuer)
    wanted = method_of(sign_in)
    parts = urlsplit(sign_in.registration_endpoint)
    origin = f"{parts.scheme}://{parts.netloc}"
    raw = await http.send(
        method="POST",
        origin=origin,
        path=parts.path or "/",
        query=parts.query,
        headers=(("Content-Type", "application/json"), ("Accept", "application/json")),
        body=orjson.dumps(metadata(redirect_uri, wanted)),
        timeout_seconds=SECONDS,
        max_response_bytes=MAX_BYTES,
        allowed_origins=(origin,),
    )
    try:
        found = orjson.loads(raw.body)
    except orjson.JSONDecodeError:
        found = None
    if raw.status not in (200, 201):
        if isinstance(found, dict) and "error" in found:
            raise TokenRefused(found["error"])
        raise UpstreamUnreachable(f"the registration was answered with {raw.status}", sent=True)
    return _registered(found if isinstance(found, dict) else {}, wanted)


def method_of(sign_in: SignIn) -> str:
    """The best method that both sides have. Raises NoSignIn."""
    for method in METHODS:
        if method in sign_in.methods:
            return method
    raise NoSignIn("the authorization server takes clients in no way that Keyreeve knows")


def _registered(found: Mapping[str, Any], wanted: str) -> Registered:
    client_id, secret = found.get("client_id"), found.get("client_secret")
    if not isinstance(client_id, str) or _ID.fullmatch(client_id) is None:
        raise UpstreamUnreachable("the registration was answered with no client", sent=True)
    if secret is not None and (not isinstance(secret, str) or _SECRET.fullmatch(secret) is None):
        raise UpstreamUnreachable("the registration was answered with an unusable secret", sent=True)
    method = found.get("token_endpoint_auth_method", wanted)
    if method not in METHODS:
        raise NoSignIn("the authorization server registered us for a method that Keyreeve does not know")
    if secret is None and method != "none":
        raise UpstreamUnreachable("the registration promised a secret and brought none", sent=True)
    expires = found.get("client_secret_expires_at")
    lasts = expires if type(expires) is int and 0 < expires < YEAR_10_000 and secret is not None else None
    return Registered(OAuthClient(client_id, secret if method != "none" else None, method), lasts)

"""Tokens: had for a code, renewed, given back; and how they are sealed. The endpoint is the one in the metadata of the
issuer that was checked, and from then on the one that is sealed beside the tokens."""

import base64
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import orjson

from connectors.base import HttpSender, RawAnswer
from connectors.errors import UpstreamUnreachable
from connectors.mcp_upstream.oauth.challenge import scope_of
from connectors.mcp_upstream.oauth.discovery import SignIn
from connectors.mcp_upstream.oauth.errors import NoRevocation, TokenRefused

SECONDS: Final = 15.0
MAX_BYTES: Final = 64 * 1024
MAX_TOKEN: Final = 8_000
LONGEST: Final = 10 * 366 * 86_400

_ACCESS = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # token68, as RFC 6750 § 2.1 sends it
_OPAQUE = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """Who we are to an authorization server; `method` is how the token endpoint is shown it (RFC 7591 § 2)."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    method: str = "none"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What is sealed of a sign-in. `expires_in` is in seconds from when it was answered, None where nothing was said;
    it is not sealed, because whoever keeps the tokens writes the moment beside them."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    scope: str | None
    issuer: str
    resource: str
    token_endpoint: str
    revocation_endpoint: str | None
    client_id: str
    client_secret: str | None = field(repr=False)
    method: str
    expires_in: int | None = None

    def dump(self) -> bytes:
        """As it is sealed."""
        kept = asdict(self)
        del kept["expires_in"]
        return orjson.dumps(kept)

    @classmethod
    def load(cls, sealed: Mapping[str, Any]) -> "Tokens":
        """What `dump` wrote."""
        return cls(**sealed)

    @property
    def client(self) -> OAuthClient:
        """Whose tokens they are."""
        return OAuthClient(self.client_id, self.client_secret, self.method)


async def redeem(
    http: HttpSender,
    sign_in: SignIn,
    client: OAuthClient,
    *,
    code: str,
    verifier: str,
    redirect_uri: str,
    scope: str | None,
) -> Tokens:
    """Tokens for a code. Raises TokenRefused, UpstreamFault, EgressRefused."""
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        "resource": sign_in.resource,
    }
    found = _tokens(await _post(http, sign_in.token_endpoint, client, fields))
    return Tokens(
        access_token=found["access_token"],
        refresh_token=found["refresh_token"],
        scope=found["scope"] or scope,
        issuer=sign_in.issuer,
        resource=sign_in.resource,
        token_endpoint=sign_in.token_endpoint,
        revocation_endpoint=sign_in.revocation_endpoint,
        client_id=client.client_id,
        client_secret=client.client_secret,
        method=client.method,
        expires_in=found["expires_in"],
    )


async def refresh(http: HttpSender, held: Tokens) -> Tokens:
    """The next tokens; the refresh token stays where no other came. Raises TokenRefused (`invalid_grant` also where
    there is no refresh token), UpstreamFault, EgressRefused."""
    if held.refresh_token is None:
        raise TokenRefused("invalid_grant")
    fields = {"grant_type": "refresh_token", "refresh_token": held.refresh_token, "resource": held.resource}
    found = _tokens(await _post(http, held.token_endpoint, held.client, fields))
    return replace(
        held,
        access_token=found["access_token"],
        refresh_token=found["refresh_token"] or held.refresh_token,
        scope=found["scope"] or held.scope,
        expires_in=found["expires_in"],
    )


async def give_back(http: HttpSender, held: Tokens) -> None:
    """Revokes both (RFC 7009): the refresh token first, which should take the other along, and the other all the same.
    Returns when the server has said of each that it opens nothing any more.

    Raises:
        NoRevocation: it offers no such thing, and nothing was sent. TokenRefused: it would not.
        UpstreamFault, EgressRefused: as `HttpSender.send`.
    """
    if held.revocation_endpoint is None:
        raise NoRevocation
    refused: TokenRefused | None = None
    for token, hint in ((held.refresh_token, "refresh_token"), (held.access_token, "access_token")):
        if token is None:
            continue
        raw = await _post(http, held.revocation_endpoint, held.client, {"token": token, "token_type_hint": hint})
        if raw.status != 200:
            refusal = _refusal(raw)
            if not isinstance(refusal, TokenRefused):
                raise refusal
            refused = refused or refusal
    if refused is not None:
        raise refused


async def _post(http: HttpSender, endpoint: str, client: OAuthClient, fields: Mapping[str, str]) -> RawAnswer:
    parts = urlsplit(endpoint)
    origin = f"{parts.scheme}://{parts.netloc}"
    headers, shown = _shown(client)
    return await http.send(
        method="POST",
        origin=origin,
        path=parts.path or "/",
        query=parts.query,
        headers=(("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json"), *headers),
        body=urlencode({**fields, **shown}).encode("ascii"),
        timeout_seconds=SECONDS,
        max_response_bytes=MAX_BYTES,
        allowed_origins=(origin,),
    )


def _shown(client: OAuthClient) -> tuple[tuple[tuple[str, str], ...], Mapping[str, str]]:
    """How a client shows who it is: headers and form fields (RFC 6749 § 2.3.1)."""
    if client.client_secret is None or client.method == "none":
        return (), {"client_id": client.client_id}
    if client.method == "client_secret_post":
        return (), {"client_id": client.client_id, "client_secret": client.client_secret}
    pair = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
    return (("Authorization", "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")),), {}


def _tokens(raw: RawAnswer) -> Mapping[str, Any]:
    """The parts of a token answer (RFC 6749 § 5). Raises TokenRefused, UpstreamUnreachable."""
    found = _json(raw)
    if raw.status != 200:
        raise _refusal(raw)
    if not isinstance(found, dict):
        raise _unusable()
    if isinstance(found.get("error"), str):
        raise TokenRefused(found["error"])  # some answer 200 with an error
    access, again, kind = found.get("access_token"), found.get("refresh_token"), found.get("token_type")
    if not isinstance(access, str) or len(access) > MAX_TOKEN or _ACCESS.fullmatch(access) is None:
        raise _unusable()
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise UpstreamUnreachable("the authorization server issues tokens that are no bearer tokens", sent=True)
    if again is not None and (not isinstance(again, str) or len(again) > MAX_TOKEN or _OPAQUE.fullmatch(again) is None):
        raise _unusable()
    seconds = found.get("expires_in")
    lasts = seconds if type(seconds) is int and 0 < seconds <= LONGEST else None
    return {
        "access_token": access,
        "refresh_token": again,
        "scope": scope_of(found.get("scope")),
        "expires_in": lasts,
    }


def _json(raw: RawAnswer) -> Any:
    try:
        return orjson.loads(raw.body)
    except orjson.JSONDecodeError:
        return None


def _refusal(raw: RawAnswer) -> TokenRefused | UpstreamUnreachable:
    found = _json(raw)
    if raw.status in (400, 401, 403) and isinstance(found, dict) and "error" in found:
        return TokenRefused(found["error"])
    return UpstreamUnreachable(f"the authorization server answered {raw.status}", sent=True)


def _unusable() -> UpstreamUnreachable:
    return UpstreamUnreachable("the authorization server answered with something that is no token", sent=True)

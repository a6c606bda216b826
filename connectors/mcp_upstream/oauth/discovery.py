"""From an MCP server to whoever signs people in to it: two documents, each of which must name the other's subject.

RFC 9728 (protected resource metadata), RFC 8414 (authorization server metadata), OpenID Connect Discovery 1.0, in the
order that MCP 2026-07-28 (basic/authorization) asks for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from connectors.base import HttpSender
from connectors.documents import MAX_BYTES, SECONDS, NoDocument, fetch_json
from connectors.mcp_upstream import wire
from connectors.mcp_upstream.oauth.challenge import Challenge, read_challenge, scope_of, union
from connectors.mcp_upstream.oauth.errors import NoSignIn
from connectors.mcp_upstream.streams import AnswerWatch

MAX_URL: Final = 2_000
MAX_LISTED: Final = 200
OFFLINE: Final = "offline_access"
OURS: Final = frozenset(
    {"response_type", "response_mode", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method",
     "resource", "scope", "prompt", "request", "request_uri"}
)  # fmt: skip
"""Parameters of a request (RFC 6749 § 4.1.1 and its relatives) that no endpoint may bring along: which of two counts,
ours or the one that stood there, would be for another server to say."""

_URL = re.compile(
    r"https?://[A-Za-z0-9.\-\[\]:]{1,300}(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*)?(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@/%?]*)?"
)


@dataclass(frozen=True, slots=True)
class SignIn:
    """How people are signed in to a server. `resource` is what tokens are asked for (RFC 8707); `scope` what the server
    wants, None where it does not say; `methods` how clients authenticate at the token endpoint; `documents` whether a
    client may be a document (CIMD); `names_itself` whether an answer must carry `iss` (RFC 9207)."""

    resource: str
    scope: str | None
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str | None
    revocation_endpoint: str | None
    methods: tuple[str, ...]
    documents: bool
    names_itself: bool


async def challenge_of(http: HttpSender, *, origin: str, path: str, query: str) -> Challenge | None:
    """What the server says to a request without a credential. Raises UpstreamFault, EgressRefused."""
    headers, body = wire.request(wire.MODERN, "server/discover", {})
    raw = await http.send(
        method="POST",
        origin=origin,
        path=path,
        query=query,
        headers=headers,
        body=body,
        timeout_seconds=SECONDS,
        max_response_bytes=MAX_BYTES,
        allowed_origins=(origin,),
        watch=AnswerWatch(wire.ID),
    )
    return read_challenge(raw.headers) if raw.status in (401, 403) else None


async def discover(http: HttpSender, server_url: str, challenge: Challenge | None) -> SignIn:
    """How people are signed in to the server at `server_url`. At most seven requests of 5 s.

    Raises:
        NoSignIn: it says nothing of it, or what it says does not hold together.
    """
    resource, scopes, issuer = await _resource(http, server_url, challenge)
    found = await _server(http, issuer)
    listed = _words(found.get("scopes_supported"))
    scope = challenge.scope if challenge is not None and challenge.scope is not None else scopes
    if scope is not None and OFFLINE in listed:
        scope = union(scope, OFFLINE)
    return SignIn(
        resource=resource,
        scope=scope,
        issuer=issuer,
        authorization_endpoint=_without_ours(_endpoint(found, "authorization_endpoint", issuer)),
        token_endpoint=_endpoint(found, "token_endpoint", issuer),
        registration_endpoint=_optional(found, "registration_endpoint", issuer),
        revocation_endpoint=_optional(found, "revocation_endpoint", issuer),
        methods=_words(found.get("token_endpoint_auth_methods_supported")) or ("client_secret_basic",),
        documents=found.get("client_id_metadata_document_supported") is True,
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
    )


async def _resource(http: HttpSender, server_url: str, challenge: Challenge | None) -> tuple[str, str | None, str]:
    """(resource, its scopes, its first authorization server) of the first document that can be had."""
    for url in resource_documents(server_url, None if challenge is None else challenge.resource_metadata):
        try:
            found = await fetch_json(http, url)
        except NoDocument:
            continue
        if not isinstance(found, dict):
            continue
        resource, servers = found.get("resource"), found.get("authorization_servers")
        if not isinstance(resource, str) or not covers(resource, server_url):
            raise NoSignIn("the server's sign-in metadata is about another resource")
        if not isinstance(servers, list) or not servers or not _is_issuer(servers[0], server_url):
            raise NoSignIn("the server's sign-in metadata names no authorization server")
        return resource, scope_of(" ".join(_words(found.get("scopes_supported")))), servers[0]
    raise NoSignIn("the server publishes no sign-in metadata (RFC 9728)")


async def _server(http: HttpSender, issuer: str) -> Mapping[str, Any]:
    """The metadata of an authorization server that says itself that it is `issuer`, letter by letter."""
    for url in server_documents(issuer):
        try:
            found = await fetch_json(http, url)
        except NoDocument:
            continue
        if not isinstance(found, dict) or found.get("issuer") != issuer:
            raise NoSignIn("the authorization server's metadata is another issuer's")
        if "S256" not in _words(found.get("code_challenge_methods_supported")):
            raise NoSignIn("the authorization server does not promise PKCE with S256")
        return found
    raise NoSignIn("the authorization server publishes no metadata that could be fetched")


def resource_documents(server_url: str, told: str | None) -> list[str]:
    """Where a server's metadata may be (RFC 9728 § 3.1), the most specific place first."""
    parts = urlsplit(server_url)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    well_known = f"{origin}/.well-known/oauth-protected-resource"
    urls = [told] if told is not None and _may_be_asked(told, server_url) else []
    return list(dict.fromkeys([*urls, *([well_known + path] if path else []), well_known]))


def server_documents(issuer: str) -> list[str]:
    """Where an authorization server's metadata may be (RFC 8414 §§ 3, 5; OpenID Connect Discovery § 4)."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = [
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
    ]
    return [*urls, f"{origin}{path}/.well-known/openid-configuration"] if path else urls


def covers(resource: str, server_url: str) -> bool:
    """Whether a resource is the server, or what it lies under: same origin, and its path is a beginning of whole
    segments."""
    if not _is_url(resource):
        return False
    theirs, ours = urlsplit(resource), urlsplit(server_url)
    if (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc) or theirs.query not in ("", ours.query):
        return False
    return (ours.path.rstrip("/") + "/").startswith(theirs.path.rstrip("/") + "/")


def _endpoint(found: Mapping[str, Any], name: str, issuer: str) -> str:
    value = _optional(found, name, issuer)
    if value is None:
        raise NoSignIn(f"the authorization server's metadata has no usable {name}")
    return value


def _without_ours(endpoint: str) -> str:
    names = {name for name, _ in parse_qsl(urlsplit(endpoint).query, keep_blank_values=True)}
    if names & OURS:
        raise NoSignIn("the authorization server's authorization_endpoint is a request already")
    return endpoint


def _is_issuer(value: object, server_url: str) -> bool:
    """An issuer has no query (RFC 8414 § 2)."""
    return isinstance(value, str) and "?" not in value and _may_be_asked(value, server_url)


def _optional(found: Mapping[str, Any], name: str, issuer: str) -> str | None:
    """An endpoint: https, or the plain http of an issuer that we were allowed to ask in plain http."""
    value = found.get(name)
    return value if isinstance(value, str) and _may_be_asked(value, issuer) else None


def _may_be_asked(value: object, by: str) -> bool:
    """Whether `by` may point us at an address: https, or the plain http of a host that we were allowed to ask in plain
    http. Plain http is inside a network, where nobody outside may have us ask."""
    if not isinstance(value, str) or not _is_url(value):
        return False
    there, here = urlsplit(value), urlsplit(by)
    return there.scheme == "https" or (here.scheme, here.hostname) == ("http", there.hostname)


def _is_url(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_URL and _URL.fullmatch(value) is not None


def _words(value: object) -> tuple[str, ...]:
    listed: Sequence[object] = value if isinstance(value, list) else ()
    return tuple(word for word in listed[:MAX_LISTED] if isinstance(word, str) and 0 < len(word) <= 200)

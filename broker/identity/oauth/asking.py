"""An authorization request, read and judged (OAuth 2.1 § 4.1.1; RFC 8707; RFC 9207). Pure.

What is wrong with client or redirect is told to the person at the browser, and goes nowhere; what is wrong with the
rest is told to the client, at its redirect.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from broker.domain import Access
from broker.errors import Problem, invalid
from broker.identity.oauth import pkce, redirects, scopes
from broker.identity.oauth.clients import Client
from broker.identity.oauth.errors import OAuthRefusal
from broker.identity.oauth.resources import Resource, resource_of

MAX_QUERY: Final = 4000
MAX_STATE: Final = 1000


class Astray(OAuthRefusal):
    """A refusal that the client is told at `redirect_uri`, unless `stranger`: a client that registered itself for
    another site could lead people anywhere by way of us, without their having agreed to anything (RFC 9700 § 4.11.2).
    """

    def __init__(self, refusal: OAuthRefusal, client: Client, redirect_uri: str, state: str | None) -> None:
        super().__init__(refusal.error, refusal.description)
        self.redirect_uri = redirect_uri
        self.client_state = state
        self.stranger = client.source == "dynamic" and not redirects.shown(redirect_uri).local


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that may be put before a person, who may allow `access` at most."""

    client: Client
    redirect_uri: str
    state: str | None
    challenge: str
    resource: Resource
    access: Access


def fields_of(query: str) -> dict[str, str]:
    """The parameters of an authorization request. Raises Problem `invalid_input`."""
    if len(query) > MAX_QUERY:
        raise invalid("query", f"an authorization request has at most {MAX_QUERY} characters")
    try:
        pairs = parse_qsl(query, keep_blank_values=False, max_num_fields=30, errors="strict")
    except ValueError:
        raise invalid("query", "cannot be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise invalid("query", "names a parameter twice")  # OAuth 2.1 § 3.1
    return fields


def redirect_of(client: Client, fields: Mapping[str, str]) -> str:
    """Where the answer goes. Raises Problem `invalid_input`, which must be shown and not sent there."""
    found = redirects.allowed(client.redirect_uris, fields.get("redirect_uri"))
    if found is None:
        raise Problem(
            "invalid_input",
            f"{client.name} asked to send you to an address that is not registered for it",
            hint="start again from your editor; if this goes on, tell your admin",
        )
    return found


def read_asking(client: Client, fields: Mapping[str, str], base_url: str, tenant: str) -> Asking:
    """The request. Raises Problem (`redirect_of`), and Astray for everything else."""
    redirect_uri = redirect_of(client, fields)
    state = fields.get("state")
    if state is not None and len(state) > MAX_STATE:
        state = None
        refusal = OAuthRefusal("invalid_request", f"state must not exceed {MAX_STATE} characters")
        raise Astray(refusal, client, redirect_uri, state)
    try:
        return _asking(client, fields, redirect_uri, state, resource_of(base_url, tenant, fields.get("resource")))
    except OAuthRefusal as refusal:
        raise Astray(refusal, client, redirect_uri, state) from None


def _asking(
    client: Client, fields: Mapping[str, str], redirect_uri: str, state: str | None, resource: Resource
) -> Asking:
    if fields.get("response_type") != "code":
        raise OAuthRefusal("unsupported_response_type", "response_type must be code")
    if "request" in fields or "request_uri" in fields:
        raise OAuthRefusal("request_not_supported", "request objects are not taken")
    if fields.get("response_mode", "query") != "query":
        raise OAuthRefusal("invalid_request", "response_mode must be query")
    challenge = fields.get("code_challenge")
    if fields.get("code_challenge_method") != "S256" or challenge is None or not pkce.is_challenge(challenge):
        raise OAuthRefusal("invalid_request", "PKCE is required: code_challenge with code_challenge_method=S256")
    scope = fields.get("scope")
    if scope is not None and len(scope) > scopes.MAX_LENGTH:
        raise OAuthRefusal("invalid_scope", "too many scopes")
    if "none" in fields.get("prompt", "").split():
        raise OAuthRefusal("consent_required", "nothing is agreed to here without asking the person")
    return Asking(client, redirect_uri, state, challenge, resource, scopes.offered_by(scope))

"""Resources: the MCP endpoints that a token is good at (RFC 8707). Pure."""

import re
from dataclasses import dataclass
from typing import Final

from broker.identity.oauth.errors import OAuthRefusal

_PATH: Final = re.compile(r"(?:/t/([a-z][a-z0-9-]{0,62}))?/mcp(?:/([a-z][a-z0-9-]{0,23}))?")
DEFAULT_TENANT: Final = "default"


@dataclass(frozen=True, slots=True)
class Resource:
    """One MCP endpoint. `path` is what a bearer's `audience` holds; `connection` None: all of them."""

    path: str
    connection: str | None


def issuer_of(base_url: str, tenant: str) -> str:
    """The tenant's issuer identifier."""
    return f"{base_url}/t/{tenant}"


def resource_of(base_url: str, tenant: str, given: str | None) -> Resource:
    """The resource that a client names, if it is one of this tenant's. Raises OAuthRefusal `invalid_target`.

    Compared as a string: scheme, host, port and path must be ours; a `/` at the end makes no difference, for some
    clients add one.
    """
    if given is None:
        raise OAuthRefusal("invalid_target", "say by `resource` which MCP endpoint the token is for (RFC 8707)")
    stripped = given.removesuffix("/")
    found = _PATH.fullmatch(stripped[len(base_url) :]) if stripped.startswith(base_url) else None
    if found is None or (found[1] or DEFAULT_TENANT) != tenant:
        raise OAuthRefusal("invalid_target", "`resource` is not an MCP endpoint of this issuer")
    return Resource(found[0], found[2])

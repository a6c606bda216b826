"""Which endpoint a path is, and how a URL's query narrows it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qsl

from broker.domain import CONNECTION_NAME, Access
from broker.endpoints.mcp.rpc import INVALID_REQUEST, Refused
from broker.tools.request import TOOL_NAME

_PLACE = re.compile(r"(?:/t/(?P<tenant>[a-z][a-z0-9-]{0,62}))?/mcp(?:/(?P<connection>[a-z][a-z0-9-]{0,23}))?/?\Z")

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
MAX_TOOLS: Final = 100
KNOWN: Final = ("access", "codemode", "discover", "tools")


@dataclass(frozen=True, slots=True)
class Place:
    """One MCP endpoint: `tenant` None is `/mcp`, whose bearers imply theirs; `connection` None is all of them."""

    tenant: str | None
    connection: str | None

    @property
    def path(self) -> str:
        """Its canonical path."""
        tenant = "" if self.tenant is None else f"/t/{self.tenant}"
        return f"{tenant}/mcp" + ("" if self.connection is None else f"/{self.connection}")

    @property
    def issuer(self) -> str:
        """The tenant whose authorization server signs people in here."""
        return self.tenant or "default"


def place_of(path: str) -> Place | None:
    """The endpoint that `path` is (a `/` at its end makes no difference), or None."""
    found = _PLACE.match(path)
    if found is None:
        return None
    connection = found["connection"]
    if connection is not None and not CONNECTION_NAME.match(connection):
        return None
    return Place(found["tenant"], connection)


@dataclass(frozen=True, slots=True)
class Options:
    """How a URL narrows what its bearer may do: only these tools, only this access; and which shape it has."""

    tools: frozenset[str] | None = None
    access: Access | None = None
    shape: Literal["all", "discover", "codemode"] = "all"


def read_options(query: bytes) -> Options:
    """The options in a query string. Raises Refused for any that is unknown, repeated or wrong: one that was silently
    left out would not narrow."""
    if not query:
        return Options()
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=10)
    except ValueError:
        raise _wrong("the URL's query cannot be read") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise _wrong("an option is there twice in the URL's query")
    for name in given:
        if name not in KNOWN:
            raise _wrong(f"the URL's query may hold {', '.join(KNOWN)}, nothing else")
    return Options(_tools(given), _access(given), _shape(given))


def _tools(given: Mapping[str, str]) -> frozenset[str] | None:
    if "tools" not in given:
        return None
    names = given["tools"].split(",")
    if len(names) > MAX_TOOLS or not all(TOOL_NAME.match(name) for name in names):
        raise _wrong(f"tools must be at most {MAX_TOOLS} names of tools, with commas between them")
    return frozenset(names)


def _access(given: Mapping[str, str]) -> Access | None:
    access = given.get("access")
    if access == "read":
        return "read"
    if access == "write":
        return "write"
    if access is not None:
        raise _wrong("access must be read or write")
    return None


def _shape(given: Mapping[str, str]) -> Literal["all", "discover", "codemode"]:
    if "codemode" in given:
        if given["codemode"] != "search_and_execute" or "discover" in given:
            raise _wrong("codemode must be search_and_execute, without discover")
        return "codemode"
    if given.get("discover", "1") != "1":
        raise _wrong("discover must be 1")
    return "discover" if "discover" in given else "all"


def _wrong(told: str) -> Refused:
    return Refused(INVALID_REQUEST, told, early=True)

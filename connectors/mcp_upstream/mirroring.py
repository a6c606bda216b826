"""Arguments that a server wants repeated in headers (2026-07-28, transports, `x-mcp-header`). Pure.

A tool that asks for it wrongly is not taken at all, as the specification has it: a header named by an argument of any
shape is a header that the server, or whoever stands between, may take for another.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

HEADER_KEY: Final = "x-mcp-header"
MAX_HEADERS: Final = 20

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110 § 5.6.2
_TYPES: Final = ("string", "integer", "boolean")


def headers_of(schema: object) -> dict[str, str]:
    """Header by property, of a tool's input schema.

    Raises:
        ValueError: says what is wrong with one of them.
    """
    properties = schema.get("properties") if isinstance(schema, dict) else None
    found: dict[str, str] = {}
    for name, inner in (properties if isinstance(properties, dict) else {}).items():
        if not isinstance(inner, dict) or HEADER_KEY not in inner:
            continue
        wanted = inner[HEADER_KEY]
        if not isinstance(wanted, str) or _TOKEN.fullmatch(wanted) is None:
            raise ValueError("a header that it wants has a name that is none")
        if inner.get("type") not in _TYPES:
            raise ValueError("a header that it wants is no text, whole number or truth value")
        found[name] = wanted
    if len({header.lower() for header in found.values()}) != len(found):
        raise ValueError("it wants two arguments in one header")
    if len(found) > MAX_HEADERS:
        raise ValueError(f"it wants more than {MAX_HEADERS} headers")
    return found


def wanted(item: Mapping[str, Any]) -> str | None:
    """What is wrong with the headers that a tool's definition wants, or None."""
    try:
        headers_of(item.get("inputSchema"))
    except ValueError as error:
        return str(error)
    return None

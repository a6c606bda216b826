"""Where the server is and as whom to call it. The environment is read here, once for each client made."""

import os
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from keyreeve.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx

VERSION = "0.1.0"

TimeoutSeconds: TypeAlias = "float | httpx.Timeout | None"
"""Seconds, or httpx's own; None is the client's."""

MAX_ANSWER = 80 * 1024 * 1024
"""Bytes of one answer unless the client is made with another bound: the server's own bound on an upstream body, as
base64, and room around it."""

SERVER_SECONDS = 130.0
"""Longer than the server's own bound on a request (120 s), so that its answer is always heard."""

CONNECT_SECONDS = 5.0

TraceContext = Callable[[], Mapping[str, str]]
"""Gives `traceparent` and `tracestate` (W3C Trace Context) of the current span."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


class Key:
    """A bearer's text. Only `reveal` shows it."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text itself."""
        return self.__text

    def __repr__(self) -> str:
        return "Key(…)"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")


class Target(Struct, frozen=True):
    """A server's address and what goes with every request to it. Raises ConfigurationError where it cannot be."""

    url: str
    local: bool
    user_agent: str
    key: Key
    tenant: str | None


def target(
    url: str | None, api_key: str | None, *, tenant: str | None, client_name: str | None, allow_http: bool
) -> Target:
    """The target; what is None comes from KEYREEVE_URL and KEYREEVE_API_KEY. Raises ConfigurationError."""
    url = url if url is not None else os.environ.get("KEYREEVE_URL")  # noqa: TID251 - once for each client
    api_key = api_key if api_key is not None else os.environ.get("KEYREEVE_API_KEY")  # noqa: TID251 - once for each client
    if not url:
        raise ConfigurationError("no server: pass `url` or set KEYREEVE_URL")
    if not api_key or not api_key.strip():
        raise ConfigurationError("no key: pass `api_key` or set KEYREEVE_API_KEY")
    api_key = api_key.strip()
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ConfigurationError("the key holds characters that no key has")
    if tenant is not None and not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", tenant):
        raise ConfigurationError("a tenant's name matches ^[a-z][a-z0-9-]{0,62}$")
    base, local = _address(url.strip(), allow_http)
    return Target(base, local, _user_agent(client_name), Key(api_key), tenant)


def _address(url: str, allow_http: bool) -> tuple[str, bool]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError("the URL cannot be read") from None
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("the URL must begin with https:// (or http:// for this machine) and name a host")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigurationError("the URL must hold neither user, query nor fragment")
    local = _is_loopback(host)
    if parts.scheme == "http" and not local and not allow_http:
        raise ConfigurationError(
            "plain http would show the key to the network: use https, or pass allow_http=True on a network you trust"
        )
    shown = f"[{host}]" if ":" in host else host
    at = shown if port is None else f"{shown}:{port}"
    return f"{parts.scheme}://{at}{parts.path.rstrip('/')}", local


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _user_agent(name: str | None) -> str:
    own = f"keyreeve-python/{VERSION}"
    if name is None:
        return own
    if not 0 < len(name) <= 100 or not name.isascii() or not name.isprintable():
        raise ConfigurationError("client_name must be 1 to 100 printable ASCII characters")
    return f"{name} {own}"


def trace_headers(context: TraceContext | None) -> dict[str, str]:
    """The trace headers to send; what is malformed is left out, for it would end a trace without saying so."""
    if context is None:
        return {}
    given = context()
    parent, state = given.get("traceparent"), given.get("tracestate")
    if parent is None or not _TRACEPARENT.fullmatch(parent):
        return {}
    kept = {"traceparent": parent}
    if state is not None and _TRACESTATE.fullmatch(state):
        kept["tracestate"] = state
    return kept

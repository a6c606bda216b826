"""Redirect addresses: which a client may register, which one it may ask for, what a person is shown. Pure.

Exact string comparison, but for the port of a loopback address (RFC 8252 § 7.3, RFC 9700 § 4.1).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit

MAX_LENGTH: Final = 1000
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{1,39}")
_NEVER: Final = frozenset(
    {"about", "blob", "chrome", "data", "file", "filesystem", "ftp", "http", "https", "intent", "javascript", "mailto",
     "resource", "sms", "tel", "vbscript", "view-source", "ws", "wss"}
)  # fmt: skip
_EDITORS: Final = frozenset({"cursor", "vscode", "vscode-insiders", "windsurf", "zed"})
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


class BadRedirect(ValueError):
    """A redirect address that nobody may register. The message says why."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a person is told of where they are sent. `local`: to a program on their own machine, any of them."""

    host: str
    local: bool
    source: str
    """The address's origin or scheme, as a Content-Security-Policy source."""


def check(uri: str, *, any_scheme: bool = False) -> str:
    """`uri` if it may be registered. `any_scheme`: an admin registers it, who may name any private-use scheme; others
    only those with a dot in them (RFC 8252 § 7.1) and the well-known editors'. Raises BadRedirect."""
    if (
        not 1 <= len(uri) <= MAX_LENGTH
        or not uri.isascii()
        or not uri.isprintable()
        or re.search(r'[\s\\"<>`^{|}]', uri)
    ):
        raise BadRedirect("must be a URI of at most 1,000 characters of ASCII")
    parts = _split(uri)
    if "#" in uri:
        raise BadRedirect("must have no fragment")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise BadRedirect("must hold no user name or password")
    if parts.scheme in ("http", "https"):
        return _web(uri, parts)
    if _SCHEME.fullmatch(parts.scheme) is None or parts.scheme in _NEVER or not uri.startswith(parts.scheme + ":"):
        raise BadRedirect("must be https, loopback http, or a private-use scheme")
    if not any_scheme and "." not in parts.scheme and parts.scheme not in _EDITORS:
        raise BadRedirect("a private-use scheme needs a dot, like com.example.app, or an admin who registers it")
    return uri


def _web(uri: str, parts: SplitResult) -> str:
    host = parts.hostname or ""
    if host in _LOOPBACK:
        return uri
    if parts.scheme == "http":
        raise BadRedirect("plain http is for loopback addresses alone")
    if _HOST.fullmatch(host) is None or "." not in host:
        raise BadRedirect("must name a host")
    return uri


def allowed(registered: Sequence[str], given: str | None) -> str | None:
    """The address to send the browser to: `given` if the client registered it, or its only one where it named none."""
    if given is None:
        return registered[0] if len(registered) == 1 else None
    if len(given) > MAX_LENGTH:
        return None
    if given in registered:
        return given
    return given if any(_same_loopback(one, given) for one in registered) else None


def _same_loopback(registered: str, given: str) -> bool:
    """Whether they differ in a loopback address's port alone."""
    try:
        check(given)
        ours, theirs = _split(registered), _split(given)
    except BadRedirect:
        return False
    if ours.scheme != "http" or ours.hostname not in _LOOPBACK or ours.hostname != theirs.hostname:
        return False
    # Put together again without the port, so that nothing but the port can differ.
    return ours._replace(netloc=ours.hostname) == theirs._replace(netloc=theirs.hostname or "")


def shown(uri: str) -> Shown:
    """Where `uri`, which was registered, leads."""
    parts = _split(uri)
    if parts.scheme in ("http", "https"):
        return Shown(parts.netloc, parts.hostname in _LOOPBACK, f"{parts.scheme}://{parts.netloc}")
    return Shown(f"{parts.scheme}:", local=True, source=f"{parts.scheme}:")


def with_answer(uri: str, answer: Mapping[str, str | None]) -> str:
    """`uri` with the answer's parameters behind whatever query it has."""
    pairs = urlencode({name: value for name, value in answer.items() if value is not None})
    return f"{uri}{'&' if '?' in uri else '?'}{pairs}"


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.port, parts.hostname
    except ValueError:
        raise BadRedirect("cannot be read as a URI") from None
    return parts

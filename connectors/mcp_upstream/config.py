"""What an MCP connection can be configured with, and the credentials it takes. Pure."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

import orjson

from connectors.base import CredentialKind, Json
from connectors.egress import EgressPolicy, check_origin, check_target
from connectors.errors import EgressRefused, FieldProblem, InvalidConfig, InvalidInput
from connectors.mcp_upstream.oauth.tokens import Tokens
from connectors.mcp_upstream.ready import READY
from connectors.mcp_upstream.rounds import KINDS as ASKED

MAX_URL: Final = 400
MAX_READ_TOOLS: Final = 500
MAX_HEADER_VALUE: Final = 4_096

WAITING: Final = "asks_while_waiting"
_KNOWN: Final = ("url", "ready", "prefix", "read_tools", "asks", WAITING, "auth")
AUTHS: Final = ("any", "oauth", "token")
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]{1,4096}=*")  # token68, RFC 9110 § 11.2
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_RESERVED: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie",
     "expect", "forwarded", "host", "keep-alive", "last-event-id", "origin", "proxy-authorization", "te", "trailer",
     "transfer-encoding", "upgrade", "user-agent", "via"}
)  # fmt: skip
_RESERVED_BEGINNINGS: Final = ("mcp-", "proxy-", "sec-", "x-forwarded-")

CONFIG_HELP: Final[Mapping[str, str]] = {
    "url": "the server's streamable-HTTP address; one that is not ready-made needs a platform admin",
    "ready": "instead of url: the name of a ready-made server (`ready_made` lists them)",
    "prefix": "true (default); false: at /mcp/NAME, where it is alone, its tools keep their own names",
    "read_tools": "tools that only read, by the server's own names; or `annotated`: believe its readOnlyHint. "
    "Any other tool is a write",
    "asks": "what the server may ask of the caller's own client: of elicitation (default), sampling, roots; [] nothing",
    WAITING: "false (default); true: clients of 2025-11-25 and before are asked too, while their call waits",
    "auth": "what the page for connecting offers: `oauth` (signing in to the server), `token` (pasting a credential), "
    "`any` (default): both",
}

KINDS: Final = (
    CredentialKind(
        name="bearer",
        fields={"token": "sent as Authorization: Bearer"},
        secret_fields=("token",),
        help="An API token or personal access token that the server takes as a bearer.",
    ),
    CredentialKind(
        name="header",
        fields={"name": "the header, such as X-Api-Key", "value": "what it carries"},
        secret_fields=("value",),
        help="For servers that want their key in a header of its own.",
    ),
    CredentialKind(
        name="none",
        fields={},
        secret_fields=(),
        help="For servers that serve everyone: nothing is sent with a request.",
    ),
)


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is: a canonical origin, path and query."""

    origin: str
    path: str
    query: str


@lru_cache(maxsize=4_096)
def split_url(url: str) -> Server:
    """The parts of a server's address. Whether it may be reached is the egress rule's to say, at deposit and sending.

    Raises:
        EgressRefused: it is not scheme://host[:port]/path[?query] in a form that can be sent.
    """
    if len(url) > MAX_URL or any(character in url for character in "#\\@"):
        raise EgressRefused("origin", "A server's address has no fragment, user name or backslash.")
    begin = url.find("://") + 3
    cut = min((at for at in (url.find("/", begin), url.find("?", begin)) if at >= 0), default=len(url))
    origin, (path, _, query) = url[:cut], url[cut:].partition("?")
    check_target(path or "/", query)
    # The form is checked as if the operator had opened it: whether they did is asked where it is used.
    scheme, _, authority = origin.partition("://")
    port = "" if re.search(r":[0-9]+\Z", authority) else (":443" if scheme.lower() == "https" else ":80")
    opened = EgressPolicy.parse([authority + port])
    return Server(str(check_origin(origin, policy=opened)), path or "/", query)


def check_config(config: Mapping[str, Json]) -> dict[str, Json]:
    """The config with its defaults filled in; `ready` has become its url.

    Raises:
        InvalidConfig: names every unknown field and every wrong value.
    """
    problems = [_unknown(str(name), _KNOWN) for name in list(config)[:20] if name not in _KNOWN]
    checked = {
        "url": _url(config, problems),
        "prefix": _flag(config, "prefix", default=True, problems=problems),
        "read_tools": _read_tools(config.get("read_tools", []), problems),
        "asks": _asks(config.get("asks", ["elicitation"]), problems),
        WAITING: _flag(config, WAITING, default=False, problems=problems),
        "auth": _auth(config.get("auth", "any"), problems),
    }
    if problems:
        raise InvalidConfig(problems)
    return checked


def _url(config: Mapping[str, Json], problems: list[FieldProblem]) -> str:
    ready, url = config.get("ready"), config.get("url")
    if ready is not None:
        found = READY.get(ready) if isinstance(ready, str) else None
        if found is None:
            problems.append(FieldProblem("ready", f"must be one of {', '.join(READY)}"))
        elif url not in (None, found.url):
            problems.append(FieldProblem("url", "is the ready-made server's: leave it out"))
        return "" if found is None else found.url
    if not isinstance(url, str):
        problems.append(FieldProblem("url", "is required, as text; or `ready` with a ready-made server's name"))
        return ""
    try:
        server = split_url(url)
    except EgressRefused as refused:
        problems.append(FieldProblem("url", refused.reason))
        return ""
    return server.origin + server.path + (f"?{server.query}" if server.query else "")


def _auth(value: Json, problems: list[FieldProblem]) -> str:
    if value not in AUTHS:
        problems.append(FieldProblem("auth", f"must be one of {', '.join(AUTHS)}"))
        return "any"
    return str(value)


def _flag(config: Mapping[str, Json], name: str, *, default: bool, problems: list[FieldProblem]) -> bool:
    value = config.get(name, default)
    if not isinstance(value, bool):
        problems.append(FieldProblem(name, "must be true or false"))
        return default
    return value


def _read_tools(value: Json, problems: list[FieldProblem]) -> list[str] | str:
    if value == "annotated":
        return "annotated"
    if (
        not isinstance(value, list)
        or len(value) > MAX_READ_TOOLS
        or not all(isinstance(name, str) and 0 < len(name) <= 128 for name in value)
    ):
        problems.append(FieldProblem("read_tools", f"must be `annotated` or at most {MAX_READ_TOOLS} names of tools"))
        return []
    return list(dict.fromkeys(value))


def _asks(value: Json, problems: list[FieldProblem]) -> list[str]:
    known = list(ASKED.values())
    if not isinstance(value, list) or not all(isinstance(kind, str) and kind in known for kind in value):
        problems.append(FieldProblem("asks", f"must be a list of {', '.join(known)}"))
        return []
    return list(dict.fromkeys(value))


def check_credential(credential: Mapping[str, Any]) -> tuple[str, bytes, tuple[str, ...]]:
    """(kind, plaintext to seal, declared permissions). Raises InvalidInput, which quotes no value."""
    kind = credential.get("kind")
    if kind == "oauth" and isinstance(credential.get("token"), Tokens):
        # No JSON can hold this: only a sign-in that Keyreeve itself went through has one.
        return "oauth", credential["token"].dump(), ()
    known = {"bearer": ("kind", "token"), "header": ("kind", "name", "value"), "none": ("kind",)}
    if not isinstance(kind, str) or kind not in known:
        raise _refuse("kind", f"must be one of {', '.join(known)}")
    for name in credential:
        if name not in known[kind]:
            raise InvalidInput([_unknown(str(name), known[kind])])
    if kind == "none":
        return "none", b"none " + secrets.token_hex(16).encode(), ()  # its own: see `sessions`
    if kind == "bearer":
        token = credential.get("token")
        if not isinstance(token, str) or len(token) > MAX_HEADER_VALUE or _TOKEN.fullmatch(token) is None:
            raise _refuse("token", "is required: a token's characters, without `Bearer` and white space")
        return "bearer", token.encode("ascii"), ()
    return "header", _header(credential.get("name"), credential.get("value")), ()


def _header(name: Json, value: Json) -> bytes:
    if not isinstance(name, str) or _HEADER_NAME.fullmatch(name) is None:
        raise _refuse("name", "is required: a header's name, such as X-Api-Key")
    if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_BEGINNINGS):
        raise _refuse("name", "is a header that belongs to the transport")
    if not isinstance(value, str) or len(value) > MAX_HEADER_VALUE or _HEADER_VALUE.fullmatch(value) is None:
        raise _refuse("value", "is required: printable ASCII, without white space around it")
    return orjson.dumps({"name": name, "value": value})


def _unknown(name: str, known: Sequence[str]) -> FieldProblem:
    near = get_close_matches(name[:100], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known fields: {', '.join(known)}"
    return FieldProblem(name[:100], f"unknown field; {hint}", unknown=True)


def _refuse(field: str, problem: str) -> InvalidInput:
    return InvalidInput([FieldProblem(field, problem)])

"""What a caller's own client brings to one call of an MCP server, and what that server may ask of it.

A server of 2026-07-28 that wants something first (a form, a page opened, a sample, the client's roots) answers
`input_required`; the client answers it and sends the same request again. An older one asks while the call runs
(`dialogue`), which only a client that waits for the call can answer. What may be asked for is bounded three times:
by what the client declared, by the connection's `asks`, and here: credentials are asked for in no form, pages are plain
https, what a person is told is screened. Messages for a client's model are the server's own words, without secrets.
The server's own state goes round as it is; whoever hands it to a client seals it. Pure.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from connectors.base import Json, Prepared
from connectors.mcp_upstream.screening import screen

KINDS: Final[Mapping[str, str]] = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""What can be asked of a client, and the capability that it declares for it."""

MCP_INPUT: Final = "application/vnd.keyreeve.mcp-input+json"
"""Media type of an Answer whose data is an `input_required` result for the caller's client: `{inputRequests,
requestState?}`."""

PROGRESS_KEY: Final = "progressToken"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
PROGRESS: Final = "progress"
"""Our token for the one call of a connection to the server; what the caller's is called stays here."""

MAX_REQUESTS: Final = 20
MAX_ASKED: Final = 64 * 1024
MAX_STATE: Final = 16 * 1024
MAX_KEY: Final = 100
MAX_TOLD: Final = 1_000
TOO_MUCH: Final = "the server asks for more than can be passed on"

_MODES: Final = ("form", "url")
_SAMPLING: Final = (
    "messages",
    "systemPrompt",
    "maxTokens",
    "temperature",
    "stopSequences",
    "modelPreferences",
)
_HTTPS = re.compile(r"https://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:[/?#][!-~]*)?")
_SECRET = re.compile(
    r"pass[\s_-]?(?:word|phrase|code|wd)|secret|credential|private[\s_-]?key|api[\s_-]?key|access[\s_-]?key|token"
    r"|\bcvv\b|\bcvc\b|\bpin\b|\botp\b|one[\s_-]time|2fa|\bmfa\b|seed[\s_-]phrase|recovery[\s_-]?(?:code|key|phrase)"
    r"|card[\s_-]?number|social[\s_-]security",
    re.IGNORECASE,
)


Put = Callable[[Mapping[str, Json]], Awaitable[Mapping[str, Json] | None]]
"""Puts one request (`{method, params}`) to the client that waits for the call: its result, None where it gave none."""


@dataclass(slots=True, eq=False)
class Round:
    """One round of one call. `responses` and `state` are the client's answer to the round before; `progress` says
    whether it wants to hear how far the call is. `put` is there where the client can be asked meanwhile, and `client`
    then tells it from others of the same account.

    It is for the call of `tool_name` alone: whatever else happens in the same context has no part in it. `sent` is the
    body it went out in, `passed` what the server was told that the client can be asked.
    """

    tool_name: str
    capabilities: Mapping[str, Json] = field(default_factory=dict)
    responses: Mapping[str, Json] | None = None
    state: str | None = None
    progress: bool = False
    put: Put | None = None
    client: str = ""
    sent: bytes | None = None
    passed: Mapping[str, Json] = field(default_factory=dict)


ROUND: Final[ContextVar[Round | None]] = ContextVar("keyreeve_mcp_round", default=None)
"""Set by whoever makes a call for a client that speaks MCP itself; read when it is prepared and answered, in the same
task."""


def round_for(tool_name: str) -> Round | None:
    """The round under way, if it is for this tool."""
    found = ROUND.get()
    return found if found is not None and found.tool_name == tool_name else None


def round_of(prepared: Prepared) -> Round | None:
    """The round that this request went out in."""
    found = ROUND.get()
    return found if found is not None and found.sent is not None and found.sent is prepared.body else None


def offered(capabilities: Mapping[str, Json], asks: object) -> dict[str, Json]:
    """What of a client's capabilities a server is told: the kinds of `asks`, and of each no more than we know."""
    found: dict[str, Json] = {}
    for kind in asks if isinstance(asks, list) else ():
        given = capabilities.get(kind)
        if isinstance(given, dict):
            found[kind] = {mode: {} for mode in _MODES if mode in given} if kind == "elicitation" else {}
    return found


def meta(round_: Round, config: Mapping[str, Json], *, modern: bool) -> dict[str, Json] | None:
    """What the round adds to a request's `_meta`, None for nothing; it keeps what the server is told of the client."""
    found: dict[str, Json] = {PROGRESS_KEY: PROGRESS} if round_.progress else {}
    can = config.get("asks_while_waiting") is True if round_.put is not None else modern
    round_.passed = offered(round_.capabilities, config.get("asks")) if can else {}
    if round_.passed and modern:
        found[CAPABILITIES_KEY] = round_.passed
    return found or None


def answers(round_: Round) -> dict[str, Json]:
    """The client's answers to the round before, as members of the request's params."""
    found: dict[str, Json] = {}
    if round_.responses is not None:
        found["inputResponses"] = dict(round_.responses)
    if round_.state is not None:
        found["requestState"] = round_.state
    return found


def asked(round_: Round, result: Mapping[str, Any]) -> dict[str, Json] | str:
    """The requests of an `input_required` result as the client may see them, or why it may not."""
    requests, state = result.get("inputRequests"), result.get("requestState")
    if requests is None:
        requests = {}
    if not isinstance(requests, dict) or len(requests) > MAX_REQUESTS or not (requests or isinstance(state, str)):
        return "the server asks for something in a form that cannot be passed on"
    # Before anything is looked for in it.
    if len(orjson.dumps(requests)) > MAX_ASKED or len(str(state or "")) > MAX_STATE:
        return TOO_MUCH
    shown: dict[str, Json] = {}
    for key, request in requests.items():
        if not 0 < len(key) <= MAX_KEY or not isinstance(request, dict):
            return "the server asks for something in a form that cannot be passed on"
        made = request_of(round_, request)
        if isinstance(made, str):
            return made
        shown[key] = made
    found: dict[str, Json] = {"inputRequests": shown}
    if isinstance(state, str):
        found["requestState"] = state
    return found


def request_of(round_: Round, request: Mapping[str, Any]) -> dict[str, Json] | str:
    """One request of a server's as the client may see it, or why it may not."""
    method, params = request.get("method"), request.get("params")
    kind = KINDS.get(method) if isinstance(method, str) else None
    if kind is None or kind not in round_.passed:
        return "the server asks for information through the client; Keyreeve passes no such request on"
    params = params if isinstance(params, dict) else {}
    if kind == "roots":
        return {"method": "roots/list", "params": {}}
    if kind == "sampling":
        return {"method": method, "params": {key: params[key] for key in _SAMPLING if key in params}}
    return _elicitation(round_, params)


def _elicitation(round_: Round, params: Mapping[str, Any]) -> dict[str, Json] | str:
    given = params.get("message")
    message = screen(given[: 4 * MAX_TOLD] if isinstance(given, str) else "", MAX_TOLD).text
    modes = round_.passed["elicitation"]
    if params.get("mode") == "url":
        url = params.get("url")
        if "url" not in modes or not isinstance(url, str) or len(url) > 2_000 or _HTTPS.fullmatch(url) is None:
            return "the server wants an address opened that the client cannot open, or that is not plain https"
        shown: dict[str, Json] = {"mode": "url", "message": message, "url": url}
        if isinstance(params.get("elicitationId"), str):
            shown["elicitationId"] = params["elicitationId"][:200]
        return {"method": "elicitation/create", "params": shown}
    schema = params.get("requestedSchema")
    # A client that says only `elicitation` means forms (2025-11-25, client/elicitation).
    if not isinstance(schema, dict) or (modes and "form" not in modes):
        return "the server asks for a form that the client cannot show"
    if _SECRET.search(message) or _SECRET.search(orjson.dumps(schema).decode()):
        return "the server asks for what reads like a credential in a form; nothing was passed on, and nothing given"
    shown = {"message": message, "requestedSchema": schema}
    if params.get("mode") == "form":
        shown["mode"] = "form"
    return {"method": "elicitation/create", "params": shown}

"""Leading a person to connect an account: the `NAME_connect` tools, and the question a client puts to its user.

A credential is never asked for over MCP. What is handed out is the address of a page of ours that asks who is there;
the address is the same for everybody and opens nothing by itself.
"""

from collections.abc import Mapping
from typing import Any, Final

from broker.domain import Caller
from broker.endpoints.mcp.answers import SERVER, Json
from broker.endpoints.mcp.message import Message
from broker.endpoints.mcp.rounds import OURS, Brought, bound
from broker.endpoints.mcp.rpc import INVALID_PARAMS, Refused
from broker.endpoints.mcp.versions import META_SERVER
from broker.endpoints.mcp.visit import Visit
from broker.errors import Problem
from broker.tools.carried import Carried

CODES: Final = frozenset({"not_connected", "needs_reauth", "revoked"})
"""Refusals that connecting an account mends."""

SUFFIX: Final = "_connect"

QUESTION: Final = "connect"
"""What the one question of a round is called."""

ACTIONS: Final = frozenset({"accept", "decline", "cancel"})


def connectable(unavailable: Mapping[str, Any]) -> bool:
    """Whether an entry of the listing is a connection that waits for an account."""
    return "name" not in unavailable and unavailable["reason"] in CODES


def connect_tool(unavailable: Mapping[str, Any]) -> Json:
    """The tool that stands for a connection without a usable account, which has no others."""
    return {
        "name": f"{unavailable['connection_name']}{SUFFIX}",
        "title": f"Connect {unavailable['connection_name']}",
        "description": (
            f"{unavailable['connection_name']} has no usable account for you ({unavailable['reason']}). "
            "Answers with the link where the person connects one; afterwards its tools are listed."
        ),
        "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False},
        "annotations": {
            "title": f"Connect {unavailable['connection_name']}",
            "readOnlyHint": True,
            "destructiveHint": False,
            "idempotentHint": True,
            "openWorldHint": False,
        },
    }


def asks_in_browser(message: Message) -> bool:
    """Whether the client can send its user to a page and come back (URL-mode elicitation, 2026-07-28)."""
    elicitation = message.capabilities.get("elicitation")
    return message.modern and isinstance(elicitation, dict) and isinstance(elicitation.get("url"), dict)


def question(visit: Visit, caller: Caller, carried: Carried, problem: Problem) -> Json:
    """The result that sends the client to its user."""
    told = f"{problem.detail}. Connect it in the browser."
    params = {"mode": "url", "message": told, "url": problem.extra["connect_url"]}
    return {
        "resultType": "input_required",
        "inputRequests": {QUESTION: {"method": "elicitation/create", "params": params}},
        "requestState": carried.seal(bound(visit, caller), caller.now, OURS),
        "_meta": {META_SERVER: SERVER},
    }


def answered(back: Brought) -> str:
    """What the user did with our question: `accept`, `decline` or `cancel`. Raises Refused where that is not said."""
    response = back.responses.get(QUESTION)
    action = response.get("action") if isinstance(response, dict) else None
    if action not in ACTIONS:
        raise Refused(INVALID_PARAMS, f"inputResponses.{QUESTION}.action must be accept, decline or cancel")
    return str(action)

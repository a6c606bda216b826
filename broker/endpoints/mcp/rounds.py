"""Rounds of one call (2026-07-28, basic/patterns/mrtr): what a client brings back, and what it is asked next. A client
of the older eras answers while its call waits: its rounds are made here, one after the other.

A question is ours (connect an account) or a server's behind us. `requestState` is always sealed here, for this call of
this caller at this address: a server's own state travels inside, and comes back to that server only as it was sent out.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.domain import Caller
from broker.endpoints.mcp import handshake
from broker.endpoints.mcp.answers import SERVER, Json
from broker.endpoints.mcp.relay import Relay
from broker.endpoints.mcp.rpc import INVALID_PARAMS, MISSING_CAPABILITY, Refused
from broker.endpoints.mcp.versions import META_SERVER
from broker.endpoints.mcp.visit import META_IDEMPOTENCY, Visit
from broker.errors import Problem
from broker.tools.carried import Carried
from broker.tools.results import Result
from connectors.mcp_upstream.answer import MISSING_CAPABILITY as UPSTREAM_MISSING
from connectors.mcp_upstream.rounds import MAX_REQUESTS, MCP_INPUT, ROUND, Put, Round
from connectors.mcp_upstream.streams import LISTENER

OURS: Final = b"connect"
THEIRS: Final = b"server:"
"""How what is sealed begins: whose question it was."""

MAX_ROUNDS: Final = 8
"""How often a server may ask a client of the older eras in one call."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What a client brought back. `ours`: to our own question; `state` is the server's, None where it gave none."""

    ours: bool
    responses: Mapping[str, Any]
    state: str | None


def bound(visit: Visit, caller: Caller) -> bytes:
    """What a round's state is good for: this call, with these arguments, at this endpoint, for this identity."""
    params = {k: v for k, v in visit.message.params.items() if k not in ("_meta", "inputResponses", "requestState")}
    identity = None if caller.identity is None else str(caller.identity.id)
    parts = [str(caller.tenant_id), identity, visit.place.path, visit.message.method, params]
    return json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()


def brought(visit: Visit, caller: Caller, carried: Carried) -> Brought | None:
    """What the client answers, None where this is the first round. Raises Refused for a state that was not given for
    this call of this caller, and for answers that are none."""
    params = visit.message.params
    if not visit.message.modern or ("inputResponses" not in params and "requestState" not in params):
        return None
    responses = params.get("inputResponses", {})
    if not isinstance(responses, dict) or len(responses) > MAX_REQUESTS * 2:
        raise Refused(INVALID_PARAMS, "inputResponses must be an object of answers")
    for key, response in responses.items():
        if not isinstance(response, dict):
            raise Refused(INVALID_PARAMS, f"inputResponses.{key[:100]} must be an object")
    if "requestState" not in params:
        return Brought(ours=False, responses=responses, state=None)
    try:
        content = carried.open(params["requestState"], bound(visit, caller), caller.now)
    except Problem as problem:
        raise Refused(INVALID_PARAMS, problem.detail) from None
    if content.startswith(THEIRS):
        return Brought(ours=False, responses=responses, state=content.removeprefix(THEIRS).decode())
    return Brought(ours=True, responses=responses, state=None)


async def run(
    visit: Visit,
    caller: Caller,
    tool_name: str,
    back: Brought | None,
    relay: Relay,
    execute: Callable[[], Awaitable[Result]],
) -> Result:
    """Runs a call in which the server behind the tool may ask the caller's client. Raises what `execute` raises, and
    Problem where the client does not answer."""
    for _ in range(MAX_ROUNDS):
        round_ = _begin(visit, caller, tool_name, back, relay)
        result = await execute()
        if result.media_type != MCP_INPUT or round_.put is None:
            return result
        back = await _answered(round_.put, result)
    raise Problem("unavailable", f"the server asked {MAX_ROUNDS} times and still does not answer", fix="admin")


def _begin(visit: Visit, caller: Caller, tool_name: str, back: Brought | None, relay: Relay) -> Round:
    """Lets the server take part in this call: for the rest of the current task."""
    message = visit.message
    capabilities = message.capabilities
    if META_IDEMPOTENCY in message.meta:
        capabilities = {}  # such a call is one request, whose answer is kept: nobody can be asked in between
    round_ = Round(tool_name, progress=relay.token is not None)
    if message.modern:
        round_.capabilities = capabilities
    elif capabilities and relay.questions is not None and caller.identity is not None:
        connection_name = tool_name.partition("_")[0]
        round_.capabilities = capabilities
        round_.put = lambda request: relay.ask(caller, _told(request, connection_name))
        round_.client = f"{caller.identity.id} {visit.headers[handshake.HEADER]}"
    if back is not None and not back.ours:
        round_.responses, round_.state = back.responses, back.state
    ROUND.set(round_)
    LISTENER.set(relay.hear)
    return round_


async def _answered(put: Put, result: Result) -> Brought:
    """What the client answers to each request of an `input_required` result. Raises Problem where it does not."""
    responses: Json = {}
    for key, request in result.data["inputRequests"].items():
        answer = await put(request)
        if answer is None:
            hint = "answer what the client shows, and call the tool again"
            raise Problem("unavailable", "the client gave no answer to what the server asked", hint=hint, fix="user")
        responses[key] = answer
    return Brought(ours=False, responses=responses, state=result.data.get("requestState"))


def wanted(visit: Visit, caller: Caller, carried: Carried, result: Result, connection_name: str) -> Json | None:
    """The result that asks the client what the server behind the tool wants, or None where it wants nothing.

    Raises Refused where the server cannot go on because of what the client does not do.
    """
    if result.media_type == MCP_INPUT:
        requests = {key: _told(request, connection_name) for key, request in result.data["inputRequests"].items()}
        return _asking(visit, caller, carried, requests, result.data.get("requestState"))
    errors = (result.error or {}).get("errors") or ()
    if visit.message.modern and any(isinstance(e, dict) and e.get("code") == UPSTREAM_MISSING for e in errors):
        needed = (result.error or {}).get("required_capabilities") or ()
        data: Json = {"requiredCapabilities": {kind: {} for kind in needed}}
        raise Refused(MISSING_CAPABILITY, f"{connection_name} needs to ask the client first", data=data)
    return None


def _told(request: Mapping[str, Any], connection_name: str) -> Json:
    """A request whose person reads who asks."""
    params = request["params"]
    if "message" not in params:
        return dict(request)
    return {**request, "params": {**params, "message": f"{connection_name} asks: {params['message']}"}}


def _asking(visit: Visit, caller: Caller, carried: Carried, requests: Json, state: str | None) -> Json:
    shown: Json = {"resultType": "input_required", "inputRequests": requests, "_meta": {META_SERVER: SERVER}}
    if state is not None:
        shown["requestState"] = carried.seal(bound(visit, caller), caller.now, THEIRS + state.encode())
    return shown

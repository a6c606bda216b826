"""Calls of the two tools of `?codemode=search_and_execute`: a program over everything that the URL would list."""

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import orjson

from broker.endpoints.mcp.answers import Json, tool_result
from broker.endpoints.mcp.catalog import Catalog, full_name
from broker.endpoints.mcp.visit import META_DEADLINE, META_IDEMPOTENCY, META_INTENT, Visit, seconds_of, text_of
from broker.errors import invalid
from broker.gate.types import CallRecord
from broker.tools.codemode.portal.asked import Ask, Kind, Shown

if TYPE_CHECKING:
    from broker.services import Services

MAX_WAIT_SECONDS: Final = 10.0
CALLS_SHOWN: Final = 200
"""Calls told beside an answer; a program makes no more unless its limits were raised."""

_KINDS: Final[Mapping[str, Kind]] = {"execute": "execute", "search": "search"}


def kind_of(name: str) -> Kind | None:
    """Which of the two a tool's name is."""
    return _KINDS.get(name)


async def call(services: "Services", catalog: Catalog, visit: Visit, kind: Kind, arguments: Mapping[str, Any]) -> Json:
    """The result of one of the two. Raises Problem."""
    meta, limits = visit.message.meta, services.settings.limits
    if text_of(meta, META_IDEMPOTENCY, 200) is not None:
        hint = "a connection's own NAME_execute, without ?codemode, takes one"
        raise invalid(f"_meta.{META_IDEMPOTENCY}", "is not taken by a program over several connections", hint=hint)
    asked, at = visit.asked(visit.place.connection), monotonic()
    resolved = await services.authenticator.resolve(visit.token, asked, services.clock.now())
    if resolved.caller.identity is None:
        raise invalid("X-Keyreeve-Identifier", "is required with an agent key: whose tools are they?")
    listed = await catalog.listed(visit, resolved)
    tools = visit.options.tools
    ask = Ask(
        kind=kind,
        arguments=arguments,
        tools=[Shown(str(t["name"]), full_name(visit, str(t["name"])), t) for t in listed.tools],
        unavailable=listed.unavailable,
        narrowed=orjson.dumps([visit.place.connection, None if tools is None else sorted(tools)]).decode(),
        intent=text_of(meta, META_INTENT, 500),
        deadline_seconds=seconds_of(meta, META_DEADLINE, limits.call_seconds, limits.call_seconds_max),
        max_wait_seconds=MAX_WAIT_SECONDS,
        looked_up_at=at,
    )
    result = await services.portal.run(visit.token, asked, resolved, ask)
    shown = tool_result(result)
    if result.calls:
        shown["_meta"]["keyreeve/calls"] = [_call(one) for one in result.calls[:CALLS_SHOWN]]
    return shown


def _call(record: CallRecord) -> Json:
    return {
        "n": record.n,
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "effect": record.effect,
        "sent": record.sent,
    }

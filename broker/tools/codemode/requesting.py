"""What a program asks for, made into requests: hostile texts read within bounds, connectors' refusals told in words.
Pure but for one thread."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import orjson

from broker.accounts.views import View
from broker.domain import Connection, Resolved
from broker.errors import Problem
from broker.gate.perform import Gate
from broker.gate.types import CallRequest
from broker.tools.hints import Hints
from connectors.base import Prepared, Programmable
from connectors.errors import EgressRefused, InvalidInput, PayloadTooLarge, SpecError, UnknownOperation
from connectors.openapi.weight import too_heavy

_LONG_NUMBER: Final = re.compile(rb"[0-9]{17}")
_LONG_ARGUMENT: Final = 64 * 1024
_SHOWN_BODY: Final = 20_000

_heavy: Final = asyncio.Semaphore(1)
"""Long arguments are read one at a time in a process, off the event loop: nobody else waits for them."""


T = TypeVar("T")


async def read(argument: bytes, work: Callable[[Mapping[str, Any]], T]) -> T:
    """What `work` makes of a host call's argument, an object. Raises Problem `invalid_input`, `payload_too_large`, and
    what `work` raises."""
    if len(argument) <= _LONG_ARGUMENT:
        return work(_decode(argument))
    async with _heavy:
        return await asyncio.to_thread(lambda: work(_decode(argument)))


def _decode(argument: bytes) -> Mapping[str, Any]:
    if too_heavy(argument, aside=b'"bodyText":"'):
        raise Problem("payload_too_large", "it has too many objects, arrays and members: send less at a time")
    try:
        # orjson reads integers beyond 64 bits as floats.
        given = json.loads(argument) if _LONG_NUMBER.search(argument) else orjson.loads(argument)
    except (ValueError, RecursionError):
        raise Problem("invalid_input", "the arguments are not JSON, or are nested too deeply") from None
    if not isinstance(given, dict):
        raise Problem("invalid_input", "the arguments are an object")
    return given


def text(given: Mapping[str, Any], name: str, most: int) -> str:
    """A text of an argument, at most `most` characters. Raises Problem `invalid_input`."""
    value = given.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise Problem("invalid_input", f"{name} must be a text of at most {most} characters")
    return value


def objects(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object of an argument; none where it is left out. Raises Problem `invalid_input`."""
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Problem("invalid_input", f"{name} must be an object")
    return value


def tool_call(
    hints: Hints, view: View, resolved: Resolved, connection: Connection, tool_name: str, arguments: Mapping[str, Any]
) -> Prepared:
    """The request of a tool, if it still is offered. Raises Problem."""
    tool = view.tool(tool_name)
    if tool is None:
        raise hints.unknown_tool(tool_name, view, resolved, connection)
    if tool.held is not None:
        raise Problem("schema_changed", f"{tool_name}: {tool.held}", fix="admin")

    def unknown(error: UnknownOperation) -> Problem:
        return hints.unknown_operation(error, view, resolved, connection)

    with _told(unknown):
        return view.connector.prepare(view, tool_name, arguments)


def request(hints: Hints, view: View, resolved: Resolved, connection: Connection, given: Mapping[str, Any]) -> Prepared:
    """The request that a program writes by method and path. Raises Problem."""
    connector = view.connector
    if not isinstance(connector, Programmable):
        raise Problem("invalid_input", "this connection takes no requests")

    def unknown(error: UnknownOperation) -> Problem:
        problem = hints.unknown_operation(error, view, resolved, connection, tool="execute")
        problem.detail = f"the API of {connection.name} has no {error.asked}"
        return problem

    with _told(unknown):
        return connector.prepare_request(view, given)


@contextmanager
def _told(unknown: Callable[[UnknownOperation], Problem]) -> Iterator[None]:
    """A connector's refusals as Problems."""
    try:
        yield
    except UnknownOperation as error:
        raise unknown(error) from None
    except PayloadTooLarge as error:
        raise Problem("payload_too_large", str(error)) from None
    except InvalidInput as error:
        raise Problem("invalid_input", str(error)[:1000], hint=error.hint) from None
    except EgressRefused as error:
        raise Problem("egress_refused", error.reason, fix="model") from None
    except SpecError as error:
        raise Problem("unavailable", str(error)) from None


def described(prepared: Prepared, gate: Gate, call: CallRequest) -> dict[str, Any]:
    """What a write would be and whether it would be let through, for a dry run."""
    decision = gate.judge(call, prepared)
    permit = call.connector.permit(prepared, call.permissions)
    return {
        "method": prepared.method,
        "path": prepared.path,
        "query": prepared.query,
        "body": _shown_body(prepared),
        "operation": prepared.operation.ref,
        "effect": prepared.effect,
        "permissions": list(prepared.operation.permissions),
        "permitted_upstream": permit.verdict,
        "decision": {
            "allowed": decision.allowed,
            "reason": decision.reason,
            "detail": decision.detail or None,
            "would_grant": decision.would_grant,
        },
    }


def _shown_body(prepared: Prepared) -> Any:
    """The body as it would be sent: JSON as JSON, short text as text, anything else as its size."""
    if prepared.body is None:
        return None
    kind = next((value for name, value in prepared.headers if name.lower() == "content-type"), "")
    try:
        if "json" in kind:
            orjson.loads(prepared.body)  # only what is JSON may stand in JSON as it is
            return orjson.Fragment(prepared.body)
        return prepared.body.decode() if len(prepared.body) <= _SHOWN_BODY else {"bytes": len(prepared.body)}
    except ValueError:
        return {"bytes": len(prepared.body)}

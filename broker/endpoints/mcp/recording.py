"""Refusals that are found here, before anything below could write them down: counted, and on record where it is known
whom they refuse. The audit's own flood control bounds them like all others."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from broker.audit.events import RefusalFacts
from broker.domain import Caller
from broker.endpoints.mcp.rpc import Refused
from broker.errors import Problem

if TYPE_CHECKING:
    from broker.services import Services


async def record(
    services: "Services",
    caller: Caller,
    problem: Problem,
    *,
    tool_name: str | None = None,
    connection_name: str | None = None,
    operation: str | None = None,
) -> None:
    """Counts and writes down a refusal of this caller, unless that was done. One of somebody who is not authenticated
    after all is only counted, where it is answered."""
    if problem.kind.status == 401 or any(other.recorded for other in _problems(problem)):
        return
    services.metrics.refused(problem.code)
    facts = RefusalFacts(
        reason=problem.code,
        code=problem.code,
        tool_name=tool_name,
        connection_name=connection_name,
        operation=operation,
        detail=problem.detail[:300],
    )
    await services.trail.refusal(caller, facts)
    problem.recorded = True


@asynccontextmanager
async def on_record(
    services: "Services",
    caller: Caller,
    *,
    tool_name: str | None = None,
    connection_name: str | None = None,
    operation: str | None = None,
) -> AsyncIterator[None]:
    """Whatever is refused inside is on record before its caller hears of it: problems, and JSON-RPC errors that are
    about more than the message's form."""
    try:
        yield
    except (Problem, Refused) as refused:
        problem = _problem_of(refused)
        if problem is not None:
            await record(
                services,
                caller,
                problem,
                tool_name=tool_name,
                connection_name=connection_name,
                operation=operation,
            )
        raise


def _problem_of(refused: Problem | Refused) -> Problem | None:
    """What is to be on record: the problem itself, or the one that a JSON-RPC error was raised in place of, else what
    that error says. None: nothing."""
    if isinstance(refused, Refused) and (refused.early or refused.reason is None):
        return None
    found = next(_problems(refused), None)
    if found is None and isinstance(refused, Refused):
        return Problem(refused.reason or "invalid_input", refused.message)
    return found


def _problems(error: BaseException | None) -> Iterator[Problem]:
    """The problems among an error and what it was raised in place of, however that was told on."""
    while error is not None:
        if isinstance(error, Problem):
            yield error
        error = error.__context__

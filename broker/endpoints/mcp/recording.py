"""Refusals that are found here, before anything below could write them down: counted, and on record where it is known
whom they refuse. The audit's own flood control bounds them like all others."""

from typing import TYPE_CHECKING

from broker.audit.events import RefusalFacts
from broker.domain import Caller
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
) -> None:
    """Counts and writes down a refusal of this caller, unless that was done. One of somebody who is not authenticated
    after all is only counted, where it is answered."""
    if problem.recorded or problem.kind.status == 401:
        return
    services.metrics.refused(problem.code)
    if caller.identity is not None:
        facts = RefusalFacts(
            reason=problem.code,
            code=problem.code,
            tool_name=tool_name,
            connection_name=connection_name,
            detail=problem.detail[:300],
        )
        await services.trail.refusal(caller, facts)
    problem.recorded = True

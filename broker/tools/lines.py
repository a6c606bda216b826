"""The canonical log line of a call: templates and ids, never an argument. Pure."""

from broker.gate.types import CallRequest, Performed
from broker.logs import CallLine
from connectors.base import Prepared


def call_line(call: CallRequest, prepared: Prepared, performed: Performed) -> CallLine:
    """The line of one performed call."""
    caller, answer, times = call.resolved.caller, performed.answer, performed.timings
    return CallLine(
        tenant=caller.tenant_name,
        identity=None if caller.identity is None else caller.identity.identifier,
        actor=caller.actor,
        tool=call.tool_name,
        operation=prepared.operation.ref,
        outcome="upstream_error" if answer.is_error else "ok",
        status=answer.status,
        execution_id=call.execution_id,
        n=call.n,
        ms=times.wait_ms + times.admit_ms + times.upstream_ms + times.settle_ms,
        db_ms=times.admit_ms + times.settle_ms,
        upstream_ms=times.upstream_ms,
        wait_ms=times.wait_ms,
        request_bytes=answer.request_bytes,
        response_bytes=answer.response_bytes,
    )

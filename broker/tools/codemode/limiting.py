"""How much one program may use: the installation's limits, what its tenant is held to below them, and the time left.
Pure.
"""

from typing import Final

from broker.identity.sandbox import SandboxRule
from broker.settings import Limits
from broker.tools.codemode.sandbox.limits import KIB, MIB, RunLimits

LONGEST_MESSAGE: Final = 8 * MIB
LOG_BYTES: Final = 64 * KIB


def run_limits(limits: Limits, rule: SandboxRule, *, cpu_seconds: float, seconds_left: float) -> RunLimits:
    """The limits of one run: each the smaller of the installation's (`cpu_seconds` is that of its kind) and its
    tenant's. `seconds_left`: until it has to be over."""
    wall = min(max(seconds_left, 0.25), limits.call_seconds_max)
    heap = limits.code_heap_bytes
    output = LONGEST_MESSAGE
    if rule.cpu_ms is not None:
        cpu_seconds = min(cpu_seconds, rule.cpu_ms / 1000)
    if rule.wall_seconds is not None:
        wall = min(wall, rule.wall_seconds)
    if rule.memory_mb is not None:
        heap = min(heap, rule.memory_mb * MIB)
    if rule.output_bytes is not None:
        output = min(output, rule.output_bytes)
    calls = limits.code_requests if rule.host_calls is None else min(limits.code_requests, rule.host_calls)
    return RunLimits(
        cpu_seconds=cpu_seconds,
        wall_seconds=wall,
        heap_bytes=heap,
        host_calls=calls,
        host_calls_at_once=limits.code_requests_at_once,
        message_bytes=LONGEST_MESSAGE,
        reply_bytes=LONGEST_MESSAGE,
        result_bytes=output,
        log_bytes=min(LOG_BYTES, output),
    )

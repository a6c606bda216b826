"""What a connection's programs and the portal's have in common: a run within its limits, and its result as answered."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from broker.errors import Problem
from broker.gate.types import CallRecord
from broker.identity.sandbox import SandboxRule
from broker.metrics import Metrics
from broker.settings import Limits
from broker.tools.codemode.limiting import run_limits
from broker.tools.codemode.ready import ReadySandbox
from broker.tools.codemode.reporting import done_first
from broker.tools.codemode.sandbox.errors import SandboxBusy, SandboxUnavailable
from broker.tools.codemode.sandbox.program import Host, Outcome, Program
from broker.tools.codemode.shrink import NotJson, shrink

_LARGE: Final = 64 * 1024
"""A result longer than this is looked through off the event loop."""
_SETTLING_SECONDS: Final = 1.0
"""So long before its deadline a program is stopped, to be told what it did."""


class Running:
    """Runs programs in the sandbox, and counts them. One per process and kind of caller."""

    def __init__(self, ready: ReadySandbox, limits: Limits, metrics: Metrics) -> None:
        self._ready = ready
        self._limits = limits
        self._metrics = metrics

    async def run(
        self,
        program: Program,
        host: Host,
        *,
        kind: Literal["search", "execute"],
        tenant_id: UUID,
        rule: SandboxRule,
        seconds_left: float,
    ) -> Outcome:
        """A run to its end, waiting for its turn included within `seconds_left`, until its execution's deadline. Raises
        Problem `rate_limited`, `unavailable`."""
        asked = time.monotonic()
        sandbox = await self._ready.sandbox()
        started = time.monotonic()
        limits, left = self._limits, seconds_left - (started - asked) - _SETTLING_SECONDS
        cpu_seconds = limits.search_seconds if kind == "search" else limits.code_seconds
        bounds = run_limits(limits, rule, cpu_seconds=cpu_seconds, seconds_left=left)
        try:
            ran = await sandbox.run(
                program,
                host,
                tenant=tenant_id,
                limits=bounds,
                isolated=rule.isolate,
                at_once=rule.runs_at_once,
                within=max(left, bounds.wall_seconds),
            )
        except SandboxBusy as error:
            raise Problem("rate_limited", str(error), retry_after=2, sent=False) from None
        except SandboxUnavailable as error:
            raise Problem("unavailable", f"programs cannot be run now: {error}", sent=False) from None
        limit = (ran.error or {}).get("limit")
        self._metrics.program(
            kind,
            "ok" if ran.ok else str((ran.error or {}).get("kind", "thrown")),
            cpu=ran.cpu_ms / 1000,
            wall=time.monotonic() - started,
            limit=None if limit is None else str(limit),
        )
        return ran


async def shown(value: bytes, most: int, calls: Sequence[CallRecord]) -> tuple[Any, bool, dict[str, Any] | None]:
    """A result as it is answered, in at most `most` characters, whether it was cut, and the error that it is."""
    try:
        if len(value) > _LARGE:
            short, cut = await asyncio.to_thread(shrink, value, most)
        else:
            short, cut = shrink(value, most)
    except NotJson:
        told = done_first(calls, "the program's result is not JSON: return plain data")
        return None, False, {"code": "code_error", "detail": told, "fix": "model", "kind": "thrown"}
    return orjson.Fragment(short), cut, None

"""How much one run may use. Every field has a ceiling that no configuration lifts."""

from dataclasses import dataclass, fields
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024

CODE_BYTES: Final = MIB
"""The longest program text, in UTF-8 bytes."""
CONTEXT_BYTES: Final = 4 * MIB
"""The longest context given to a program."""
PENDING_BYTES: Final = 32 * MIB
"""How much the arguments of one run's unanswered host calls may take together."""
SLEEPS: Final = 1000
"""How many timers one run may start."""
LOG_LINES: Final = 2000
"""How many log entries one run may keep, whatever their length."""
ERROR_BYTES: Final = 64 * KIB
"""How long the description of an error may be, in JSON."""

_RANGES: Final = {
    "cpu_seconds": (0.01, 10.0),
    "wall_seconds": (0.05, 600.0),
    "heap_bytes": (4 * MIB, 96 * MIB),
    "host_calls": (0, 10_000),
    "host_calls_at_once": (1, 64),
    "message_bytes": (KIB, 16 * MIB),
    "reply_bytes": (KIB, 16 * MIB),
    "result_bytes": (KIB, 16 * MIB),
    "log_bytes": (0, MIB),
}


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Limits of one run. Raises ValueError for a value outside its range.

    `cpu_seconds` (0.01-10) is CPU time of the program itself, over all its slices; `wall_seconds` (0.05-600) runs from
    the moment the program starts until its result, waiting for host calls included. `heap_bytes` (4-96 MiB) is what it
    may allocate on top of its image. `host_calls` (0-10,000) and `host_calls_at_once` (1-64) count calls other than
    timers. `message_bytes`, `reply_bytes`, `result_bytes` (1 KiB-16 MiB) bound one host call's argument, its answer and
    the program's result, as JSON; `log_bytes` (0-1 MiB) what is kept of its log.
    """

    cpu_seconds: float = 1.0
    wall_seconds: float = 30.0
    heap_bytes: int = 64 * MIB
    host_calls: int = 200
    host_calls_at_once: int = 8
    message_bytes: int = MIB
    reply_bytes: int = 4 * MIB
    result_bytes: int = 8 * MIB
    log_bytes: int = 64 * KIB

    def __post_init__(self) -> None:
        for field in fields(self):
            low, high = _RANGES[field.name]
            value = getattr(self, field.name)
            if not low <= value <= high:
                raise ValueError(f"{field.name} must be between {low} and {high}, not {value}")


EXECUTE: Final = RunLimits()
SEARCH: Final = RunLimits(cpu_seconds=4.0)

"""What goes into the sandbox and what comes out."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Host: TypeAlias = Callable[[str, bytes], Awaitable[bytes]]
"""Answers a host call: (name, argument as JSON) → result as JSON. HostError rejects in the program. Both come from
hostile code.
"""

Level: TypeAlias = Literal["log", "info", "warn", "error", "debug"]


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A memory image ready to be mapped, and the machine code that runs it: made by `Images`, and by nobody else
    (running the code trusts it wholly).

    `memory_bytes` is its size, `max_bytes` what a run's memory may grow to at most; `run` and `deliver` are the guest's
    own handles.
    """

    key: str
    path: Path
    code: Path
    memory_bytes: int
    max_bytes: int
    run: int
    deliver: int


@dataclass(frozen=True, slots=True)
class Program:
    """Code for an image, with `context`, a JSON text that the guest's run function is given."""

    image: ImageRef
    code: str
    context: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One entry of a program's log."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    `value` is the result as JSON text, bounded by `result_bytes`; it was written by a program nobody trusts, so parse
    it before embedding it anywhere. `error` has `kind` (`syntax`, `thrown`, `limit`), `name`, `message` and what else
    the guest knows (`line`, `column`, `stack`, `status`, …); a `limit` also has `limit`, the name of the one that was
    met. `cpu_ms` is CPU time of the program in milliseconds, `host_calls` how many calls were asked for (timers not
    counted), `log_dropped` how many log entries did not fit. `undefined` says that the program returned nothing
    (`value` is `null` then).
    """

    ok: bool
    value: bytes | None
    error: Mapping[str, Any] | None
    logs: tuple[LogLine, ...]
    cpu_ms: float
    host_calls: int
    log_dropped: int = 0
    undefined: bool = False

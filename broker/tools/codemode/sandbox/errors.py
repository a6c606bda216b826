"""What can go wrong around a program. What a program itself does wrong is an `Outcome`, never an exception.

```
SandboxError
├── SandboxUnavailable      no program can be run now
│   └── SandboxBusy         too many are waiting; trying again later helps
├── HostError               raised by a host function: rejects in the program
├── BuildFailed             an image could not be made
├── LimitReached            (inside a worker) a run met one of its limits
└── Tampered                (in the pool) a worker said what no honest worker says
```
"""

from collections.abc import Mapping
from typing import Any


class SandboxError(Exception):
    """Root of this package's errors."""


class SandboxUnavailable(SandboxError):
    """No program can be run: `args[0]` is a sentence for an operator, without secrets."""


class SandboxBusy(SandboxUnavailable):
    """Every place is taken and the queue is full, or the wait took longer than the run's own wall limit."""


class HostError(SandboxError):
    """A host call failed: `payload` is what the program catches, a JSON object with at least `message`."""

    def __init__(self, payload: Mapping[str, Any]) -> None:
        self.payload = payload
        super().__init__(str(payload.get("message", "the host call failed")))


class BuildFailed(SandboxUnavailable):
    """An image could not be built. The sentence says at which step."""


class LimitReached(SandboxError):
    """A run met a limit: `limit` is the field of RunLimits (or a short name), the message is for whoever wrote the
    program.
    """

    def __init__(self, limit: str, message: str) -> None:
        self.limit = limit
        super().__init__(message)


class Tampered(SandboxError):
    """A frame that no honest worker sends. The worker is killed."""

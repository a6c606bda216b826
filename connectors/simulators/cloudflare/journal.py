"""What reached the simulator: the newest requests in a bounded ring, and a count of all."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from connectors.simulators.cloudflare.clock import iso

HIDDEN = frozenset({b"x-auth-key", b"x-auth-email", b"x-sim-control"})


@dataclass(slots=True)
class Entry:
    """One request. `at` is the monotonic clock's seconds (shared by every process of a machine), `status`
    None until it was answered. `path` and `query` are the bytes on the wire; `headers` the names only,
    `extra` the `x-…` values.
    """

    n: int
    at: float
    wall: float
    principal: str
    token: str
    method: str
    path: str
    query: str
    headers: tuple[bytes, ...]
    extra: tuple[tuple[bytes, bytes], ...]
    status: int | None = None
    bytes_in: int = 0
    ray: str = ""
    fault: str = ""

    def wire(self) -> dict[str, Any]:
        """As the control plane shows it."""
        return {
            "n": self.n,
            "at": self.at,
            "time": iso(self.wall),
            "principal": self.principal,
            "token_fingerprint": self.token,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": [name.decode("latin-1") for name in self.headers],
            "x": {name.decode("latin-1"): value.decode("latin-1") for name, value in self.extra},
            "status": self.status,
            "bytes_in": self.bytes_in,
            "ray": self.ray,
            "fault": self.fault,
        }


class Journal:
    """The newest `capacity` entries, and `total`, which counts every one since the last reset."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._ring: deque[Entry] = deque(maxlen=capacity)
        self._names: dict[tuple[bytes, ...], tuple[bytes, ...]] = {}
        self.total = 0

    def add(self, entry: Entry) -> None:
        """Append; the oldest goes when the ring is full."""
        entry.n = self.total
        self.total += 1
        if len(self._names) > 1000:
            self._names.clear()
        entry.headers = self._names.setdefault(entry.headers, entry.headers)
        self._ring.append(entry)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._ring))

    def __len__(self) -> int:
        return len(self._ring)

    def find(
        self,
        *,
        since: int = 0,
        principal: str | None = None,
        method: str | None = None,
        contains: str | None = None,
        limit: int = 1000,
    ) -> list[Entry]:
        """At most `limit` entries numbered from `since`, oldest first; `contains` is looked for in path?query."""
        found: list[Entry] = []
        for entry in self:
            if entry.n < since or (principal and entry.principal != principal):
                continue
            if (method and entry.method != method) or (contains and contains not in f"{entry.path}?{entry.query}"):
                continue
            found.append(entry)
            if len(found) >= limit:
                break
        return found

    def reset(self) -> None:
        """Forget everything and count from zero."""
        self._ring.clear()
        self.total = 0

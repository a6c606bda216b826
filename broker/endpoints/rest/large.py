"""Large request bodies: taken only from callers who are known, and only as many as there is memory for.

A body of 26 MiB is ten times that once it is parsed. So whoever announces more than `LARGE` is authenticated before a
byte of it is read, and holds room for it until the answer is out. Per process.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from broker.errors import Problem

LARGE: Final = 256 * 1024
TENANT_BYTES: Final = 64 * 1024 * 1024
ALL_BYTES: Final = 256 * 1024 * 1024


def announced(headers: Mapping[str, str], limit: int) -> int:
    """How many bytes of large body the headers announce; `limit` where they do not say, 0 for a small one or none."""
    length = headers.get("content-length")
    if length is None:
        return limit if "transfer-encoding" in headers else 0
    size = int(length) if length.isdigit() and len(length) <= 18 else limit
    return size if size > LARGE else 0


class Room:
    """Bytes of large bodies in hand: so many for one tenant, so many for all."""

    def __init__(self, *, tenant_bytes: int = TENANT_BYTES, all_bytes: int = ALL_BYTES) -> None:
        self._tenant_bytes = tenant_bytes
        self._all_bytes = all_bytes
        self._held: Counter[UUID] = Counter()

    @contextmanager
    def hold(self, tenant_id: UUID, size: int) -> Iterator[None]:
        """Keeps room for a body of `size` bytes. Raises Problem `rate_limited` where there is none."""
        if self._held[tenant_id] + size > self._tenant_bytes or self._held.total() + size > self._all_bytes:
            raise Problem(
                "rate_limited",
                "too many large requests are in hand here",
                hint="send large bodies one after the other",
                retry_after=2,
                sent=False,
            )
        self._held[tenant_id] += size
        try:
            yield
        finally:
            self._held[tenant_id] -= size
            if not self._held[tenant_id]:
                del self._held[tenant_id]

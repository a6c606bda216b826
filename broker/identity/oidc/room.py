"""How much of signing in one source and one organisation may have under way: whoever visits the sign-in page makes this
server ask a provider, and must not make it ask often. Counted in this process. A source is an address; behind a proxy
that is not trusted (`--trusted-proxy`) all visitors are one."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Final
from uuid import UUID

from broker.audit.floods import FloodGate
from broker.errors import Problem

WINDOW: Final = timedelta(minutes=1)
BEGUN_BY_SOURCE: Final = 60
BEGUN_IN_TENANT: Final = 600
"""Sign-ins begun in a minute. The provider is asked once for each at most."""
AT_ONCE: Final = 32
AT_ONCE_BY_SOURCE: Final = 8
"""Answers being asked about at the provider at the same time."""


class Room:
    """What is under way, of all tenants. One per process."""

    def __init__(self) -> None:
        self._sources: FloodGate[None] = FloodGate(BEGUN_BY_SOURCE, WINDOW)
        self._tenants: FloodGate[None] = FloodGate(BEGUN_IN_TENANT, WINDOW)
        self._busy: Counter[tuple[UUID, str | None]] = Counter()

    def begin(self, tenant_id: UUID, source: str, now: datetime) -> None:
        """Notes that a sign-in is begun. A source that has begun too many does not count against its tenant. Raises
        Problem `rate_limited`."""
        if not self._sources.admit((tenant_id, source), None, now)[0]:
            raise _wait("too many sign-ins were begun from your address", WINDOW)
        if not self._tenants.admit(tenant_id, None, now)[0]:
            raise _wait("too many sign-ins to this organisation were begun", WINDOW)

    @contextmanager
    def asking(self, tenant_id: UUID, source: str) -> Iterator[None]:
        """Around asking the provider. Raises Problem `rate_limited`."""
        whole, part = (tenant_id, None), (tenant_id, source)
        if self._busy[whole] >= AT_ONCE or self._busy[part] >= AT_ONCE_BY_SOURCE:
            raise _wait("many people are signing in at this moment", timedelta(seconds=5))
        self._busy.update((whole, part))
        try:
            yield
        finally:
            self._busy.subtract((whole, part))
            self._busy = +self._busy


def source_of(address: str) -> str:
    """What counts as one source: an IPv4 address, or the network of 64 bits that one host has of IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:100]
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)


def _wait(told: str, span: timedelta) -> Problem:
    return Problem("rate_limited", told, hint="try again in a moment", retry_after=int(span.total_seconds()))

"""The simulator's own clock. It stands for somebody else's machine, so it shares nobody's."""

import time
from datetime import UTC, datetime


def wall_seconds() -> float:
    """Seconds since the epoch, read from the system's real-time clock."""
    return time.clock_gettime(time.CLOCK_REALTIME)


def iso(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds, as DNS records carry: `2026-01-31T10:00:00.123456Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def iso_seconds(seconds: float) -> str:
    """RFC 3339 in UTC with whole seconds, as tokens and accounts carry."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def parse_iso(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time; a time without a zone is UTC.

    Raises ValueError where `text` is not such a time.
    """
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()

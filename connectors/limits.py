"""Reads what an answer's headers say of the upstream's rate limits. Hostile values count as absent."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from connectors.base import RateHint

MAX_RETRY_AFTER: Final = 600  # seconds; DESIGN.md, "principals"
_MAX_HEADER: Final = 512
_MAX_COUNT: Final = 10_000_000
_MAX_SECONDS: Final = 86_400

_NOTHING: Final = RateHint()
_DIGITS = re.compile(r"[0-9]{1,10}")
_ITEM = re.compile(r'\s*"?([A-Za-z0-9_\-.:*/]{1,64})"?\s*((?:;\s*[a-z]{1,8}\s*=\s*"?[A-Za-z0-9_\-.:*/]{1,64}"?\s*)*)')
_PARAMETER = re.compile(r";\s*([a-z]{1,8})\s*=\s*([0-9]{1,10})(?![0-9.])")


def rate_hint(headers: Mapping[str, str]) -> RateHint:
    """The hint in lower-cased answer headers.

    `Ratelimit: "default";r=50;t=30` and `Ratelimit-Policy: "default";q=1200;w=300`
    (draft-ietf-httpapi-ratelimit-headers-10). Where several items are given, the one with the fewest
    requests left is taken, with the policy of the same name. `Retry-After` (RFC 9110 § 10.2.3) is seconds,
    or a date measured against the answer's own `Date`; it is believed up to 600 s.
    """
    limits, policies = headers.get("ratelimit"), headers.get("ratelimit-policy")
    retry = headers.get("retry-after")
    if limits is None and policies is None and retry is None:
        return _NOTHING
    remaining = reset = limit = window = None
    name = None
    for item, parameters in _items(limits):
        left = parameters.get("r")
        if left is not None and (remaining is None or left < remaining):
            name, remaining, reset = item, left, _bounded(parameters.get("t"), _MAX_SECONDS)
    for item, parameters in _items(policies):
        if name is None or item == name:
            limit, window = parameters.get("q"), _bounded(parameters.get("w"), _MAX_SECONDS)
            break
    return RateHint(limit, remaining, window, reset, _retry_after(retry, headers.get("date")))


def _items(value: str | None) -> list[tuple[str, dict[str, int]]]:
    if value is None or len(value) > _MAX_HEADER:
        return []
    found = []
    for text in value.split(",")[:8]:
        match = _ITEM.fullmatch(text)
        if match is not None:
            pairs = {key: int(number) for key, number in _PARAMETER.findall(match[2])}
            found.append((match[1], {key: n for key, n in pairs.items() if n <= _MAX_COUNT}))
    return found


def _bounded(value: int | None, most: int) -> int | None:
    return value if value is not None and value <= most else None


def _retry_after(value: str | None, date: str | None) -> int | None:
    if value is None or len(value) > 64:
        return None
    value = value.strip()
    if _DIGITS.fullmatch(value) is not None:
        return min(int(value), MAX_RETRY_AFTER)
    until, since = _http_date(value), _http_date(date)
    if until is None or since is None:
        return None
    return max(0, min(int((until - since).total_seconds()), MAX_RETRY_AFTER))


def _http_date(value: str | None) -> datetime | None:
    if value is None or len(value) > 64:
        return None
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)

"""What a server's refusal says about signing in (RFC 9110 § 11.6.1, RFC 6750 § 3, RFC 9728 § 5.1). Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_HEADER: Final = 4_000
MAX_SCOPE: Final = 1_000

_BEARER = re.compile(r"(?:^|,)\s*bearer(?:\s+|\s*$)", re.IGNORECASE)
_PARAMETER = re.compile(r'([A-Za-z_]{1,40})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """The parts of a Bearer challenge that matter here; None where absent or malformed."""

    scope: str | None = None
    resource_metadata: str | None = None
    error: str | None = None


def read_challenge(headers: Mapping[str, str]) -> Challenge | None:
    """The Bearer challenge of an answer's headers (lower-case names), None where there is none."""
    header = headers.get("www-authenticate", "")
    if not header or len(header) > MAX_HEADER:
        return None
    found = _BEARER.search(header)
    if found is None:
        return None
    given: dict[str, str] = {}
    for match in _PARAMETER.finditer(header, found.end()):
        value = match[2] if match[2] is not None else match[3]
        given.setdefault(match[1].lower(), re.sub(r"\\(.)", r"\1", value))
    return Challenge(scope_of(given.get("scope")), given.get("resource_metadata"), given.get("error"))


def scope_of(value: object) -> str | None:
    """A scope as it may be sent (RFC 6749 § 3.3), None for anything else. The empty text is no scope."""
    if not isinstance(value, str) or len(value) > MAX_SCOPE or _SCOPE.fullmatch(value) is None:
        return None
    return value


def union(before: str | None, more: str | None) -> str | None:
    """Both scopes, each word once, the older first."""
    words = dict.fromkeys((*(before or "").split(), *(more or "").split()))
    return " ".join(words) or None

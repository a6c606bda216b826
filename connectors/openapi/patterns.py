"""Regular expressions and formats of descriptions, in linear time only.

Patterns come from hostile files and run on hostile values, so they run in one engine that cannot backtrack
(jsonschema-rs with its `RegexOptions` engine). One it cannot take is never run anywhere.
"""

import functools
from typing import Final

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from connectors.openapi.bounds import MAX_PATTERN, PATTERN_PROGRAM

FORMATS: Final = frozenset({"date", "date-time", "uuid", "ipv4", "ipv6"})
"""The formats checked: those that descriptions use exactly.

The rest are looser in use than in their standards.
"""

_ENGINE = RegexOptions(size_limit=PATTERN_PROGRAM, dfa_size_limit=PATTERN_PROGRAM)


@functools.lru_cache(maxsize=512)
def _pattern(pattern: str) -> Draft202012Validator:
    return Draft202012Validator({"pattern": pattern}, pattern_options=_ENGINE, offline=True)


@functools.lru_cache(maxsize=16)
def _format(name: str) -> Draft202012Validator:
    return Draft202012Validator({"format": name}, validate_formats=True, pattern_options=_ENGINE, offline=True)


def usable(pattern: str) -> bool:
    """Whether the linear-time engine takes the pattern (length, program size and syntax)."""
    if len(pattern) > MAX_PATTERN:
        return False
    try:
        _pattern(pattern)
    except (ValidationError, ValueError):
        return False
    return True


def matches(pattern: str, value: str) -> bool:
    """Whether `pattern` (one that is `usable`) is found in `value`. Linear in the value's length."""
    return _pattern(pattern).is_valid(value)


def fits_format(name: str, value: str) -> bool:
    """Whether `value` has the format; True for formats that are not checked."""
    return name not in FORMATS or _format(name).is_valid(value)

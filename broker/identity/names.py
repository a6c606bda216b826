"""What the texts of this package may look like: bounds and characters, checked where they enter. Pure.

Every text that is stored is printable (so no NUL, no control, no invisible character: what is shown is what
is compared) and bounded. Raises Problem `invalid_input` that names the field.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Final

from broker.errors import Field, Problem, invalid

TENANT_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
CONNECTION: Final = re.compile(r"[a-z][a-z0-9-]{0,23}")
GROUP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,99}")
MAX_IDENTIFIER: Final = 200
MAX_GROUPS: Final = 100
EVERYONE: Final = "*"


def printable(path: str, value: str, limit: int) -> str:
    """`value` if it is 1 to `limit` printable characters with none but inner spaces."""
    if not 1 <= len(value) <= limit or not value.isprintable() or value != value.strip():
        raise invalid(path, f"must be 1 to {limit} printable characters, without spaces around them")
    return value


def identifier(path: str, value: str) -> str:
    """`value` if it can name an identity: 1 to 200 printable characters without spaces, in Unicode's normal
    form C, so that two spellings of one name are not two identities."""
    printable(path, value, MAX_IDENTIFIER)
    if any(c.isspace() for c in value) or value != unicodedata.normalize("NFC", value):
        raise invalid(path, "must hold no space and be in Unicode normal form C")
    if {".", ".."} & set(value.split("/")):
        raise invalid(path, "must have no part `.` or `..`: clients take those out of addresses")
    if value == EVERYONE:
        raise invalid(path, "`*` means every identity in an agent key and cannot name one")
    return value


def email(path: str, value: str) -> str:
    """`value` if it looks like an e-mail address of at most 254 characters. It is information, never an
    authority."""
    printable(path, value, 254)
    local, at, domain = value.rpartition("@")
    if not at or not local or not domain or " " in value:
        raise invalid(path, "must be an e-mail address")
    return value


def groups(path: str, values: Sequence[str]) -> list[str]:
    """The groups without repetitions, in the order given; at most 100."""
    if len(values) > MAX_GROUPS:
        raise invalid(path, f"an identity is in at most {MAX_GROUPS} groups")
    wrong = [Field(f"{path}.{n}", _GROUP_RULE) for n, value in enumerate(values) if not GROUP.fullmatch(value)]
    if wrong:
        raise Problem("invalid_input", f"{wrong[0].path}: {wrong[0].problem}", fields=wrong[:20])
    return list(dict.fromkeys(values))


def group(path: str, value: str) -> str:
    """`value` if it can name a group."""
    if not GROUP.fullmatch(value):
        raise invalid(path, _GROUP_RULE)
    return value


def tenant_name(path: str, value: str) -> str:
    """`value` if it can name a tenant."""
    if not TENANT_NAME.fullmatch(value):
        raise invalid(path, "must be a lower-case letter, then up to 62 of a-z 0-9 -")
    return value


def connection(path: str, value: str) -> str:
    """`value` if it can name a connection."""
    if not CONNECTION.fullmatch(value):
        raise invalid(path, "must be a lower-case letter, then up to 23 of a-z 0-9 -")
    return value


def future(path: str, value: datetime, now: datetime) -> datetime:
    """`value` if it has a zone, lies in the future and before the year 9000 (later times cannot be moved
    between zones)."""
    if value.tzinfo is None:
        raise invalid(path, "must have a zone, like 2027-01-31T00:00:00Z")
    if value.year >= 9000:
        raise invalid(path, "must lie before the year 9000; leave it out for no end")
    if value <= now:
        raise invalid(path, "must lie in the future")
    return value


def near(asked: str, known: Sequence[str]) -> str | None:
    """A hint of at most three names like `asked`, out of `known`: only names that the caller may use belong
    there."""
    found = get_close_matches(asked[:MAX_IDENTIFIER], known, n=3, cutoff=0.6)
    return "did you mean " + " or ".join(f"`{name}`" for name in found) + "?" if found else None


_GROUP_RULE: Final = "a group is a letter or digit, then up to 99 of letters, digits and . _ : @ / + -"

"""Identifiers: UUIDv7 (RFC 9562 § 5.7), made here and never by the database, so PostgreSQL 15 to 18 behave alike."""

from uuid import UUID

import uuid_utils

NIL = UUID(int=0)
"""The platform itself, where a tenant id is asked for and there is no tenant (vault's platform key)."""


def new_id() -> UUID:
    """A fresh UUIDv7: unique, and ordered by the millisecond it was made in."""
    return UUID(int=uuid_utils.uuid7().int)


def parse_id(text: str) -> UUID | None:
    """The UUID spelled by `text` in its canonical form (RFC 9562 § 4), in either case, or None. Never raises: ids come
    from outside."""
    if len(text) != 36:
        return None
    try:
        found = UUID(text)
    except ValueError:
        return None
    # `UUID` also takes hyphens anywhere, underscores, and other scripts' digits.
    return found if str(found) == text.lower() else None

"""What narrows a bearer: read from its row, narrowed further, and written down. Pure.

Narrowing never widens: whatever is left may do no more, on any connection, than what it was made from.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson

from broker.domain import Access, Restrictions
from connectors.base import EFFECT_RANK

MAX_CONNECTIONS: Final = 200
"""Entries of `access_by` that a bearer can hold; the database holds to it too."""


def highest(accesses: Iterable[Access]) -> Access | None:
    """The one that allows most; None where there is none."""
    return max(accesses, key=EFFECT_RANK.__getitem__, default=None)


def capped(restrictions: Restrictions, most: Access | None) -> Restrictions:
    """The same, with at most this access anywhere; None: as it is."""
    if most is None:
        return restrictions
    by = restrictions.access_by
    return Restrictions(
        restrictions.connections,
        _lower(restrictions.access, most),
        None if by is None else MappingProxyType({name: _lower(access, most) for name, access in by.items()}),
    )


def within(restrictions: Restrictions, names: Sequence[str]) -> Restrictions:
    """The same, on these connections alone, which are among those that it has."""
    by = restrictions.access_by
    if by is None:
        return Restrictions(tuple(names), restrictions.access)
    kept = {name: by[name] for name in names if name in by}
    return Restrictions(tuple(names), highest(kept.values()) or restrictions.access, MappingProxyType(kept))


def of_row(
    connections: Sequence[str] | None, access: Access | None, access_by: str | Mapping[str, Access] | None
) -> Restrictions:
    """From a row of `broker.bearers` or `broker.oauth_codes`."""
    return Restrictions(None if connections is None else tuple(connections), access, read_access_by(access_by))


def read_access_by(stored: str | Mapping[str, Access] | None) -> Mapping[str, Access] | None:
    """The column as read: JSON text by the pool of plain statements, a mapping by SQLAlchemy's."""
    return None if stored is None else MappingProxyType(orjson.loads(stored) if isinstance(stored, str) else stored)


def as_text(access_by: Mapping[str, Access] | None) -> str | None:
    """One text for equal ones, whatever their order: what the column is written as, and what keys are made of."""
    return None if access_by is None else orjson.dumps(dict(access_by), option=orjson.OPT_SORT_KEYS).decode()


def as_columns(restrictions: Restrictions) -> dict[str, Any]:
    """A bearer's restrictions as its row and its answer hold them."""
    connections, by = restrictions.connections, restrictions.access_by
    return {
        "connections": None if connections is None else list(connections),
        "access": restrictions.access,
        "access_by": None if by is None else dict(by),
    }


def _lower(one: Access | None, other: Access) -> Access:
    return other if one is None else min(one, other, key=EFFECT_RANK.__getitem__)

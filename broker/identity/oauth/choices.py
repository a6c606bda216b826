"""What the person at the consent page chose: an access for each connection, none of them above what was asked. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.domain import Access
from broker.errors import invalid
from broker.identity.oauth.asking import Asking
from broker.identity.restrictions import MAX_CONNECTIONS, highest
from connectors.base import EFFECT_RANK

NOTHING: Final = "none"
"""What is posted for a connection that the client is not to use."""
MOST: Final = MAX_CONNECTIONS
"""Connections among which a person may choose. Above that there is one access for all."""
FEW: Final = 8
"""Above that one choice stands for all that are not chosen for."""
_FIELD: Final = "c."
_AGAIN: Final = "go back and choose again, or say no"
_ACCESS: Final[dict[str, Access]] = {"read": "read", "write": "write", "destructive": "destructive"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What a sign-in may do. `connections` None: all, also those granted later. `access_by` where they differ in access
    (`domain.Restrictions`)."""

    connections: tuple[str, ...] | None
    access: Access
    access_by: Mapping[str, Access] | None = None


def accesses(asked: Access) -> tuple[Access, ...]:
    """What may be chosen of, least first: no more than the client asked for."""
    return tuple(access for access in _ACCESS.values() if EFFECT_RANK[access] <= EFFECT_RANK[asked])


def read_choice(asking: Asking, choosable: Sequence[str], fields: Mapping[str, str]) -> Choice:
    """The posted fields, judged: `c.NAME` for each of `choosable`, or one `access` where there is nothing to choose of.
    A connection that is not there, or empty, is given what `rest` says, and nothing without that. Raises Problem
    `invalid_input`."""
    posted = {name.removeprefix(_FIELD): given for name, given in fields.items() if name.startswith(_FIELD)}
    if not set(posted) <= set(choosable):
        raise invalid("connections", "names one that you cannot choose, or not any more", hint=_AGAIN)
    if not choosable:
        only = asking.resource.connection
        return Choice(None if only is None else (only,), _access("access", fields.get("access", ""), asking.access))
    rest = fields.get("rest") or NOTHING
    given = {name: posted.get(name) or rest for name in choosable}
    by = {name: _access(_FIELD + name, chosen, asking.access) for name, chosen in given.items() if chosen != NOTHING}
    top = highest(by.values())
    if top is None:
        raise invalid("connections", "choose at least one connection", hint=_AGAIN)
    if len(choosable) > MOST:
        raise invalid("connections", f"are more than {MOST}: too many to choose among", hint=_AGAIN)
    alike = set(by.values()) == {top}
    if alike:
        return Choice(None if len(by) == len(choosable) else tuple(by), top)
    return Choice(tuple(by), top, by)


def _access(field: str, given: str, asked: Access) -> Access:
    access = _ACCESS.get(given)
    if access is None:
        raise invalid(field, "choose what the program may do", hint=_AGAIN)
    if EFFECT_RANK[access] > EFFECT_RANK[asked]:
        raise invalid(field, f"the program asked for {asked} and can be given no more", hint=_AGAIN)
    return access

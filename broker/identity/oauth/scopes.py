"""The scopes of a sign-in. There are three, each holding the ones before it; a bearer's `access` is the same thing
(where it differs by connection, the highest).

Which connections a sign-in reaches is chosen on the consent page and by the resource, not by scopes: a client cannot
know their names beforehand. Pure.
"""

from typing import Final

from broker.domain import Access
from connectors.base import EFFECT_RANK

SCOPES: Final[tuple[str, ...]] = ("tools:read", "tools:write", "tools:destructive")
_ACCESS: Final[dict[str, Access]] = {
    "tools:read": "read",
    "tools:write": "write",
    "tools:destructive": "destructive",
}
MAX_LENGTH: Final = 1000


def access_of(scope: str | None) -> Access:
    """The most that `scope` asks for; `read` where it names none of ours. What we do not know is left out of the
    answer's scope, as RFC 6749 § 3.3 lets a server do: clients ask for `offline_access` and the like unasked."""
    found: Access = "read"
    for word in (scope or "").split():
        access = _ACCESS.get(word)
        if access is not None and EFFECT_RANK[access] > EFFECT_RANK[found]:
            found = access
    return found


def offered_by(scope: str | None) -> Access:
    """The most that a person may choose where a client asks for `scope`: everything, where it names none of ours (RFC
    6749 § 3.3's default value). It is not what they have chosen before they do: that is to read."""
    return access_of(scope) if _ACCESS.keys() & set((scope or "").split()) else "destructive"


def scope_of(access: Access) -> str:
    """All scopes that an access amounts to, as a token's answer says them."""
    return " ".join(name for name in SCOPES if EFFECT_RANK[_ACCESS[name]] <= EFFECT_RANK[access])

"""Permission groups: the names a token's policies grant, and the kind of resource each applies to.

Names are those of `GET /user/tokens/permission_groups` [D]. Ids are this simulator's own (derived from the
names): real ones must always be looked up.
"""

from dataclasses import dataclass
from typing import Literal

from connectors.simulators.cloudflare.values import named_id

Scope = Literal["user", "account", "zone", "bucket"]

SCOPE_KEYS: dict[Scope, str] = {
    "user": "com.cloudflare.api.user",
    "account": "com.cloudflare.api.account",
    "zone": "com.cloudflare.api.account.zone",
    "bucket": "com.cloudflare.edge.r2.bucket",
}

_NAMES: dict[Scope, tuple[str, ...]] = {
    "user": (
        "API Tokens Read",
        "API Tokens Write",
        "Memberships Read",
        "Memberships Write",
        "User Details Read",
        "User Details Write",
    ),
    "account": (
        "Access: Apps and Policies Read",
        "Access: Apps and Policies Write",
        "Account API Tokens Read",
        "Account API Tokens Write",
        "Account Analytics Read",
        "Account Settings Read",
        "Account Settings Write",
        "SCIM Provisioning",
        "Workers KV Storage Read",
        "Workers KV Storage Write",
        "Workers R2 Storage Read",
        "Workers R2 Storage Write",
        "Workers Scripts Read",
        "Workers Scripts Write",
        "Workers Tail Read",
        "Zero Trust Read",
        "Zero Trust Write",
    ),
    "zone": (
        "Analytics Read",
        "Cache Purge",
        "DNS Read",
        "DNS Write",
        "Page Rules Read",
        "Page Rules Write",
        "Workers Routes Read",
        "Workers Routes Write",
        "Zone Read",
        "Zone Settings Read",
        "Zone Settings Write",
        "Zone WAF Read",
        "Zone WAF Write",
        "Zone Write",
    ),
    "bucket": ("Workers R2 Storage Bucket Item Read", "Workers R2 Storage Bucket Item Write"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """One permission group; `scope` is the kind of resource its policies must name."""

    id: str
    name: str
    scope: Scope

    @property
    def reads_only(self) -> bool:
        """Whether a member with a read-only role keeps it."""
        return self.name.endswith("Read")


GROUPS: dict[str, Group] = {
    name: Group(named_id("permission-group", name), name, scope) for scope, names in _NAMES.items() for name in names
}
GROUPS_BY_ID: dict[str, Group] = {group.id: group for group in GROUPS.values()}

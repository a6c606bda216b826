"""What a person is told about a token before and after they deposit it: which permissions their grants ask for, a link
to Cloudflare's form with those filled in, what the token can do, and what of that nothing here needs. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

import orjson

from connectors.base import ConnectionView, Json, Operation, Permissions
from connectors.cloudflare import config as settings
from connectors.cloudflare.operations import operation_of
from connectors.cloudflare.permissions import normal

FORM: Final = "https://dash.cloudflare.com/profile/api-tokens"
MAX_NAMED: Final = 12
"""More permissions than this are not a list that a person works through: the grants then say it better."""

# The dashboard's keys for permission groups, as its form takes them (developers.cloudflare.com/fundamentals/api/how-to/
# account-owned-token-template). A group without one is named on our page instead.
KEYS: Final[Mapping[str, str]] = {
    "account analytics": "account_analytics",
    "account settings": "account_settings",
    "analytics": "analytics",
    "billing": "billing",
    "cache purge": "cache_purge",
    "d1": "d1",
    "dns": "dns",
    "firewall services": "firewall_services",
    "memberships": "memberships",
    "page rules": "page_rules",
    "user details": "user_details",
    "workers kv storage": "workers_kv_storage",
    "workers r2 storage": "workers_r2",
    "workers routes": "workers_routes",
    "workers scripts": "workers_scripts",
    "zone": "zone",
    "zone settings": "zone_settings",
}
ALWAYS: Final = ("User Details Read",)
"""So that calls count against the right user's budget (Cloudflare counts by user)."""
HARMLESS: Final = frozenset({"user details read", "memberships read", "account settings read", "api tokens read"})
"""Groups that verification itself uses: never called broader than needed."""

Covers = Callable[[Operation], bool]


def needed(view: ConnectionView, covers: Covers) -> tuple[str, ...]:
    """The permission groups without which something that `covers` admits could not be done: the least of each
    operation, a read left out where the write of the same is there. Empty where no operation names any. Sorted; as
    many as there are."""
    found: dict[str, str] = {}
    for operation in _operations(view):
        if operation.permissions and covers(operation):
            group = _least(operation.permissions)[0]
            found.setdefault(normal(group), _spoken(group))
    kept = {n: g for n, g in found.items() if f"{n.removesuffix(' read')} write" not in found or n.endswith(" write")}
    if kept:
        kept |= {normal(group): group for group in ALWAYS if normal(group) not in kept}
    return tuple(sorted(kept.values()))


def form_url(view: ConnectionView, groups: Sequence[str], name: str) -> str | None:
    """The dashboard's form with `groups` filled in, as far as it has keys for them; None at an origin of somebody
    else's, where Cloudflare's tokens have no business."""
    if view.config.get("base_url") != settings.BASE_URL:
        return None
    keys: dict[str, str] = {}
    for group in (*ALWAYS, *groups):
        base, access = _split(normal(group))
        if base in KEYS and keys.get(KEYS[base]) != "edit":
            keys[KEYS[base]] = access
    asked = orjson.dumps([{"key": key, "type": access} for key, access in keys.items()]).decode()
    return f"{FORM}?permissionGroupKeys={quote(asked, safe='')}&accountId=*&zoneId=all&name={quote(name, safe='')}"


def abilities(permissions: Permissions) -> tuple[str, ...]:
    """The permission groups that the token is known to have, by name, each once."""
    found: dict[str, str] = {}
    for policy in permissions.policies:
        if policy.get("effect") != "deny":
            for group in _names(policy):
                found.setdefault(normal(group), group)
    return tuple(sorted(found.values()))


def excess(view: ConnectionView, permissions: Permissions, covers: Covers) -> tuple[str, ...] | None:
    """Those of the token's permission groups that nothing which `covers` admits asks for; None where the token's
    permissions are not known."""
    if permissions.source not in ("policies", "declared"):
        return None
    wanted: set[str] = set()
    for operation in _operations(view):
        if operation.permissions and covers(operation):
            wanted |= {normal(group) for group in _least(operation.permissions)}
    return tuple(g for g in abilities(permissions) if normal(g) not in wanted | HARMLESS)


def _operations(view: ConnectionView) -> Iterable[Operation]:
    return () if view.spec is None else (operation_of(row) for row in view.spec.rows)


def _least(groups: Sequence[str]) -> list[str]:
    """Of any-of groups those that let one read, if any do; the shortest name first."""
    reading = [g for g in groups if normal(g).endswith(" read")]
    return sorted(reading or groups, key=lambda g: (len(g), g))


def _spoken(group: str) -> str:
    """The group as the dashboard calls it, where the description has an older name."""
    for older in ("Zone Zone ", "Zone DNS "):
        if group.startswith(older):
            return group.removeprefix("Zone ")
    return group


def _split(group: str) -> tuple[str, str]:
    if group in KEYS:  # a group without an access of its own, such as Cache Purge
        return group, "purge" if group.endswith("purge") else "edit"
    base, _, access = group.rpartition(" ")
    return base, "read" if access == "read" else "edit"


def _names(policy: Mapping[str, Json]) -> Iterable[str]:
    groups = policy.get("permission_groups")
    for group in groups if isinstance(groups, list) else ():
        name = group.get("name") if isinstance(group, dict) else None
        if isinstance(name, str) and name:
            yield name

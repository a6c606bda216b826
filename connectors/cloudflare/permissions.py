"""What a credential's own permissions say of a request: allowed, denied, or honestly unknown.

A Cloudflare token has policies: {effect, permission_groups: [{id, name}], resources}. An operation of the
description names the groups of which any one suffices (`x-api-token-group`). Both are noisy, so the answer
is `denied` only where no reading of the policies allows the request. Expiry, conditions on client address
and the user's own roles are left to Cloudflare, which has the last word.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal

from connectors.base import Json, Operation, Permissions, Permit, Prepared, Resources

Cover = Literal["no", "maybe", "yes"]
_RANK: Final[Mapping[Cover, int]] = {"no": 0, "maybe": 1, "yes": 2}

# Groups that descriptions call by another name than the API's list of permission groups does.
ALIASES: Final[Mapping[str, str]] = {
    "zone zone read": "zone read",
    "zone zone write": "zone write",
    "zone dns write": "dns write",
    "account filter lists read": "account rule lists read",
    "account filter lists write": "account rule lists write",
    "browser rendering read": "browser run read",
    "browser rendering write": "browser run write",
}
MAX_POLICIES: Final = 300
_ACCOUNT: Final = "com.cloudflare.api.account."
_ZONE: Final = "com.cloudflare.api.account.zone."
_NOISE = re.compile(r"[\s:.,/→-]+")


def declared(names: Iterable[str]) -> Permissions:
    """Permissions from group names that a person declared: one policy over every resource."""
    groups = [{"name": name} for name in names]
    policy: Mapping[str, Json] = {
        "effect": "allow",
        "permission_groups": groups,
        "resources": {f"{_ACCOUNT}*": "*", f"{_ZONE}*": "*", "com.cloudflare.api.user.*": "*"},
    }
    return Permissions("declared", (policy,))


def permit(prepared: Prepared, permissions: Permissions) -> Permit:
    """Whether the permissions allow the request, as far as can be known."""
    operation = prepared.operation
    if permissions.source == "all":
        return Permit("allowed", reason="the credential can do all that its user can")
    if permissions.source == "unknown" or not permissions.policies:
        return Permit("unknown", reason="the credential's permissions are not known")
    if not operation.permissions:
        return Permit("unknown", reason=f"the description names no permission for {operation.ref}")
    accepted = _accepted(operation.permissions)
    verdicts = [_group_cover(group, permissions.policies, prepared.resources) for group in accepted]
    best = max(verdicts, key=_RANK.__getitem__)
    if best == "yes":
        return Permit("allowed")
    if best == "maybe":
        return Permit("unknown", reason="the credential's policies may or may not reach these resources")
    missing = named(operation.permissions)
    held = {group for policy in permissions.policies for group in _groups(policy)}
    if None in held:
        return Permit("unknown", reason="the credential has permission groups without a name")
    if not held.isdisjoint(accepted):
        return Permit("denied", missing, "the credential has the permission only for other accounts or zones")
    return Permit("denied", missing, f"the credential lacks {missing}")


def lacks(operation: Operation, permissions: Permissions) -> str | None:
    """The permission without which the operation is denied for every resource, or None where it may work."""
    if permissions.source not in ("policies", "declared") or not permissions.policies:
        return None
    if not operation.permissions:
        return None
    accepted = _accepted(operation.permissions)
    for policy in permissions.policies:
        groups = _groups(policy)
        if policy.get("effect") != "deny" and (None in groups or not groups.isdisjoint(accepted)):
            return None
    return named(operation.permissions)


def named(groups: Sequence[str]) -> str:
    """Any-of groups as a person reads them; the least of them first."""
    ordered = sorted(groups, key=lambda g: (not g.endswith("Read"), len(g)))
    shown = " or ".join(ordered[:3])
    return shown if len(ordered) <= 3 else f"{shown} (or {len(ordered) - 3} others)"


@lru_cache(maxsize=8192)
def normal(name: str) -> str:
    """A group's name without case, punctuation, and the dashboard's "Edit" for "Write"."""
    words = _NOISE.sub(" ", name).strip().casefold()
    words = f"{words.removesuffix(' edit')} write" if words.endswith(" edit") else words
    return ALIASES.get(words, words)


@lru_cache(maxsize=4096)
def _accepted(groups: tuple[str, ...]) -> frozenset[str]:
    names = {normal(group) for group in groups}
    # Write includes Read, though descriptions do not always list both. The older name of an alias still
    # counts.
    names |= {f"{name.removesuffix(' read')} write" for name in names if name.endswith(" read")}
    return frozenset(names)


def _groups(policy: Mapping[str, Json]) -> set[str | None]:
    groups = policy.get("permission_groups")
    found: set[str | None] = set()
    for group in groups if isinstance(groups, list) else ():
        name = group.get("name") if isinstance(group, dict) else None
        found.add(normal(name) if isinstance(name, str) and name else None)
    return found


def _group_cover(group: str, policies: Sequence[Mapping[str, Json]], wanted: Resources) -> Cover:
    """How far the policies together let one group reach: a denial wins, and one that may apply leaves doubt."""
    allowed: Cover = "no"
    doubted = False
    for policy in policies[:MAX_POLICIES]:
        if group not in _groups(policy):
            continue
        cover = _cover(policy.get("resources"), wanted)
        if policy.get("effect") == "deny":
            if cover == "yes":
                return "no"
            doubted = doubted or cover == "maybe"
        elif policy.get("effect") == "allow":
            allowed = max(allowed, cover, key=_RANK.__getitem__)
    return "maybe" if allowed == "yes" and doubted else allowed


def _cover(resources: Json, wanted: Resources) -> Cover:
    """Whether a policy's resources reach all that a request names. A request that names none is reached by
    any.
    """
    if not isinstance(resources, dict):
        return "maybe"
    covers = [_reaches_zone(resources, zone) for zone in wanted.zones]
    # What a zone path names lies in some account: an account is judged only where no zone stands for it.
    covers += [_reaches_account(resources, account) for account in wanted.accounts]
    return min(covers, key=_RANK.__getitem__) if covers else "yes"


def _reaches_zone(resources: Mapping[str, Json], zone: str) -> Cover:
    best: Cover = "no"
    for key, value in resources.items():
        if key in (f"{_ZONE}{zone}", f"{_ZONE}*", "*"):
            return "yes"
        if key.startswith(_ZONE) or not key.startswith(_ACCOUNT):
            continue
        nested = value if isinstance(value, dict) else None
        if nested is not None and f"{_ZONE}{zone}" in nested:
            return "yes"
        every = key == f"{_ACCOUNT}*"
        if every and (nested is None or f"{_ZONE}*" in nested):
            return "yes"
        if nested is None or f"{_ZONE}*" in nested or zone == "*":
            best = "maybe"  # all zones of one account: whether this zone is among them is not known here
    return "maybe" if zone == "*" and any(key.startswith(_ZONE) for key in resources) else best


def _reaches_account(resources: Mapping[str, Json], account: str) -> Cover:
    best: Cover = "no"
    for key, value in resources.items():
        if key == "*":
            return "yes"
        if key.startswith(_ZONE) or not key.startswith(_ACCOUNT):
            best = "maybe"  # a zone, user or bucket: some account operations accept those
        elif key in (f"{_ACCOUNT}{account}", f"{_ACCOUNT}*"):
            if not isinstance(value, dict):
                return "yes"
            best = "maybe"
        elif account == "*":
            best = "maybe"
    return best

"""What a token's policies let it do. Pure.

A policy is an effect, resources and permission groups [D]. A request needs any one of a route's groups; each
group is looked for on the resource of its own kind. Deny beats allow for the same group and resource [D].
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from connectors.simulators.cloudflare.groups import GROUPS, SCOPE_KEYS, Group, Scope

ACCOUNT = SCOPE_KEYS["account"]
ZONE = SCOPE_KEYS["zone"]


class Target(NamedTuple):
    """What a request touches; empty: nothing of that kind. `bucket`: `<account id>_<jurisdiction>_<name>`."""

    user: str = ""
    account: str = ""
    zone: str = ""
    bucket: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """One statement of a token. `groups` are permission group names; `resources` is the API's own nested form."""

    id: str
    effect: Literal["allow", "deny"]
    resources: Mapping[str, Any]
    groups: tuple[str, ...]


def covers(resources: Mapping[str, Any], scope: Scope, target: Target) -> bool:
    """Whether a policy's `resources` include the part of `target` that a group of `scope` is about.

    Account groups need the account itself, zone groups a zone: named, by `zone.*`, or nested in its account.
    An account with `"*"` does not stand for its zones [memory].
    """
    ident = {"user": target.user, "account": target.account, "zone": target.zone, "bucket": target.bucket}[scope]
    if not ident:
        return False
    prefix = SCOPE_KEYS[scope]
    if resources.get(f"{prefix}.{ident}") == "*" or resources.get(f"{prefix}.*") == "*":
        return True
    if scope != "zone":
        return False
    for holder in (f"{ACCOUNT}.{target.account}", f"{ACCOUNT}.*"):
        nested = resources.get(holder)
        if isinstance(nested, Mapping) and (nested.get(f"{ZONE}.{ident}") == "*" or nested.get(f"{ZONE}.*") == "*"):
            return True
    return False


def permits(policies: Iterable[Policy], needed: Iterable[Group], target: Target) -> bool:
    """Whether any group of `needed` is allowed, and not denied, on `target`."""
    kept = tuple(policies)
    for group in needed:
        effects = {p.effect for p in kept if group.name in p.groups and covers(p.resources, group.scope, target)}
        if effects == {"allow"}:
            return True
    return False


def mentions_account(policies: Iterable[Policy], account_id: str, zone_ids: Iterable[str]) -> bool:
    """Whether any allowing policy reaches the account, or a zone in it: then `GET /accounts` lists it [memory]."""
    zones = tuple(zone_ids)
    for policy in policies:
        if policy.effect != "allow":
            continue
        if covers(policy.resources, "account", Target(account=account_id)):
            return True
        if any(covers(policy.resources, "zone", Target(account=account_id, zone=zone)) for zone in zones):
            return True
        nested = policy.resources.get(f"{ACCOUNT}.{account_id}")
        if isinstance(nested, Mapping) and nested:
            return True
    return False


def wire(policy: Policy) -> dict[str, Any]:
    """The policy as the API shows it."""
    return {
        "id": policy.id,
        "effect": policy.effect,
        "resources": dict(policy.resources),
        "permission_groups": [{"id": GROUPS[name].id, "name": name} for name in policy.groups],
    }


def account_resources(account_id: str) -> dict[str, Any]:
    """Resources for account groups on one account."""
    return {f"{ACCOUNT}.{account_id}": "*"}


def zone_resources(*zone_ids: str) -> dict[str, Any]:
    """Resources for zone groups on the zones given; on all zones where none is."""
    return {f"{ZONE}.{zone}": "*" for zone in zone_ids} or {f"{ZONE}.*": "*"}


def zones_of_account(account_id: str) -> dict[str, Any]:
    """Resources for zone groups on every zone of one account, in the nested form the dashboard writes."""
    return {f"{ACCOUNT}.{account_id}": {f"{ZONE}.*": "*"}}


def user_resources(user_id: str) -> dict[str, Any]:
    """Resources for user groups on one user."""
    return {f"{SCOPE_KEYS['user']}.{user_id}": "*"}

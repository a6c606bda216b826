"""Zones and cache purge."""

import re
from typing import Any

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.access import may
from connectors.simulators.cloudflare.answers import Answer, ok
from connectors.simulators.cloudflare.groups import GROUPS
from connectors.simulators.cloudflare.model import Zone
from connectors.simulators.cloudflare.policy import Target
from connectors.simulators.cloudflare.routing import Call, page

_READERS = (GROUPS["Zone Read"], GROUPS["Zone Write"])
_CREATORS = (GROUPS["Zone Write"],)
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+\Z")
MAX_PURGED = 500
MAX_ZONES = 10_000


def list_zones(call: Call) -> Answer:
    """The zones the caller may read; 9109 where that is none at all [I]."""
    state, actor = call.state, call.actor
    shown = [z for z in state.zones.values() if may(state, actor, _READERS, Target(account=z.account.id, zone=z.id))]
    if not shown:
        raise answers.not_authorized()
    query = call.query
    if query:
        shown = [zone for zone in shown if _matches(zone, query)]
        if query.get("direction") == "desc":
            shown.reverse()
    part, info = page(call, shown, default=20, largest=50)
    return ok([zone.wire() for zone in part], info)


def _matches(zone: Zone, query: dict[str, str]) -> bool:
    """The filters `name` (with `op:` prefixes), `status`, `account.id` and `account.name` [D]."""
    tests = {"account.id": zone.account.id, "account.name": zone.account.name, "status": "active"}
    if any(query[name] != value for name, value in tests.items() if name in query):
        return False
    wanted = query.get("name")
    if wanted is None:
        return True
    operator, _, rest = wanted.partition(":")
    operators = {
        "equal": zone.name == rest,
        "not_equal": zone.name != rest,
        "starts_with": zone.name.startswith(rest),
        "ends_with": zone.name.endswith(rest),
        "contains": rest in zone.name,
    }
    return operators.get(operator, zone.name == wanted)


def get_zone(call: Call) -> Answer:
    """One zone."""
    return ok(call.zone.wire())


def create_zone(call: Call) -> Answer:
    """Add a domain to an account: needs Zone Write on all zones of that account."""
    body = call.json()
    holder = body.get("account")
    account = call.state.accounts.get(str(holder.get("id"))) if isinstance(holder, dict) else None
    if account is None:
        raise answers.fail(400, 1085, "account.id is required")
    if not may(call.state, call.actor, _CREATORS, Target(account=account.id, zone="*")):
        raise answers.not_permitted()
    name = body.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise answers.fail(400, 1001, "Invalid zone name")
    if any(zone.name == name for zone in call.state.zones.values()) or len(call.state.zones) >= MAX_ZONES:
        raise answers.fail(400, 1061, f"{name} already exists")
    return ok(call.state.add_zone(account, name).wire())


def purge_cache(call: Call) -> Answer:
    """Drop cached files: all, or by URL, tag, host or prefix. The request is kept in `Zone.purges`."""
    body = call.json()
    kinds = {"files", "tags", "hosts", "prefixes"} & body.keys()
    if body.get("purge_everything") is not True and not kinds:
        raise answers.fail(400, 1012, "Request must contain one of purge_everything, files, tags, hosts or prefixes")
    for kind in kinds:
        items: Any = body[kind]
        if not isinstance(items, list) or not 1 <= len(items) <= MAX_PURGED:
            raise answers.fail(400, 1012, f"{kind} must list 1 to {MAX_PURGED} items")
    zone = call.zone
    zone.purges.append(body)
    del zone.purges[:-1000]
    return ok({"id": zone.id})

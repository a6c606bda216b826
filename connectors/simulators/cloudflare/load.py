"""Builds a state from a JSON description, so that another process can say what the simulator should hold.

```
{"users": [{"email", "global_key"?}],
 "accounts": [{"name", "members"?: [email | {"email", "role"}], "buckets"?: [name]}],
 "zones": [{"name", "account", "records"?: [{…}]}],
 "tokens": [{"user": email | "account": name, "name"?, "value"?, "permissions"?: [group name],
             "zones"?: [name], "accounts"?: [name],
             "policies"?: [{"effect"?, "groups": [name], "resources": {}}],
             "expires_on"?, "not_before"?, "status"?, "request_ip"?: {"in"?, "not_in"?}}],
 "limits"?: {"limit"?, "window"?, "block"?, "graphql_limit"?}, "control_token"?}
```
"""

from collections.abc import Mapping
from typing import Any

from connectors.simulators.cloudflare.clock import parse_iso
from connectors.simulators.cloudflare.handlers.accounts import ROLES
from connectors.simulators.cloudflare.handlers.dns import put_record
from connectors.simulators.cloudflare.model import ADMINISTRATOR, Account, Token, User, Zone
from connectors.simulators.cloudflare.state import CloudflareState


def load(described: Mapping[str, Any]) -> CloudflareState:
    """A state as `described`. Raises ValueError or KeyError where the description doesn't hold together."""
    state = CloudflareState(**described.get("limits", {}), control_token=described.get("control_token"))
    for item in described.get("users", ()):
        state.add_user(item["email"], global_key=item.get("global_key"))
    for item in described.get("accounts", ()):
        add_account(state, item)
    for item in described.get("zones", ()):
        add_zone(state, item)
    for item in described.get("tokens", ()):
        add_token(state, item)
    return state


def add_account(state: CloudflareState, item: Mapping[str, Any]) -> Account:
    """One account as described. Raises ValueError or KeyError where it names what isn't there."""
    account = state.add_account(item["name"])
    for member in item.get("members", ()):
        one = {"email": member} if isinstance(member, str) else member
        state.add_member(account, _user(state, one["email"]), ROLES[one.get("role", ADMINISTRATOR)])
    for bucket in item.get("buckets", ()):
        state.add_bucket(account, bucket)
    return account


def add_zone(state: CloudflareState, item: Mapping[str, Any]) -> Zone:
    """One zone as described, with its records. Raises ValueError or KeyError where it names what isn't there."""
    zone = state.add_zone(_account(state, item["account"]), item["name"])
    for record in item.get("records", ()):
        put_record(state, zone, dict(record))
    return zone


def add_token(state: CloudflareState, item: Mapping[str, Any]) -> Token:
    """One token as described. Raises ValueError or KeyError where it names what isn't there."""
    owner: User | Account = _user(state, item["user"]) if "user" in item else _account(state, item["account"])
    by_name = {zone.name: zone for zone in state.zones.values()}
    return state.add_token(
        owner,
        name=str(item.get("name", "token")),
        permissions=tuple(item.get("permissions", ())),
        zones=[by_name[name] for name in item.get("zones", ())],
        accounts=[_account(state, name) for name in item.get("accounts", ())],
        policies=[
            state.policy(p["groups"], p["resources"], p.get("effect", "allow")) for p in item.get("policies", ())
        ],
        expires_on=_seconds(item.get("expires_on")),
        not_before=_seconds(item.get("not_before")),
        status=str(item.get("status", "active")),
        request_ip=item.get("request_ip"),
        value=item.get("value"),
    )


def _seconds(when: Any) -> float | None:
    if when is None or isinstance(when, int | float):
        return when
    return parse_iso(str(when))


def _user(state: CloudflareState, email: str) -> User:
    user = state.user_by_email(email)
    if user is None:
        raise ValueError(f"no user {email}")
    return user


def _account(state: CloudflareState, name: str) -> Account:
    for account in state.accounts.values():
        if account.name == name:
            return account
    raise ValueError(f"no account {name}")

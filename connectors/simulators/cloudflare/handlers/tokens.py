"""API tokens of users and of accounts: verify, list, create, change, roll, delete.

Both live under the same handlers; whose tokens are meant follows from the path. Validation codes are
[memory].
"""

import ipaddress
from typing import Any

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.answers import Answer, ok
from connectors.simulators.cloudflare.clock import iso_seconds, parse_iso
from connectors.simulators.cloudflare.groups import GROUPS, SCOPE_KEYS
from connectors.simulators.cloudflare.model import Account, Token, User
from connectors.simulators.cloudflare.policy import Policy
from connectors.simulators.cloudflare.routing import Call, page
from connectors.simulators.cloudflare.values import is_id, new_id

QUOTA = {User: 50, Account: 500}  # [D]
MAX_POLICIES = 100


def _owner(call: Call) -> User | Account:
    if "account_id" in call.params:
        return call.account
    if call.actor.user is None:
        raise answers.no_user()
    return call.actor.user


def verify_user_token(call: Call) -> Answer:
    """Whether the presented user token is valid; account tokens are told 1000 Invalid API Token."""
    if call.actor.uses_key:
        raise answers.wrong_scheme()
    if call.actor.user is None:
        raise answers.invalid_api_token()
    return _verified(call)


def verify_account_token(call: Call) -> Answer:
    """Whether the presented token is a valid one of the account in the path."""
    if call.actor.uses_key:
        raise answers.wrong_scheme()
    if call.actor.account is None or call.actor.account.id != call.params["account_id"]:
        raise answers.invalid_api_token()
    return _verified(call)


def _verified(call: Call) -> Answer:
    token, now = call.actor.token, call.state.wall()
    if token is None:
        raise answers.invalid_api_token()
    status = token.status(now)
    result: dict[str, Any] = {"id": token.id, "status": status}
    if token.not_before is not None:
        result["not_before"] = iso_seconds(token.not_before)
    if token.expires is not None:
        result["expires_on"] = iso_seconds(token.expires)
    text = "This API Token is valid and active" if status == "active" else f"This API Token is {status}"
    return ok(result, messages=[{"code": 10000, "message": text, "type": None}])


def list_groups(call: Call) -> Answer:
    """The permission groups a token of this owner may be given, filtered by `name` and `scope`."""
    user = "account_id" not in call.params
    query = call.query
    shown = [
        {"id": group.id, "name": group.name, "scopes": [SCOPE_KEYS[group.scope]]}
        for group in GROUPS.values()
        if (user or group.scope != "user")
        and query.get("name", group.name) == group.name
        and query.get("scope", SCOPE_KEYS[group.scope]) == SCOPE_KEYS[group.scope]
    ]
    return ok(shown)


def list_tokens(call: Call) -> Answer:
    """The owner's tokens, without their values."""
    part, info = page(call, call.state.tokens_of(_owner(call)), default=20, largest=50)
    now = call.state.wall()
    return ok([token.wire(now) for token in part], info)


def _token(call: Call) -> Token:
    ident = call.params["token_id"]
    if not is_id(ident):
        raise answers.unroutable(call.path)
    token = call.state.tokens.get(ident)
    if token is None or token.owner is not _owner(call):
        raise answers.fail(404, 1003, "Invalid token identifier")
    return token


def get_token(call: Call) -> Answer:
    """One token, without its value."""
    return ok(_token(call).wire(call.state.wall()))


def create_token(call: Call) -> Answer:
    """A new token; the only answer but a roll's that carries its `value`."""
    owner, state = _owner(call), call.state
    if len(state.tokens_of(owner)) >= QUOTA[type(owner)]:
        raise answers.fail(400, 1003, "Token quota exceeded")
    settings = _settings(call)
    token = state.add_token(owner, name=settings.pop("name"))
    _apply(token, settings)
    state.changed()
    shown = token.wire(state.wall())
    return ok({"id": shown.pop("id"), **shown, "value": token.value})


def update_token(call: Call) -> Answer:
    """Replace a token's name, policies, condition and status; its value stays."""
    token, settings = _token(call), _settings(call)
    token.name = settings.pop("name")
    _apply(token, settings)
    token.modified = call.state.wall()
    call.state.changed()
    return ok(token.wire(call.state.wall()))


def roll_token(call: Call) -> Answer:
    """A new value for the token; the old one is refused from now on."""
    return ok(call.state.roll(_token(call)))


def delete_token(call: Call) -> Answer:
    """Remove the token."""
    token = _token(call)
    call.state.delete_token(token)
    return ok({"id": token.id})


def _apply(token: Token, settings: dict[str, Any]) -> None:
    token.policies = settings["policies"]
    token.enabled = settings["enabled"]
    token.not_before, token.expires = settings["not_before"], settings["expires"]
    token.ip_in, token.ip_not_in = settings["ip_in"], settings["ip_not_in"]


def _settings(call: Call) -> dict[str, Any]:
    """A token's changeable fields from the body. Raises ApiError (400, 1001) naming what is wrong."""
    body = call.json()
    name, policies = body.get("name"), body.get("policies")
    if not isinstance(name, str) or not 1 <= len(name) <= 120:
        raise answers.fail(400, 1001, "name: 1 to 120 characters are required")
    if not isinstance(policies, list) or not 1 <= len(policies) <= MAX_POLICIES:
        raise answers.fail(400, 1001, "policies: at least one policy is required")
    if body.get("status", "active") not in {"active", "disabled"}:
        raise answers.fail(400, 1001, "status: expected active or disabled")
    addresses = body.get("condition") or {}
    ranges = addresses.get("request_ip") or {} if isinstance(addresses, dict) else {}
    return {
        "name": name,
        "policies": tuple(_policy(call, item) for item in policies),
        "enabled": body.get("status", "active") == "active",
        "not_before": _time(body, "not_before"),
        "expires": _time(body, "expires_on"),
        "ip_in": _networks(ranges, "in"),
        "ip_not_in": _networks(ranges, "not_in"),
    }


def _time(body: dict[str, Any], name: str) -> float | None:
    if body.get(name) is None:
        return None
    try:
        return parse_iso(str(body[name]))
    except ValueError:
        raise answers.fail(400, 1001, f"{name}: expected an RFC 3339 time") from None


def _networks(ranges: Any, name: str) -> tuple[str, ...]:
    listed = ranges.get(name) or [] if isinstance(ranges, dict) else []
    try:
        return tuple(str(ipaddress.ip_network(str(item), strict=False)) for item in listed[:100])
    except ValueError:
        raise answers.fail(400, 1001, f"condition.request_ip.{name}: expected IP addresses or ranges") from None


def _policy(call: Call, item: Any) -> Policy:
    """One policy of the body. Raises ApiError (400, 1001) for what is missing or unknown."""
    if not isinstance(item, dict) or item.get("effect") not in {"allow", "deny"}:
        raise answers.fail(400, 1001, "policies: effect must be allow or deny")
    resources, listed = item.get("resources"), item.get("permission_groups")
    if not isinstance(resources, dict) or not resources or len(resources) > 1000:
        raise answers.fail(400, 1001, "policies: resources are required")
    if not isinstance(listed, list) or not listed:
        raise answers.fail(400, 1001, "policies: permission_groups are required")
    names: list[str] = []
    for entry in listed[:500]:
        group = call.state.group(str(entry.get("id"))) if isinstance(entry, dict) else None
        if group is None:
            raise answers.fail(400, 1001, "policies: unknown permission group id")
        names.append(group.name)
    return Policy(new_id(), item["effect"], resources, tuple(names))

"""A zone's rulesets: WAF custom rules, rate limits, redirects. One entry point a phase [D]; codes [memory]."""

from typing import Any

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.answers import Answer, ok
from connectors.simulators.cloudflare.clock import iso_seconds
from connectors.simulators.cloudflare.routing import Call
from connectors.simulators.cloudflare.values import new_id

KIND = "ruleset"
MAX_RULES = 1000
MAX_RULESETS = 200
PHASES = (
    "http_ratelimit",
    "http_request_cache_settings",
    "http_request_dynamic_redirect",
    "http_request_firewall_custom",
    "http_request_firewall_managed",
    "http_request_transform",
    "http_response_headers_transform",
)
ACTIONS = (
    "block",
    "challenge",
    "js_challenge",
    "log",
    "managed_challenge",
    "redirect",
    "rewrite",
    "set_cache_settings",
)
_RULE = ("action", "expression", "description", "enabled", "action_parameters", "ratelimit", "ref")


def _kept(call: Call) -> dict[str, dict[str, Any]]:
    return call.zone.shelves.setdefault(KIND, {})


def _one(call: Call) -> dict[str, Any]:
    found = _kept(call).get(call.params["ruleset_id"])
    if found is None:
        raise answers.fail(404, 10003, "could not find ruleset")
    return found


def _phase(call: Call) -> str:
    phase = call.params["ruleset_phase"]
    if phase not in PHASES:
        raise answers.fail(400, 20017, f"unknown phase {phase[:60]!r}")
    return phase


def list_rulesets(call: Call) -> Answer:
    """Every ruleset, without its rules."""
    return ok([{k: v for k, v in one.items() if k != "rules"} for one in _kept(call).values()])


def create_ruleset(call: Call) -> Answer:
    """A new ruleset; a phase has one entry point."""
    body = call.json()
    phase = body.get("phase")
    if phase not in PHASES or not isinstance(body.get("name"), str):
        raise answers.fail(400, 20000, "name and a known phase are required")
    if any(one["phase"] == phase for one in _kept(call).values()):
        raise answers.fail(400, 20018, f"exceeded maximum number of zone rulesets for phase {phase}: 1")
    return ok(_made(call, phase, body))


def get_ruleset(call: Call) -> Answer:
    """One ruleset with its rules."""
    return ok(_one(call))


def delete_ruleset(call: Call) -> Answer:
    """Remove a ruleset."""
    del _kept(call)[_one(call)["id"]]
    return Answer(b"", 204)


def get_entrypoint(call: Call) -> Answer:
    """The ruleset that runs in a phase."""
    return ok(_entrypoint(call, _phase(call)))


def put_entrypoint(call: Call) -> Answer:
    """Replace all rules of a phase, making its ruleset where there is none."""
    phase, body = _phase(call), call.json()
    found = next((one for one in _kept(call).values() if one["phase"] == phase), None)
    if found is None:
        return ok(_made(call, phase, {"name": "default", **body}))
    found["rules"] = _rules(call, body.get("rules", []))
    return ok(_changed(call, found))


def add_rule(call: Call) -> Answer:
    """Append a rule; answers the whole ruleset."""
    found = _one(call)
    if len(found["rules"]) >= MAX_RULES:
        raise answers.fail(400, 20019, "too many rules")
    found["rules"].append(_rule(call, call.json()))
    return ok(_changed(call, found))


def patch_rule(call: Call) -> Answer:
    """Change a rule; answers the whole ruleset."""
    found = _one(call)
    at = _index(call, found)
    old = found["rules"][at]
    found["rules"][at] = {**_rule(call, {**old, **call.json()}), "id": old["id"]}
    return ok(_changed(call, found))


def delete_rule(call: Call) -> Answer:
    """Remove a rule; answers the whole ruleset."""
    found = _one(call)
    del found["rules"][_index(call, found)]
    return ok(_changed(call, found))


def _entrypoint(call: Call, phase: str) -> dict[str, Any]:
    for one in _kept(call).values():
        if one["phase"] == phase:
            return one
    raise answers.fail(404, 10003, f"could not find entrypoint ruleset in the {phase} phase")


def _index(call: Call, ruleset: dict[str, Any]) -> int:
    for at, rule in enumerate(ruleset["rules"]):
        if rule["id"] == call.params["rule_id"]:
            return at
    raise answers.fail(404, 10004, "could not find rule")


def _made(call: Call, phase: str, body: dict[str, Any]) -> dict[str, Any]:
    if len(_kept(call)) >= MAX_RULESETS:
        raise answers.fail(400, 20018, "too many rulesets")
    made: dict[str, Any] = {
        "id": new_id(),
        "name": str(body.get("name"))[:200],
        "description": str(body.get("description", ""))[:500],
        "kind": "zone",
        "phase": phase,
        "version": "0",
        "rules": _rules(call, body.get("rules", [])),
    }
    _kept(call)[made["id"]] = made
    return _changed(call, made)


def _changed(call: Call, ruleset: dict[str, Any]) -> dict[str, Any]:
    ruleset["version"] = str(int(ruleset["version"]) + 1)
    ruleset["last_updated"] = iso_seconds(call.state.wall())
    return ruleset


def _rules(call: Call, given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list) or len(given) > MAX_RULES or not all(isinstance(rule, dict) for rule in given):
        raise answers.fail(400, 20000, f"rules must be a list of at most {MAX_RULES} objects")
    return [_rule(call, rule) for rule in given]


def _rule(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    expression, action = given.get("expression"), given.get("action")
    if not isinstance(expression, str) or not 1 <= len(expression) <= 4096:
        raise answers.fail(400, 20021, "invalid or missing expression")
    if expression.count("(") != expression.count(")"):
        raise answers.fail(400, 20127, "the expression cannot be parsed: unbalanced parentheses")
    if action not in ACTIONS:
        raise answers.fail(400, 20015, f"unknown action {str(action)[:40]!r}")
    rule = {name: given[name] for name in _RULE if name in given}
    return {"id": new_id(), "version": "1", "enabled": True, **rule, "last_updated": iso_seconds(call.state.wall())}

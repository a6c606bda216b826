"""Zone settings: the few that agents ask for. Values and their sets are Cloudflare's [D]."""

from typing import Any

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.answers import Answer, ok
from connectors.simulators.cloudflare.clock import iso_seconds
from connectors.simulators.cloudflare.routing import Call

KIND = "setting"
_ON_OFF = ("on", "off")
SETTINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "always_use_https": ("off", _ON_OFF),
    "automatic_https_rewrites": ("on", _ON_OFF),
    "brotli": ("on", _ON_OFF),
    "development_mode": ("off", _ON_OFF),
    "http3": ("on", _ON_OFF),
    "min_tls_version": ("1.0", ("1.0", "1.1", "1.2", "1.3")),
    "security_level": ("medium", ("off", "essentially_off", "low", "medium", "high", "under_attack")),
    "ssl": ("full", ("off", "flexible", "full", "strict")),
}


def list_settings(call: Call) -> Answer:
    """Every setting."""
    return ok([_one(call, name) for name in SETTINGS])


def get_setting(call: Call) -> Answer:
    """One setting."""
    return ok(_one(call, call.params["setting_id"]))


def edit_setting(call: Call) -> Answer:
    """Change one setting's value."""
    name = call.params["setting_id"]
    shown = _one(call, name)
    value = call.json().get("value")
    if value not in SETTINGS[name][1]:
        raise answers.fail(400, 1007, f"Invalid value for zone setting {name}")
    changed = {**shown, "value": value, "modified_on": iso_seconds(call.state.wall())}
    call.zone.shelves.setdefault(KIND, {})[name] = changed
    return ok(changed)


def _one(call: Call, name: str) -> dict[str, Any]:
    if name not in SETTINGS:
        raise answers.fail(400, 1006, f"Unrecognized zone setting name: {name[:60]}")
    kept: dict[str, Any] | None = call.zone.shelves.get(KIND, {}).get(name)
    return kept or {"id": name, "value": SETTINGS[name][0], "modified_on": None, "editable": True}

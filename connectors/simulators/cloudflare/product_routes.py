"""The operations of products beyond zones, storage and Workers scripts: WAF, Worker routes, settings, Zero Trust."""

from connectors.simulators.cloudflare.handlers import rulesets, settings, shelves
from connectors.simulators.cloudflare.handlers.shelves import Shelf
from connectors.simulators.cloudflare.routing import Route, route

_ZONE = "/zones/{zone_id}"
_RULESETS = f"{_ZONE}/rulesets"
_ENTRY = f"{_RULESETS}/phases/{{ruleset_phase}}/entrypoint"
_RULES = f"{_RULESETS}/{{ruleset_id}}/rules"
_ACCOUNT = "/accounts/{account_id}"

_WAF_WRITE = ("Zone WAF Write",)
_WAF = (*_WAF_WRITE, "Zone WAF Read")
_SETTINGS_WRITE = ("Zone Settings Write",)
_SETTINGS = (*_SETTINGS_WRITE, "Zone Settings Read")
_ROUTES_WRITE = ("Workers Routes Write",)
_ROUTES = (*_ROUTES_WRITE, "Workers Routes Read")
_APPS_WRITE = ("Access: Apps and Policies Write",)
_APPS = (*_APPS_WRITE, "Access: Apps and Policies Read")
_TRUST_WRITE = ("Zero Trust Write",)
_TRUST = (*_TRUST_WRITE, "Zero Trust Read")


def _ids(resource: str, one: str) -> dict[str, str]:
    """Operation ids as Cloudflare makes them where a product names none: method and path."""
    return {
        "list": f"get_{resource}",
        "create": f"post_{resource}",
        "get": f"get_{resource}_{one}",
        "replace": f"put_{resource}_{one}",
        "delete": f"delete_{resource}_{one}",
    }


_LINES = {"list": "GET", "create": "POST", "get": "GET", "replace": "PUT", "patch": "PATCH", "delete": "DELETE"}


def _shelf(shelf: Shelf, path: str, ids: dict[str, str], read: tuple[str, ...], write: tuple[str, ...]) -> list[Route]:
    made = []
    for method, ident in ids.items():
        where = path if method in ("list", "create") else f"{path}/{{{shelf.param}}}"
        groups = read if method in ("list", "get") else write
        line = f"{_LINES[method]} {where}"
        made.append(route(ident, line, shelf.handler(method), shelf.on, *groups))  # type: ignore[arg-type]  # an `On`
    return made


_WORKER_ROUTES = {
    "list": "worker-routes-list-routes",
    "create": "worker-routes-create-route",
    "get": "worker-routes-get-route",
    "replace": "worker-routes-update-route",
    "delete": "worker-routes-delete-route",
}
_GATEWAY_RULES = {
    "list": "zero-trust-gateway-rules-list-zero-trust-gateway-rules",
    "create": "zero-trust-gateway-rules-create-zero-trust-gateway-rule",
    "get": "zero-trust-gateway-rules-zero-trust-gateway-rule-details",
    "replace": "zero-trust-gateway-rules-update-zero-trust-gateway-rule",
    "delete": "zero-trust-gateway-rules-delete-zero-trust-gateway-rule",
}
_GATEWAY_LISTS = {
    "list": "zero-trust-lists-list-zero-trust-lists",
    "create": "zero-trust-lists-create-zero-trust-list",
    "get": "zero-trust-lists-zero-trust-list-details",
    "replace": "zero-trust-lists-update-zero-trust-list",
    "patch": "zero-trust-lists-patch-zero-trust-list",
    "delete": "zero-trust-lists-delete-zero-trust-list",
}
_BY_RULESET = "zones_zone_id_rulesets_ruleset_id"
_BY_PHASE = "zones_zone_id_rulesets_phases_ruleset_phase_entrypoint"

PRODUCT_ROUTES: tuple[Route, ...] = (
    route("get_zones_zone_id_rulesets", f"GET {_RULESETS}", rulesets.list_rulesets, "zone", *_WAF),
    route("post_zones_zone_id_rulesets", f"POST {_RULESETS}", rulesets.create_ruleset, "zone", *_WAF_WRITE),
    route(f"get_{_BY_RULESET}", f"GET {_RULESETS}/{{ruleset_id}}", rulesets.get_ruleset, "zone", *_WAF),
    route(f"delete_{_BY_RULESET}", f"DELETE {_RULESETS}/{{ruleset_id}}", rulesets.delete_ruleset, "zone", *_WAF_WRITE),
    route(f"get_{_BY_PHASE}", f"GET {_ENTRY}", rulesets.get_entrypoint, "zone", *_WAF),
    route(f"put_{_BY_PHASE}", f"PUT {_ENTRY}", rulesets.put_entrypoint, "zone", *_WAF_WRITE),
    route(f"post_{_BY_RULESET}_rules", f"POST {_RULES}", rulesets.add_rule, "zone", *_WAF_WRITE),
    route(
        f"patch_{_BY_RULESET}_rules_rule_id", f"PATCH {_RULES}/{{rule_id}}", rulesets.patch_rule, "zone", *_WAF_WRITE
    ),
    route(
        f"delete_{_BY_RULESET}_rules_rule_id", f"DELETE {_RULES}/{{rule_id}}", rulesets.delete_rule, "zone", *_WAF_WRITE
    ),
    route("zone-settings-get-all-zone-settings", f"GET {_ZONE}/settings", settings.list_settings, "zone", *_SETTINGS),
    route(
        "zone-settings-get-single-setting",
        f"GET {_ZONE}/settings/{{setting_id}}",
        settings.get_setting,
        "zone",
        *_SETTINGS,
    ),
    route(
        "zone-settings-edit-single-setting",
        f"PATCH {_ZONE}/settings/{{setting_id}}",
        settings.edit_setting,
        "zone",
        *_SETTINGS_WRITE,
    ),
    *_shelf(shelves.ROUTES, f"{_ZONE}/workers/routes", _WORKER_ROUTES, _ROUTES, _ROUTES_WRITE),
    *_shelf(
        shelves.APPS,
        f"{_ACCOUNT}/access/apps",
        _ids("accounts_account_id_access_apps", "app_id"),
        _APPS,
        _APPS_WRITE,
    ),
    *_shelf(shelves.GATEWAY_RULES, f"{_ACCOUNT}/gateway/rules", _GATEWAY_RULES, _TRUST, _TRUST_WRITE),
    *_shelf(shelves.GATEWAY_LISTS, f"{_ACCOUNT}/gateway/lists", _GATEWAY_LISTS, _TRUST, _TRUST_WRITE),
    route(
        "zero-trust-lists-zero-trust-list-items",
        f"GET {_ACCOUNT}/gateway/lists/{{list_id}}/items",
        shelves.list_items,
        "account",
        *_TRUST,
    ),
)

"""Which permissions a token needs, the filled-in form at Cloudflare, and what of a token is more than is needed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from connectors.base import Operation, Permissions
from connectors.cloudflare import config, token_page
from connectors.openapi.model import OperationRow


def row(ref: str, *groups: str) -> OperationRow:
    method, path = ref.split(" ")
    return OperationRow(ref, method, path, "", (), False, groups or None, (), 0)


ROWS = (
    row("GET /zones", "Zone Zone Read", "Zone Write"),
    row("GET /zones/{zone_id}/dns_records", "DNS Read", "DNS Write"),
    row("POST /zones/{zone_id}/dns_records", "DNS Write"),
    row("POST /zones/{zone_id}/purge_cache", "Cache Purge"),
    row("GET /ips"),
)


@dataclass
class Spec:
    rows: tuple[OperationRow, ...] = ROWS


@dataclass
class View:
    name: str = "cloudflare"
    config: Mapping[str, Any] = field(default_factory=lambda: {"base_url": config.BASE_URL})
    spec: Any = field(default_factory=Spec)


def reads(operation: Operation) -> bool:
    return operation.effect == "read"


def anything(_: Operation) -> bool:
    return True


def held(*names: str, effect: str = "allow") -> Permissions:
    policy = {"effect": effect, "permission_groups": [{"name": n} for n in names], "resources": {}}
    return Permissions("policies", (policy,))


def test_the_least_that_suffices_is_needed() -> None:
    assert token_page.needed(View(), reads) == ("DNS Read", "User Details Read", "Zone Read")
    assert token_page.needed(View(), anything) == ("Cache Purge", "DNS Write", "User Details Read", "Zone Read")
    assert token_page.needed(View(), lambda _: False) == ()


def test_the_form_is_filled_in() -> None:
    url = token_page.form_url(View(), ("DNS Read", "DNS Write", "Zone Read", "Cache Purge", "Of No Key Read"), "A & B")
    assert url is not None
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "dash.cloudflare.com", "/profile/api-tokens")
    query = parse_qs(parts.query)
    assert query["name"] == ["A & B"]
    assert json.loads(query["permissionGroupKeys"][0]) == [
        {"key": "user_details", "type": "read"},
        {"key": "dns", "type": "edit"},
        {"key": "zone", "type": "read"},
        {"key": "cache_purge", "type": "purge"},
    ]


def test_nobody_is_sent_to_cloudflare_for_a_token_of_another_origin() -> None:
    assert token_page.form_url(View(config={"base_url": "https://other.example/client/v4"}), (), "x") is None


def test_what_no_grant_needs_is_named() -> None:
    mine = held("DNS Write", "Zone Read", "User Details Read", "Workers Scripts Write")
    assert token_page.excess(View(), mine, anything) == ("Workers Scripts Write",)
    assert token_page.excess(View(), mine, reads) == ("DNS Write", "Workers Scripts Write")
    assert token_page.excess(View(), held("DNS Edit", "Zone Read"), anything) == ()


def test_what_is_not_known_is_not_judged() -> None:
    assert token_page.excess(View(), Permissions("unknown"), anything) is None
    assert token_page.excess(View(), Permissions("all"), anything) is None


def test_denied_groups_are_no_ability_and_garbage_is_none() -> None:
    assert token_page.abilities(held("DNS Write", effect="deny")) == ()
    odd = Permissions("policies", ({"effect": "allow", "permission_groups": [{"id": "x"}, 3, {"name": ""}]},))
    assert token_page.abilities(odd) == ()

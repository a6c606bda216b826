"""Which accounts and zones a whole request touches: its path decides, its query and body can only widen.

Policy confines a grant to accounts or zones by what a request *names*. A path's ids bind the upstream. A
filter or a body field binds it only if the upstream reads it, so an id named there never counts as
confinement: it is added with `*` (which no list contains) unless the path already names one of its kind.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from connectors.base import Json, Resources
from connectors.cloudflare.operations import path_resources, unique

EVERY: Final = "*"
"""In `Resources`: not confined to named ones."""
MAX_NAMED: Final = 100

_ZONE_KEYS: Final = frozenset(
    ("zone", "zones", "zone_id", "zone_ids", "zoneId", "zone_tag", "zone_tags", "zoneTag", "zone_identifier")
)
_ACCOUNT_KEYS: Final = frozenset(
    (
        "account",
        "accounts",
        "account_id",
        "account_ids",
        "accountId",
        "account_tag",
        "accountTag",
        "account.id",
    )
)


def request_resources(
    template: str, path: str, query: Mapping[str, Json], body: Json, *, unread: bool = False
) -> Resources:
    """The accounts and zones of a request; `path` is the built one, without the API's prefix.

    `unread`: the body goes out as bytes that are not looked into, where the upstream reads fields.
    """
    named = path_resources(template, path)
    if unread:
        return Resources(unique([*named.accounts, EVERY]), unique([*named.zones, EVERY]))
    fields = body if isinstance(body, dict) else {}
    if template == "/zones":
        # Listing zones of an account, and creating one in it: here the field is what Cloudflare goes by.
        account = list(_ids(query.get("account.id"))) + list(_ids(fields.get("account")))
        return Resources(unique(account), named.zones)
    items = [item for item in body if isinstance(item, dict)] if isinstance(body, list) else ()
    zones = _named(_ZONE_KEYS, query, fields, *items)
    accounts = _named(_ACCOUNT_KEYS, query, fields, *items)
    return Resources(_widen(named.accounts, accounts), _widen(named.zones, zones))


def _widen(in_path: tuple[str, ...], elsewhere: list[str]) -> tuple[str, ...]:
    if not elsewhere or set(elsewhere) <= set(in_path):
        return in_path
    return unique([*in_path, *elsewhere, *(() if in_path else (EVERY,))])


def _named(keys: frozenset[str], *sources: Mapping[str, Json]) -> list[str]:
    found: list[str] = []
    for source in sources:
        for key in keys.intersection(source):
            found.extend(_ids(source[key]))
    names = sorted(set(found))
    return names if len(names) <= MAX_NAMED else [*names[:MAX_NAMED], EVERY]


def _ids(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        parts = value.split(",", MAX_NAMED)
        yield from (part[:64] for part in parts[:MAX_NAMED] if part)
        if len(parts) > MAX_NAMED:
            yield EVERY  # whom the rest names is not looked at
    elif isinstance(value, dict):
        identifier = value.get("id")
        if isinstance(identifier, str):
            yield identifier[:64]
        elif "$file" in value or "$binary" in value:
            yield EVERY  # a part of a multipart body whose text is not looked into
    elif isinstance(value, list):
        for item in value[:MAX_NAMED]:
            if isinstance(item, (str, dict)):
                yield from _ids(item)
        if len(value) > MAX_NAMED:
            yield EVERY

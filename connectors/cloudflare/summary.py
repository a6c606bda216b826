"""What the audit keeps of a call's arguments: names and sizes of everything, values only of fields listed
here.
"""

from collections.abc import Mapping
from typing import Final

from connectors.base import Json

MAX_NAMES: Final = 30
MAX_VALUE: Final = 200

# Per template: body fields whose values say what was done and are never secret. A TXT record's content can
# be one.
_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "/zones/{}/dns_records": ("type", "name", "ttl", "proxied"),
    "/zones/{}/dns_records/{}": ("type", "name", "ttl", "proxied"),
    "/zones/{}/purge_cache": ("purge_everything",),
    "/zones": ("name", "type"),
}


def summarise(
    ref: str, path_params: Mapping[str, Json], query: Mapping[str, Json], body: Json, body_bytes: int
) -> dict[str, Json]:
    """`{operation, path?, query?, body_keys?, body_bytes?, values?}`, bounded."""
    summary: dict[str, Json] = {"operation": ref[:300]}
    if path_params:
        summary["path"] = {str(k)[:60]: str(v)[:MAX_VALUE] for k, v in list(path_params.items())[:MAX_NAMES]}
    if query:
        summary["query"] = [str(name)[:60] for name in list(query)[:MAX_NAMES]]
    if isinstance(body, dict) and body:
        summary["body_keys"] = [str(name)[:60] for name in list(body)[:MAX_NAMES]]
        values = _values(ref.partition(" ")[2], body)
        if values:
            summary["values"] = values
    if body_bytes:
        summary["body_bytes"] = body_bytes
    return summary


def _values(template: str, body: Mapping[str, Json]) -> dict[str, Json]:
    shape = "/".join("{}" if part.startswith("{") else part for part in template.split("/"))
    kept: dict[str, Json] = {}
    for name in _VALUES.get(shape, ()):
        value = body.get(name)
        if isinstance(value, str):
            kept[name] = value[:MAX_VALUE]
        elif isinstance(value, (bool, int)) and abs(value) < 2**53:
            kept[name] = value
    return kept

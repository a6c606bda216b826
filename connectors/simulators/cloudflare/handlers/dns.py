"""DNS records of a zone."""

from collections.abc import Callable
from typing import Any

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.answers import Answer, ok
from connectors.simulators.cloudflare.clock import iso
from connectors.simulators.cloudflare.handlers.dns_rules import FIELDS, checked, conflict
from connectors.simulators.cloudflare.model import Zone
from connectors.simulators.cloudflare.routing import Call, page
from connectors.simulators.cloudflare.state import CloudflareState
from connectors.simulators.cloudflare.values import is_id, new_id

Record = dict[str, Any]
MAX_RECORDS = 50_000
_SUFFIXES: dict[str, Callable[[str, str], bool]] = {
    "exact": lambda have, want: have == want,
    "contains": lambda have, want: want in have,
    "startswith": lambda have, want: have.startswith(want),
    "endswith": lambda have, want: have.endswith(want),
}


def put_record(state: CloudflareState, zone: Zone, body: Record, ident: str | None = None) -> Record:
    """Check and store a record; an `ident` replaces that one. Raises ApiError for what Cloudflare refuses."""
    record = checked(body, zone.name)
    refusal = conflict(record, (other for key, other in zone.records.items() if key != ident))
    if refusal is not None:
        raise refusal
    if ident is None and len(zone.records) >= MAX_RECORDS:
        raise answers.fail(400, 81045, "DNS record quota has been surpassed.")
    now = iso(state.wall())
    created = zone.records[ident]["created_on"] if ident else now
    stored = {"id": ident or new_id(), **record, "created_on": created, "modified_on": now}
    zone.records[stored["id"]] = stored
    return stored


def list_records(call: Call) -> Answer:
    """Records by `type`, `name`, `content`, `proxied` and `search`, in pages (100 by default) [D]."""
    records = list(call.zone.records.values())
    query = call.query
    if query:
        records = [record for record in records if _matches(record, query)]
        order = query.get("order", "type")
        if order in {"type", "name", "content", "ttl", "proxied"}:
            records.sort(key=lambda r: (str(r[order]), r["name"]), reverse=query.get("direction") == "desc")
    part, info = page(call, records, default=100, largest=5_000_000, smallest=1)
    return ok(part, info)


def _matches(record: Record, query: dict[str, str]) -> bool:
    tests: list[bool] = []
    for name, want in query.items():
        field, _, suffix = name.partition(".")
        if field in {"name", "content"}:
            tests.append(_SUFFIXES.get(suffix or "exact", _SUFFIXES["exact"])(record[field].lower(), want.lower()))
        elif name == "type":
            tests.append(record["type"] == want)
        elif name == "proxied":
            tests.append(record["proxied"] is (want == "true"))
        elif name == "search":
            tests.append(want in record["name"] or want in record["content"])
    return (any if query.get("match") == "any" and tests else all)(tests)


def _ident(call: Call) -> str:
    ident = call.params["dns_record_id"]
    if not is_id(ident):
        raise answers.unroutable(call.path)
    if ident not in call.zone.records:
        raise answers.fail(404, 81044, "Record does not exist.")
    return ident


def get_record(call: Call) -> Answer:
    """One record."""
    return ok(call.zone.records[_ident(call)])


def create_record(call: Call) -> Answer:
    """Add a record."""
    return ok(put_record(call.state, call.zone, call.json()))


def update_record(call: Call) -> Answer:
    """Replace a record: what the body leaves out falls back to its default."""
    return ok(put_record(call.state, call.zone, call.json(), _ident(call)))


def patch_record(call: Call) -> Answer:
    """Change some fields of a record."""
    ident = _ident(call)
    before = {key: value for key, value in call.zone.records[ident].items() if key in FIELDS}
    return ok(put_record(call.state, call.zone, before | call.json(), ident))


def delete_record(call: Call) -> Answer:
    """Remove a record."""
    ident = _ident(call)
    del call.zone.records[ident]
    return ok({"id": ident})

"""What an operation of the description is to us: its effect, its permissions, and the resources its path
names.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from connectors.base import Effect, Meter, Operation, Resources
from connectors.cloudflare.guarded import Rule, is_guarded, match
from connectors.openapi.model import OperationRow

REST: Final = Meter("rest", 1200, 300)
GRAPHQL: Final = Meter("graphql", 320, 300)

# POST operations that only read. An entry needs a reason to believe that nothing is stored, sent or charged
# for.
READS: Final[tuple[Rule, ...]] = (
    Rule("POST", "/accounts/*/storage/kv/namespaces/*/bulk/get"),
    Rule("POST", "/accounts/*/vectorize/v2/indexes/*/query"),
    Rule("POST", "/accounts/*/vectorize/v2/indexes/*/get_by_ids"),
    Rule("POST", "/accounts/*/vectorize/indexes/*/query"),
    Rule("POST", "/accounts/*/vectorize/indexes/*/get-by-ids"),
    Rule("POST", "/accounts/*/workers/observability/telemetry/keys"),
    Rule("POST", "/accounts/*/workers/observability/telemetry/values"),
    Rule("POST", "/accounts/*/workers/observability/telemetry/query"),
    Rule("POST", "/accounts/*/ai-search/instances/*/search"),
    Rule("POST", "/accounts/*/ai-search/namespaces/*/search"),
    Rule("POST", "/accounts/*/ai-search/namespaces/*/instances/*/search"),
    Rule("POST", "/accounts/*/autorag/rags/*/search"),
    Rule("POST", "/accounts/*/cloudforce-one/requests"),  # "List Requests"; creation is …/requests/new
    Rule("POST", "/accounts/*/cloudforce-one/requests/priority"),
    Rule("POST", "/accounts/*/cloudforce-one/requests/*/message"),
    Rule("POST", "/accounts/*/pay-per-crawl/zones_can_be_enabled/query"),
    Rule("POST", "/accounts/*/registrar/domain-check"),
    Rule("POST", "/accounts/*/dlp/patterns/validate"),
    Rule("POST", "/accounts/*/pipelines/v1/validate_sql"),
    Rule("POST", "/zones/*/ssl/analyze"),
    Rule("POST", "/zones/*/token_validation/rules/preview"),
)

# Operations that destroy although they are not DELETE. D1's query and raw stay `write`: SQL can do either,
# and the token's own D1 Read or Write decides upstream.
DESTRUCTIVE: Final[tuple[Rule, ...]] = (
    Rule("POST", "/zones/*/dns_records/batch"),  # may delete and overwrite any number of records
    Rule("POST", "/accounts/*/d1/database/*/time_travel/restore"),
    Rule("POST", "/SCOPE/*/access/apps/*/revoke_tokens"),
    Rule("POST", "/SCOPE/*/access/organizations/revoke_user"),
    Rule("POST", "/accounts/*/devices/resilience/disconnect"),  # drops every device's tunnel
    Rule("POST", "/zones/*/cache/cache_reserve_clear"),
    Rule("POST", "/zones/*/smart_shield/cache_reserve_clear"),
    Rule("POST", "/accounts/*/queues/*/messages/preview/ack"),
    Rule("POST", "/accounts/*/queues/*/messages/ack"),
    Rule("PUT", "/accounts/*/intel/indicator-feeds/permissions/remove"),
    Rule("PUT", "/accounts/*/slurper/jobs/abortAll"),
    Rule("PUT", "/accounts/*/slurper/jobs/*/abort"),
)
_DESTROYS: Final = re.compile(
    r"/(?:(?:bulk|batch)[_-]?)?(?:delete|delete[_-]by[_-]ids|purge|terminate|revoke|wipe|destroy)$"
)

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@lru_cache(maxsize=8192)
def effect_of(method: str, template: str) -> Effect:
    """From the reviewed tables; else GET and HEAD read, DELETE destroys, the rest write."""
    if method in _READING:
        return "read"
    if method == "DELETE" or match(DESTRUCTIVE, method, template) is not None or _DESTROYS.search(template):
        return "destructive"
    return "read" if match(READS, method, template) is not None else "write"


@lru_cache(maxsize=8192)
def operation_of(row: OperationRow) -> Operation:
    """The operation that a row of the description stands for."""
    groups = row.groups or ()
    return Operation(
        id=row.id,
        method=row.method,
        path=row.path,
        effect=effect_of(row.method, row.path),
        summary=row.summary,
        permissions=groups,
        annotated=bool(groups),
        guarded=is_guarded(row.method, row.path),
    )


def path_resources(template: str, path: str) -> Resources:
    """The accounts and zones that a built path names: what follows `accounts` or `zones` where the template
    has a parameter.

    Taken from the path that is sent, never from the arguments: what is judged is what is asked for.
    """
    accounts: list[str] = []
    zones: list[str] = []
    pattern = template.split("/")
    before = ""
    for shape, segment in zip(pattern, path.split("/"), strict=False):
        if shape.startswith("{") and shape.endswith("}"):
            if before == "accounts":
                accounts.append(unquote(segment))
            elif before == "zones":
                zones.append(unquote(segment))
        before = shape
    return Resources(unique(accounts), unique(zones))


def unique(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))

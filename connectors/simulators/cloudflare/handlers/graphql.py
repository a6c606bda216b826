"""GraphQL analytics over a small fixed dataset. Answers are GraphQL's own, not the v4 envelope [D].

The schema is a sliver of the real one: requests per day of zones, and Worker invocations of accounts. There
are no mutations. Error texts are [memory].
"""

from typing import Any

import orjson
from graphql import (
    ExecutionResult,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    build_schema,
    execute,
    parse,
    validate,
)
from graphql.language import DocumentNode

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.access import may
from connectors.simulators.cloudflare.answers import Answer
from connectors.simulators.cloudflare.clock import iso
from connectors.simulators.cloudflare.groups import GROUPS
from connectors.simulators.cloudflare.policy import Target
from connectors.simulators.cloudflare.routing import Call

MAX_TOKENS = 2000
MAX_DAYS = 30
MAX_DEPTH = 30
_ZONE = (GROUPS["Analytics Read"],)
_ACCOUNT = (GROUPS["Account Analytics Read"],)

_SCHEMA = build_schema(
    """
    type Query { viewer: Viewer! }
    type Viewer {
      zones(filter: ZoneFilter!): [Zone!]!
      accounts(filter: AccountFilter!): [Account!]!
    }
    input ZoneFilter { zoneTag: String, zoneTag_in: [String!] }
    input AccountFilter { accountTag: String, accountTag_in: [String!] }
    input DateFilter { date: String, date_geq: String, date_leq: String, date_gt: String, date_lt: String }
    type Zone {
      zoneTag: String!
      httpRequests1dGroups(limit: Int!, filter: DateFilter, orderBy: [String!]): [Day!]!
    }
    type Account {
      accountTag: String!
      workersInvocationsAdaptive(limit: Int!, filter: DateFilter, orderBy: [String!]): [Invocations!]!
    }
    type Day { dimensions: Dimensions!, sum: Sum!, uniq: Uniq! }
    type Dimensions { date: String! }
    type Sum { requests: Int!, bytes: Float!, cachedRequests: Int!, threats: Int! }
    type Uniq { uniques: Int! }
    type Invocations { dimensions: ScriptDimensions!, sum: InvocationSum! }
    type ScriptDimensions { scriptName: String! }
    type InvocationSum { requests: Int!, errors: Int! }
    """
)


def analytics(call: Call) -> Answer:
    """`POST /graphql`: 10000 for a caller without any analytics permission, else the query's answer."""
    if not _sees_any(call):
        raise answers.not_permitted()
    return _answer(call)


def _sees_any(call: Call) -> bool:
    state, actor = call.state, call.actor
    zones = (Target(account=zone.account.id, zone=zone.id) for zone in state.zones.values())
    accounts = (Target(account=ident) for ident in state.accounts)
    return any(may(state, actor, _ZONE, t) for t in zones) or any(may(state, actor, _ACCOUNT, t) for t in accounts)


def _answer(call: Call) -> Answer:
    """Answer one query; a mutation, a broken or an over-large document is an error with `data: null`."""
    body = call.json()
    text, variables = body.get("query"), body.get("variables") or {}
    if not isinstance(text, str) or not isinstance(variables, dict):
        return _problem(call, "error parsing args: query and variables are expected")
    if _depth(text) > MAX_DEPTH:
        return _problem(call, "error parsing query: nested too deeply")
    try:
        document = parse(text, max_tokens=MAX_TOKENS)
    except GraphQLError as problem:
        return _problem(call, f"error parsing query: {problem.message}"[:500])
    if any(d.operation is not OperationType.QUERY for d in _operations(document)):
        return _problem(call, "mutations and subscriptions are not supported")
    refusals = validate(_SCHEMA, document, max_errors=5)
    if refusals:
        return _problem(call, *(refusal.message[:500] for refusal in refusals))
    name = body.get("operationName")
    result = execute(
        _SCHEMA,
        document,
        root_value={"viewer": _Viewer(call)},
        variable_values=variables,
        operation_name=name if isinstance(name, str) else None,
    )
    if not isinstance(result, ExecutionResult):  # an awaitable: no resolver here is asynchronous
        return _problem(call, "internal error")
    if result.errors:
        return _problem(call, *(error.message[:500] for error in result.errors))
    return Answer(orjson.dumps({"data": result.data, "errors": None}))


def _depth(text: str) -> int:
    """An upper bound on the document's nesting: brackets in strings count too."""
    deepest = depth = 0
    for char in text:
        if char in "{[(":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}])":
            depth -= 1
    return deepest


def _operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]


def _problem(call: Call, *messages: str) -> Answer:
    stamp = iso(call.state.wall())
    errors = [{"message": m, "path": None, "extensions": {"timestamp": stamp}} for m in messages]
    return Answer(orjson.dumps({"data": None, "errors": errors}))


class _Viewer:
    """The caller's view: a zone or account without the permission is an error naming it."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def zones(self, _info: Any, filter: dict[str, Any]) -> list[dict[str, Any]]:
        tags = filter.get("zoneTag_in") or [filter.get("zoneTag") or ""]
        for tag in tags:
            zone = self._call.state.zones.get(tag)
            target = Target(account=zone.account.id if zone else "", zone=tag)
            if zone is None or not may(self._call.state, self._call.actor, _ZONE, target):
                raise GraphQLError(f"zone {tag[:32]!r} does not have access to the path or does not exist")
        return [{"zoneTag": tag, "httpRequests1dGroups": _days} for tag in tags]

    def accounts(self, _info: Any, filter: dict[str, Any]) -> list[dict[str, Any]]:
        tags = filter.get("accountTag_in") or [filter.get("accountTag") or ""]
        found: list[dict[str, Any]] = []
        for tag in tags:
            account = self._call.state.accounts.get(tag)
            if account is None or not may(self._call.state, self._call.actor, _ACCOUNT, Target(account=tag)):
                raise GraphQLError(f"account {tag[:32]!r} does not have access to the path or does not exist")
            found.append({"accountTag": tag, "workersInvocationsAdaptive": _invocations(list(account.scripts))})
        return found


def _days(_info: Any, limit: int, filter: dict[str, str] | None = None, orderBy: Any = None) -> list[Any]:  # noqa: N803, ARG001 - GraphQL's names
    """The same thirty made-up days for every zone, newest first."""
    bounds = filter or {}
    days = [f"2026-01-{day:02}" for day in range(MAX_DAYS, 0, -1)]
    kept = [
        day
        for day in days
        if bounds.get("date", day) == day
        and bounds.get("date_geq", day) <= day <= bounds.get("date_leq", day)
        and ("date_gt" not in bounds or day > bounds["date_gt"])
        and ("date_lt" not in bounds or day < bounds["date_lt"])
    ]
    return [_day(day) for day in kept[: max(0, limit)]]


def _day(date: str) -> dict[str, Any]:
    n = int(date[-2:])
    total = {"requests": 1000 + n, "bytes": 1_000_000.0 * n, "cachedRequests": 10 * n, "threats": n % 3}
    return {"dimensions": {"date": date}, "sum": total, "uniq": {"uniques": 100 + n}}


def _invocations(scripts: list[str]) -> Any:
    def resolve(_info: Any, limit: int, filter: Any = None, orderBy: Any = None) -> list[dict[str, Any]]:  # noqa: N803, ARG001 - GraphQL's names
        rows = [{"dimensions": {"scriptName": name}, "sum": {"requests": 42, "errors": 0}} for name in scripts]
        return rows[: max(0, limit)]

    return resolve

"""What an API offers to one caller, and what fits some words, over all that a caller has."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

import orjson

from broker.accounts.views import Views
from broker.domain import Account, Connection, Resolved
from broker.errors import Problem
from broker.gate.types import Reload
from broker.policy.reach import reach_of_tool
from broker.tools.choose import choose_account
from broker.tools.codemode.asked import Job
from broker.tools.codemode.portal.operations import Offer, Offers
from broker.tools.codemode.portal.ranking import Ranking
from broker.tools.codemode.portal.scope import Scope, view_of
from broker.tools.codemode.requesting import objects
from broker.tools.codemode.searching import Found, Searching
from broker.tools.request import ExecuteRequest
from connectors.base import Permissions
from connectors.openapi.index import SpecIndex

if TYPE_CHECKING:
    from broker.tools.codemode.portal.host import Run

TOOLS_FOUND: Final = 10
OPERATIONS_FOUND: Final = 15
APIS_MOST: Final = 50
"""Connections looked through for one question without code; the rest are named."""
_SCHEMA_SHOWN: Final = 1_500
_DESCRIPTION_SHOWN: Final = 240
_DESCRIPTION_READ: Final = 500

T = TypeVar("T")


class Looking:
    """Answers questions about what there is. Sends nothing. One per process."""

    def __init__(self, views: Views, searching: Searching, offers: Offers) -> None:
        self._views = views
        self._searching = searching
        self._offers = offers
        self._turn = asyncio.Semaphore(1)
        self._lines: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def answer(self, run: "Run", resolved: Resolved, name: str, question: str, given: Mapping[str, Any]) -> bytes:
        """The answer of one of an API's helpers, `{"value": …}` as JSON. Raises Problem."""
        found = await self._found(run, resolved, name, whoami=question == "whoami")
        if question == "whoami":
            return orjson.dumps({"value": orjson.loads(found.context)["whoami"]})
        offer = await self._offer(found)
        options = objects(given, "options")
        ask: Callable[[], object]
        if question == "products":
            ask = offer.products
        elif question == "operations":
            ask = partial(offer.operations, options)
        elif question == "operation":
            ask = offer.operation(_words(given.get("ref"), "an operation id or `METHOD /path`"))
        else:
            ask = partial(offer.find, _words(given.get("words") or "", "words"), options)
        return await self._aside(run, lambda: orjson.dumps({"value": ask()}))

    async def _aside(self, run: "Run", work: Callable[[], T]) -> T:
        """Work over a whole description: one at a time in a process, off the event loop, so that only those wait for it
        who asked. A tenant has one piece in line, however many it asks for: between two of them every other has its
        turn."""
        tenant_id = run.resolved.caller.tenant_id
        line = self._lines.get(tenant_id)
        if line is None:
            line = self._lines[tenant_id] = asyncio.Lock()
        async with line, self._turn:
            return await asyncio.to_thread(work)

    async def query(self, run: "Run", words: str) -> dict[str, Any]:
        """The tools and operations that fit best, and what is kept back. Raises Problem."""
        scope = run.scope
        names = [api.name for api in scope.apis.values() if api.search]
        hits: list[tuple[float, dict[str, Any]]] = []
        hidden: dict[str, Any] = {}
        for name in names[:APIS_MOST]:
            try:
                found = await self._found(run, run.resolved, name, whoami=False)
            except Problem as problem:  # one connection without an account must not hide the others
                hidden[name] = {"reason": problem.code}
                continue
            offer = await self._offer(found)
            ranked = await self._aside(run, partial(offer.ranked, words, {}, most=OPERATIONS_FOUND))
            hits += [(score, {"connection": name, **offer.briefly(number)}) for number, score in ranked]
            if any(found.hidden.values()):
                hidden[name] = dict(found.hidden)
        hits.sort(key=lambda hit: -hit[0])
        answer: dict[str, Any] = {
            "tools": await self._aside(run, partial(_tools, scope, words)),
            "operations": [shown for _, shown in hits[:OPERATIONS_FOUND]],
        }
        if hidden:
            answer["hidden"] = hidden
        if names[APIS_MOST:]:
            answer["not_searched"] = names[APIS_MOST:][:50]
        if scope.unavailable:
            answer["unavailable"] = [dict(entry) for entry in scope.unavailable[:20]]
        return answer

    async def _offer(self, found: Found) -> Offer:
        described = found.described
        bitmap = orjson.loads(found.context)["visible"]
        return await self._offers.offer(described.digest, described.spec, described.connector, bitmap, found.hidden)

    async def _found(self, run: "Run", resolved: Resolved, name: str, *, whoami: bool) -> Found:
        """What the connection's own search would be given. Raises Problem."""
        connection = next((one for one in resolved.connections if one.name == name), None)
        if connection is None or connection.status != "active":
            raise Problem("forbidden", f"connection {name} is not active any more")
        account = _account(connection, resolved)
        view = await view_of(self._views, resolved, connection)
        tool = view.tool(f"{name}_search")
        reach = reach_of_tool(resolved, connection, account, f"{name}_search", None, resolved.caller.now)
        if tool is None or reach is None or not isinstance(view.spec, SpecIndex):
            raise Problem("not_granted", f"no grant covers {name}_search any more")
        permissions = Permissions("unknown")
        if account is not None:
            permissions = await self._views.permissions(resolved.caller.tenant_id, account)
        job = _job(run, resolved, connection, view, tool)
        return await self._searching.prepare(job, account, permissions, reach, whoami=whoami)


def _job(run: "Run", resolved: Resolved, connection: Connection, view: Any, tool: Any) -> Job:
    """The search of a connection's own that such a question amounts to."""
    execution_id: UUID = run.execution_id
    deadline: datetime = run.deadline
    reload: Reload = run.reload
    return Job(ExecuteRequest(tool.name, {}), resolved, connection, view, tool, execution_id, deadline, reload)


def _account(connection: Connection, resolved: Resolved) -> Account | None:
    """The account to look with; None where any of several will do."""
    try:
        return choose_account(connection, resolved.accounts, resolved.grants, None)
    except Problem as problem:
        if problem.code == "ambiguous_account":
            return None
        raise


def _tools(scope: Scope, words: str) -> list[dict[str, Any]]:
    names = list(scope.tools)
    definitions = [scope.tools[name].definition for name in names]
    ranking = Ranking(
        [(name, 30), (str(one.get("title", "")), 20), (str(one.get("description", ""))[:_DESCRIPTION_READ], 5)]
        for name, one in zip(names, definitions, strict=True)
    )
    found = []
    for number, _ in ranking.find(words)[:TOOLS_FOUND]:
        name, definition = names[number], definitions[number]
        shown = {
            "name": name,
            "connection": scope.tools[name].full_name.partition("_")[0],
            "description": str(definition.get("description", ""))[:_DESCRIPTION_SHOWN],
        }
        schema = definition.get("inputSchema", {})
        if len(orjson.dumps(schema)) <= _SCHEMA_SHOWN:
            shown["inputSchema"] = schema
        found.append(shown)
    return found


def _words(value: object, what: str) -> str:
    given = value if isinstance(value, list) else [value]
    texts = [one for one in given if isinstance(one, str)]
    if len(texts) < len(given):
        raise Problem("invalid_input", f"it takes {what}")
    joined = " ".join(texts)
    if len(joined) > 2_000:
        raise Problem("invalid_input", "it takes at most 2,000 characters")
    return joined

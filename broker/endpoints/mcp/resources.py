"""`resources/…`: the resources of the MCP servers behind the caller.

At a connection's own URL they are called as their server calls them. At a tenant's, where two servers may have the same
address, each is called `NAME+uri` (the scheme of `up+file:///a` is `up+file`): that says whose it is, always, whatever
else is connected. A plain address is understood there too while only one server reached has resources at all.

Which resources there are is asked of each server with the caller's own account; templates are pinned like tools.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import orjson

from broker.domain import Resolved
from broker.endpoints.mcp.answers import Json, complete, here, listing
from broker.endpoints.mcp.behind import Behind, Server, code_of, failed, result_meta
from broker.endpoints.mcp.relay import Relay
from broker.endpoints.mcp.rpc import INVALID_PARAMS, RESOURCE_NOT_FOUND, Refused
from broker.endpoints.mcp.visit import Visit
from broker.errors import Problem
from broker.tools.passed import contents
from broker.tools.results import CONTENT_TEXT_LIMIT
from connectors.mcp_upstream.naming import RESOURCES
from connectors.mcp_upstream.resources import Template, usable_uri

AT_ONCE: Final = 8
"""Servers asked for their lists at the same time."""
MAX_CURSOR: Final = 60_000
NOT_TOLD: Final = "no resources/updated is ever sent here: read the resource again instead"
NOT_FOUND_CODES: Final = frozenset({INVALID_PARAMS, RESOURCE_NOT_FOUND})


class Resources:
    """One per process."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind

    async def listed(self, visit: Visit, resolved: Resolved) -> bytes:
        """`resources/list`: one page of every server that has more. What a server does not answer is named in `_meta`.
        Raises Refused for a cursor that is not one of ours, and where the URL's only server refuses."""
        servers = await self._behind.reached(visit, resolved, RESOURCES)
        after = _read_cursor(visit.message.params.get("cursor"))
        asked = [server for server in servers if after is None or server.name in after]
        room = asyncio.Semaphore(AT_ONCE)

        async def ask(server: Server) -> Mapping[str, Any] | Problem | Refused:
            async with room:
                return await self._page(visit, server, None if after is None else after[server.name])

        pages = await asyncio.gather(*(ask(server) for server in asked))
        found: list[Json] = []
        more: dict[str, str] = {}
        missing: list[Json] = []
        for server, page in zip(asked, pages, strict=True):
            if isinstance(page, Exception):
                missing.append(self._missing(visit, server, page))
                continue
            found += [{**item, "uri": _here(visit, server, item["uri"])} for item in page["resources"]]
            if "nextCursor" in page:
                more[server.name] = page["nextCursor"]
        result: Json = {"resources": found}
        if more:
            result["nextCursor"] = base64.urlsafe_b64encode(orjson.dumps(more)).decode()
        if missing:
            result["_meta"] = {"keyreeve/unavailable": missing}
        return listing(visit.message, result)

    async def _page(self, visit: Visit, server: Server, cursor: str | None) -> Mapping[str, Any] | Problem | Refused:
        try:
            result = await self._behind.run(visit, server, RESOURCES, {} if cursor is None else {"cursor": cursor})
        except Problem as problem:
            return problem
        if result.is_error:
            # A server with templates alone need not know the list.
            return {"resources": []} if code_of(result) == -32601 else failed(result)
        page: Mapping[str, Any] = result.data
        return page

    def _missing(self, visit: Visit, server: Server, why: Exception) -> Json:
        """Raises what stands in the way, where the URL is that server's."""
        if isinstance(why, Problem):
            refused = self._behind.refused(why)
            if isinstance(refused, Problem) or visit.place.connection is not None:
                raise refused
            return {"connection_name": server.name, "reason": why.code, "hint": why.hint or why.detail}
        if visit.place.connection is not None:
            raise why
        return {"connection_name": server.name, "reason": "upstream_error", "hint": str(why)[:300]}

    async def templates(self, visit: Visit, resolved: Resolved) -> bytes:
        """`resources/templates/list`. Nothing is asked of a server."""
        shown = [
            _template(_here(visit, server, template.uri), template)
            for server in await self._behind.reached(visit, resolved, RESOURCES)
            for template in _offered(server)
        ]
        return listing(visit.message, {"resourceTemplates": shown})

    async def read(self, visit: Visit, resolved: Resolved, relay: Relay) -> bytes:
        """`resources/read`. Raises Refused, Asking; Problem as `Behind.ask`."""
        asked = visit.message.params.get("uri")
        server, uri = await self._find(visit, resolved, asked)
        result = await self._behind.ask(visit, resolved.caller, server, RESOURCES, {"uri": uri}, relay)
        if result.is_error:
            if code_of(result) in NOT_FOUND_CODES:
                missing = _no_such(visit, asked)
                missing.reason = None  # on record as the call that the server answered so
                raise missing
            raise failed(result)
        shown, cut = contents(result.data, CONTENT_TEXT_LIMIT)
        shown = [{**content, "uri": _here(visit, server, content["uri"])} for content in shown]
        return listing(visit.message, {"contents": shown, "_meta": result_meta(result, cut=cut)})

    async def subscribed(self, visit: Visit, resolved: Resolved) -> bytes:
        """`resources/subscribe` and `unsubscribe` of the older era, which the capabilities do not announce: that era's
        notifications need a session's stream, and there is none. The protocol's conformance suite asks all the same
        and wants a result; it is one that promises nothing, and says so."""
        await self._find(visit, resolved, visit.message.params.get("uri"))
        return complete(visit.message, {"_meta": {"keyreeve/warning": NOT_TOLD}})

    async def template(self, visit: Visit, resolved: Resolved, uri: Any) -> tuple[Server, str]:
        """The server and the address of a template, as it is called here. Raises Refused."""
        for server in await self._behind.reached(visit, resolved, RESOURCES):
            for template in _offered(server):
                if uri in (_here(visit, server, template.uri), here(server.name, template.uri)):
                    return server, template.uri
        raise Refused(INVALID_PARAMS, "there is no such resource template", reason="not_found")

    async def _find(self, visit: Visit, resolved: Resolved, asked: Any) -> tuple[Server, str]:
        """The server whose resource that is, and what the server calls it. Raises Refused."""
        if not isinstance(asked, str) or not asked:
            raise Refused(INVALID_PARAMS, "params.uri must be the address of a resource")
        servers = await self._behind.reached(visit, resolved, RESOURCES)
        if visit.place.connection is None:
            name, plus, rest = asked.partition("+")
            named = next((s for s in servers if plus and s.name == name), None)
            if named is not None and usable_uri(rest):
                return named, rest
        if len(servers) != 1 or not usable_uri(asked):
            raise _no_such(visit, asked)
        return servers[0], asked


def _no_such(visit: Visit, uri: Any) -> Refused:
    code = INVALID_PARAMS if visit.message.modern else RESOURCE_NOT_FOUND
    return Refused(code, "there is no such resource here", data={"uri": str(uri)[:2_000]}, reason="not_found")


def _here(visit: Visit, server: Server, uri: str) -> str:
    return here(None if visit.place.connection is not None else server.name, uri)


def _offered(server: Server) -> list[Template]:
    held = server.pinned.held
    return [template for template in server.pinned.definitions.templates if template.label not in held]


def _template(uri: str, template: Template) -> Json:
    shown: Json = {"uriTemplate": uri, "name": template.name}
    for key, text in (("title", template.title), ("description", template.description)):
        if text:
            shown[key] = text
    if template.media_type is not None:
        shown["mimeType"] = template.media_type
    return shown


def _read_cursor(cursor: Any) -> dict[str, str] | None:
    """Where each server's list goes on. What is in it goes to that server and nowhere else."""
    if cursor is None:
        return None
    try:
        if not isinstance(cursor, str) or len(cursor) > MAX_CURSOR:
            raise ValueError
        found = orjson.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        found = None
    if not isinstance(found, dict) or not all(isinstance(after, str) for after in found.values()):
        raise Refused(INVALID_PARAMS, "cursor is not one that this server gave")
    return found

"""`prompts/list`, `prompts/get` and `completion/complete`: the prompts of the MCP servers behind the caller.

They are called as tools are: `NAME_prompt`, or by the server's own name where the connection is alone on its URL and
wants that. A prompt that an admin has not accepted is not listed, and not got.
"""

from typing import Any, Final

from broker.domain import Resolved
from broker.endpoints.mcp.answers import Json, complete, here, listing
from broker.endpoints.mcp.behind import Behind, Server, code_of, failed, result_meta
from broker.endpoints.mcp.catalog import full_name, short_name
from broker.endpoints.mcp.relay import Relay
from broker.endpoints.mcp.resources import Resources
from broker.endpoints.mcp.rpc import INVALID_PARAMS, Refused
from broker.endpoints.mcp.visit import Visit
from broker.tools.passed import messages, renamed
from broker.tools.results import CONTENT_TEXT_LIMIT
from connectors.mcp_upstream.naming import COMPLETIONS, PROMPTS
from connectors.mcp_upstream.passing import prompt_operation
from connectors.mcp_upstream.prompts import Prompt

PAGE: Final = 250


class Prompts:
    """One per process."""

    def __init__(self, behind: Behind, resources: Resources) -> None:
        self._behind = behind
        self._resources = resources

    async def listed(self, visit: Visit, resolved: Resolved) -> bytes:
        """`prompts/list`. Nothing is asked of a server. Raises Refused for a cursor that is not one of ours."""
        cursor = visit.message.params.get("cursor")
        if cursor is not None and (not isinstance(cursor, str) or not 0 < len(cursor) <= 200):
            raise Refused(INVALID_PARAMS, "cursor is not one that this server gave")
        shown = [
            _shown(_name(visit, server, name), prompt)
            for server in await self._behind.reached(visit, resolved, PROMPTS)
            for name, prompt in _offered(server).items()
        ]
        shown = sorted((p for p in shown if cursor is None or p["name"] > cursor), key=lambda p: str(p["name"]))
        result: Json = {"prompts": shown[:PAGE]}
        if len(shown) > PAGE:
            result["nextCursor"] = shown[PAGE - 1]["name"]
        return listing(visit.message, result)

    async def got(self, visit: Visit, resolved: Resolved, relay: Relay) -> bytes:
        """`prompts/get`. Raises Refused, Asking; Problem as `Behind.ask`."""
        params = visit.message.params
        server, prompt = await self._find(visit, resolved, params.get("name"))
        given: Json = {"name": prompt.name}
        if params.get("arguments") is not None:
            given["arguments"] = params["arguments"]
        result = await self._behind.ask(visit, resolved.caller, server, PROMPTS, given, relay)
        if result.is_error:
            raise failed(result)
        alone = visit.place.connection is not None
        shown, cut = messages(result.data, CONTENT_TEXT_LIMIT)
        if not alone:
            shown = [{**m, "content": renamed([m["content"]], lambda uri: here(server.name, uri))[0]} for m in shown]
        found: Json = {"messages": shown, "_meta": result_meta(result, cut=cut)}
        if "description" in result.data:
            found["description"] = result.data["description"]
        return complete(visit.message, found)

    async def completed(self, visit: Visit, resolved: Resolved, relay: Relay) -> bytes:
        """`completion/complete`, for a prompt's argument or a resource template's. A server that completes nothing has
        no values to give."""
        params = visit.message.params
        ref, argument = params.get("ref"), params.get("argument")
        if not isinstance(ref, dict) or ref.get("type") not in ("ref/prompt", "ref/resource"):
            raise Refused(INVALID_PARAMS, "params.ref must be a ref/prompt or a ref/resource")
        if not isinstance(argument, dict):
            raise Refused(INVALID_PARAMS, "params.argument must be {name, value}")
        if ref["type"] == "ref/prompt":
            server, prompt = await self._find(visit, resolved, ref.get("name"))
            inner = {"type": "ref/prompt", "name": prompt.name}
        else:
            server, uri = await self._resources.template(visit, resolved, ref.get("uri"))
            inner = {"type": "ref/resource", "uri": uri}
        nothing = complete(visit.message, {"completion": {"values": []}})
        if not any(s.name == server.name for s in await self._behind.reached(visit, resolved, COMPLETIONS)):
            return nothing
        given: Json = {"ref": inner, "argument": argument}
        if params.get("context") is not None:
            given["context"] = params["context"]
        result = await self._behind.ask(visit, resolved.caller, server, COMPLETIONS, given, relay)
        if result.is_error:
            if code_of(result) == -32601:
                return nothing
            raise failed(result)
        return complete(visit.message, {**result.data, "_meta": result_meta(result, cut=False)})

    async def _find(self, visit: Visit, resolved: Resolved, name: Any) -> tuple[Server, Prompt]:
        """The prompt called so here. Raises Refused."""
        if not isinstance(name, str) or not 0 < len(name) <= 200:
            raise Refused(INVALID_PARAMS, "params.name must be the name of a prompt")
        full = full_name(visit, name)
        for server in await self._behind.reached(visit, resolved, PROMPTS):
            prompt = _offered(server).get(full) if full.startswith(f"{server.name}_") else None
            if prompt is not None:
                return server, prompt
        raise Refused(INVALID_PARAMS, "there is no such prompt", reason="not_found")


def _offered(server: Server) -> dict[str, Prompt]:
    """The prompts of a server that the caller may get, by their names here."""
    return {
        name: prompt
        for name, prompt in server.pinned.definitions.prompts_named(server.name).items()
        if prompt.label not in server.pinned.held and server.covers(PROMPTS, prompt_operation(prompt))
    }


def _name(visit: Visit, server: Server, name: str) -> str:
    alone = visit.place.connection == server.name and server.view.config.get("prefix") is False
    return short_name(visit, name) if alone else name


def _shown(name: str, prompt: Prompt) -> Json:
    shown: Json = {"name": name}
    if prompt.title:
        shown["title"] = prompt.title
    if prompt.description:
        shown["description"] = prompt.description
    if prompt.arguments:
        shown["arguments"] = [dict(argument) for argument in prompt.arguments]
    return shown

"""The endpoints as an ASGI application: who may come in, what a message asks for, and what leaves.

In this order: path and method, headers, Origin, bearer, body, message, caller. Until the caller is known every refusal
is plain HTTP (`application/problem+json`) with the challenge that belongs to the path, or a JSON-RPC error about the
message's form.
"""

import asyncio
import hashlib
import json
from collections.abc import Coroutine, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker import turns
from broker.domain import Caller, Resolved
from broker.endpoints.mcp import challenge, handshake, listen, methods, patience
from broker.endpoints.mcp.calls import Calls, NotThere, connection_asked, read_params, told_of
from broker.endpoints.mcp.catalog import Catalog, full_name
from broker.endpoints.mcp.challenge import OutOfReach
from broker.endpoints.mcp.message import Headers, Message, read_headers, read_message
from broker.endpoints.mcp.methods import Methods
from broker.endpoints.mcp.place import WELL_KNOWN, Place, place_of, read_options
from broker.endpoints.mcp.recording import on_record, record
from broker.endpoints.mcp.relay import Relay
from broker.endpoints.mcp.rpc import INVALID_PARAMS, Refused, answer
from broker.endpoints.mcp.sse import Stuck
from broker.endpoints.mcp.versions import HANDSHAKE
from broker.endpoints.mcp.visit import Visit, check_tenant
from broker.endpoints.rest.bounds import Application, Receive, Scope, Send
from broker.endpoints.rest.large import Room, announced
from broker.endpoints.rest.problems import problem_response
from broker.errors import Problem, invalid
from broker.identity.authenticate import NO_CONNECTION, parse_bearer
from broker.identity.tokens import ParsedToken

if TYPE_CHECKING:
    from broker.services import Services

STREAM_SECONDS: Final = listen.LONGEST.total_seconds() + 60
"""The bound around a whole request here, streams included; every other request has the server's own, inside."""

_BEGINNINGS: Final = ("/t/", "/mcp", WELL_KNOWN)
_CLIENT: Final = ("x-keyreeve-tenant", "x-keyreeve-identifier", handshake.HEADER, "user-agent")
_OF_CONNECTIONS: Final = frozenset({"tools/list", *methods.WAITING, *methods.PINNED})
_NOTHING_SAID: Final = Message(HANDSHAKE[-1], None, "", {})


class NotAcceptable(Exception):
    """The client does not take the type of answer it asks for."""


def is_mcp(path: str) -> bool:
    """Whether a path is one of these endpoints, or the metadata of one."""
    return place_of(path) is not None or (path.startswith(WELL_KNOWN) and place_of(path[len(WELL_KNOWN) :]) is not None)


class Split:
    """Sends MCP's paths one way and all others another: they have bounds of their own."""

    def __init__(self, mcp: Application, rest: Application) -> None:
        self._mcp = mcp
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = scope["type"] == "http" and scope["path"].startswith(_BEGINNINGS) and is_mcp(scope["path"])
        await (self._mcp if here else self._rest)(scope, receive, send)


class McpEndpoints:
    """`POST /t/{tenant}/mcp[/{connection}]` and `POST /mcp[/{connection}]`, and their metadata. One per process."""

    def __init__(self, services: "Services", hosts: AbstractSet[str]) -> None:
        """`hosts` are this server's own names: a page of any other origin may not speak with it."""
        self._services = services
        self._base_url = services.base_url
        self._hosts = hosts
        self._catalog = Catalog(services)
        self._calls = Calls(services, self._catalog)
        self._methods = Methods(services)
        self._room = Room()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        place = place_of(path.removeprefix(WELL_KNOWN))
        if place is None:
            raise Problem("not_found", "there is nothing at this path")
        if path.startswith(WELL_KNOWN):
            await self._metadata(scope, place)(scope, receive, send)
            return
        if scope["method"] != "POST":
            await self._not_posted(scope, place)(scope, receive, send)
            return
        response = await self._post(scope, receive, send, place)
        if response is not None:
            await response(scope, receive, send)

    def _not_posted(self, scope: Scope, place: Place) -> Response:
        """There is nothing to be got here. Whoever brings no bearer is told where to get one first: some clients look
        for the challenge so."""
        try:
            parse_bearer(read_headers(scope["headers"]).get("authorization"))
        except Refused as refused:
            return Response(refused.body(), 400, media_type="application/json")
        except Problem as problem:
            return self._turned_away(problem, place)
        told = "there is no stream to be got here and no session to be ended: POST each message"
        return problem_response(Problem("method_not_allowed", told), {"Allow": "POST"})

    def _metadata(self, scope: Scope, place: Place) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return problem_response(Problem("method_not_allowed", "GET it"), {"Allow": "GET, HEAD"})
        content = orjson.dumps(challenge.metadata(self._base_url, place))
        return Response(content, media_type="application/json", headers={"Cache-Control": "public, max-age=300"})

    async def _post(self, scope: Scope, receive: Receive, send: Send, place: Place) -> Response | None:
        """The answer, or None where it has been written."""
        try:
            headers = read_headers(scope["headers"])
            self._check(headers)
            token = parse_bearer(headers.get("authorization"))
            check_tenant(place, headers)
            size = announced(headers, self._services.settings.limits.request_bytes)
            if not size:
                return await self._read(scope, receive, send, place, headers, token)
            # Large ones are taken from known callers alone (endpoints/rest/large.py).
            known = Visit(place, read_options(scope["query_string"]), token, headers, _NOTHING_SAID)
            resolved = await self._resolve(known, NO_CONNECTION)
            with ExitStack() as held:
                async with on_record(self._services, resolved.caller, connection_name=place.connection):
                    held.enter_context(self._room.hold(resolved.caller.tenant_id, size))
                    return await self._read(scope, receive, send, place, headers, token, held)
        except Refused as refused:
            return Response(refused.body(), 400, media_type="application/json")
        except Problem as problem:
            return self._turned_away(problem, place)
        except NotAcceptable as unfit:
            return Response(f"Accept must allow {unfit}\n", 406, media_type="text/plain")
        except patience.Gone:
            return Response(status_code=499)

    def _check(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is not None and _host(origin) not in self._hosts:
            raise Problem("forbidden", "pages of other origins may not speak with this server")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Problem("unsupported_media_type", "send application/json")
        if not _accepts(headers, "application/json"):
            raise NotAcceptable("application/json")

    async def _read(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        place: Place,
        headers: Headers,
        token: ParsedToken,
        held: ExitStack | None = None,
    ) -> Response | None:
        seconds = self._services.settings.limits.request_seconds
        options = read_options(scope["query_string"])
        async with asyncio.timeout(seconds):
            raw = await Request(scope, receive).body()
        with turns.paid(len(raw)):
            said = read_message(headers, raw)
        visit = Visit(place, options, token, headers, said)
        message = visit.message
        try:
            if not message.is_request:
                resolved = await self._resolve(visit, NO_CONNECTION)
                if message.method == "notifications/cancelled" and not message.modern:
                    key = _request_key(visit, message.params.get("requestId"))
                    self._services.underway.take_back(key, token.tenant_id, token.digest)
                if message.reply is not None:
                    await self._services.questions.answered(resolved.caller, message.reply.id, message.reply.result)
                return Response(status_code=202)
            if message.modern and message.method == "subscriptions/listen":
                if held is not None:
                    held.close()  # the message is read: a stream must not keep its tenant's room for an hour
                return await self._listen(visit, receive, send)
            async with asyncio.timeout(seconds):
                result = await self._answer(visit, receive, send)
        except Refused as refused:
            refused.id = message.id
            return Response(refused.body(), refused.status(modern=message.modern), media_type="application/json")
        except Stuck:
            raise
        except TimeoutError:
            raise Problem("unavailable", f"no answer within {seconds:g} s", fix="wait", retry_after=5) from None
        if result is None:
            return None
        return Response(answer(message.id, result), media_type="application/json", headers=await self._headers(visit))

    async def _answer(self, visit: Visit, receive: Receive, send: Send) -> bytes | None:
        """The encoded result of a request, or None where it has been written as a stream."""
        message = visit.message
        asks = not message.modern and bool(message.capabilities) and _accepts(visit.headers, "text/event-stream")
        relay = Relay(message, self._services.questions if asks else None)
        if message.method == "tools/call":
            name, arguments = read_params(message.params)
            resolved = await self._resolve(visit, connection_asked(full_name(visit, name)), recent=True)
            return await self._wait(visit, self._call(visit, resolved, name, arguments, relay), relay, receive, send)
        connection = visit.place.connection if message.method in _OF_CONNECTIONS else NO_CONNECTION
        resolved = await self._resolve(visit, connection)
        if message.method in methods.WAITING:
            return await self._wait(visit, self._waited(visit, resolved, relay), relay, receive, send)
        async with self._on_record(visit, resolved):
            if message.method == "tools/list":
                return await self._listed(visit, resolved)
            if message.method in methods.PINNED:
                return await self._methods.pinned(visit, resolved)
            return methods.own(visit)

    def _on_record(self, visit: Visit, resolved: Resolved) -> AbstractAsyncContextManager[None]:
        name, operation = visit.place.connection, visit.message.method[:100]
        return on_record(self._services, resolved.caller, connection_name=name, operation=operation)

    async def _call(
        self, visit: Visit, resolved: Resolved, name: str, arguments: Mapping[str, Any], relay: Relay
    ) -> bytes:
        named = full_name(visit, name)[:100]
        connection = connection_asked(named) or None
        async with on_record(self._services, resolved.caller, tool_name=named, connection_name=connection):
            try:
                return await self._calls.call(visit, resolved, name, arguments, relay)
            except Refused as refused:
                if isinstance(refused.__context__, NotThere):
                    refused.reason = "unknown_tool"
                raise

    async def _waited(self, visit: Visit, resolved: Resolved, relay: Relay) -> bytes:
        async with self._on_record(visit, resolved):
            return await self._methods.waited(visit, resolved, relay)

    async def _listed(self, visit: Visit, resolved: Resolved) -> bytes:
        try:
            listed = await self._catalog.listed(visit, resolved)
        except Problem as problem:
            if problem.code == "unknown_connection":
                raise Refused(INVALID_PARAMS, told_of(problem)) from None
            raise
        return self._catalog.page(listed, visit.message, shape=visit.options.shape)

    async def _wait(
        self, visit: Visit, work: Coroutine[Any, Any, bytes], relay: Relay, receive: Receive, send: Send
    ) -> bytes | None:
        streams = _accepts(visit.headers, "text/event-stream")
        if visit.message.modern:
            return await patience.wait(visit.message, work, receive, send, streams=streams, relay=relay)
        with self._services.underway.request(_request_key(visit, visit.message.id)) as taken_back:
            return await patience.wait(
                visit.message, work, receive, send, streams=streams, relay=relay, taken_back=taken_back
            )

    async def _headers(self, visit: Visit) -> dict[str, str]:
        """What an answer is sent with."""
        headers = {"Cache-Control": "no-store"}
        if visit.message.method == "initialize" and not visit.message.modern:
            resolved = await self._resolve(visit, visit.place.connection)
            session = await self._methods.session(visit, resolved)
            headers |= {} if session is None else {handshake.HEADER: session}
        return headers

    async def _listen(self, visit: Visit, receive: Receive, send: Send) -> Response | None:
        if not _accepts(visit.headers, "text/event-stream"):
            raise NotAcceptable("text/event-stream")
        resolved = await self._resolve(visit, NO_CONNECTION)
        async with self._on_record(visit, resolved):
            await listen.listen(self._services, visit, resolved, receive, send)
        return None

    async def _resolve(self, visit: Visit, connection: str | None, *, recent: bool = False) -> Resolved:
        """Who calls. `recent`: what follows is an admission, which looks again. Raises Problem."""
        services = self._services
        if visit.token.kind == "operator":
            refused = Problem("forbidden", "operator keys do not speak MCP", hint="mint a session for an identity")
            await self._refused_at_home(visit, refused)
            raise refused
        asked, now = visit.asked(connection), services.clock.now()
        resolved = services.authenticator.recent(visit.token, asked, now) if recent else None
        if resolved is None:
            try:
                resolved = await services.authenticator.resolve(visit.token, asked, now)
            except Problem as problem:
                reach = await self._refused_at_home(visit, problem)
                if problem.code == "forbidden" and visit.place.tenant not in (None, *reach):
                    raise _unknown() from None
                raise
        unfit = _unfit(resolved.caller, visit.place)
        if unfit is not None:
            await record(services, resolved.caller, unfit, connection_name=visit.place.connection)
            raise unfit
        return resolved

    async def _refused_at_home(self, visit: Visit, problem: Problem) -> tuple[str, ...]:
        """Writes down, in the bearer's own tenant, that it was not let in here; the tenants in which it may act at all.
        None of them: to others, and where the bearer itself is no good, this is a wrong token, no more."""
        if problem.kind.status == 401:
            return ()
        asked = visit.asked(NO_CONNECTION)
        asked.tenant = asked.identifier = None
        try:
            found = await self._services.authenticator.resolve(visit.token, asked, self._services.clock.now())
        except Problem:
            return ()
        caller = found.caller
        await record(self._services, caller, problem, connection_name=visit.place.connection)
        return (caller.tenant_name, *(caller.bearer.tenants or ()))

    def _turned_away(self, problem: Problem, place: Place) -> Response:
        metrics = self._services.metrics
        response = problem_response(problem)
        if problem.kind.status == 401:
            metrics.auth_failed(problem.code)
            given = problem.detail != "no Authorization header"
            response.headers["WWW-Authenticate"] = challenge.unauthorized(self._base_url, place, given=given)
        elif not problem.recorded:
            metrics.refused(problem.code)
        if isinstance(problem, OutOfReach):
            response.headers["WWW-Authenticate"] = challenge.insufficient(self._base_url, place, problem.scopes)
        return response


def _request_key(visit: Visit, id_: object) -> str:
    """What tells one client's request from another's, as a digest that can be shown to other processes: bearer, tenant,
    identity, session, client and address besides its id."""
    who = [visit.headers.get(name) for name in _CLIENT]
    named = json.dumps([visit.token.digest.hex(), *who, visit.place.path, id_ if isinstance(id_, str | int) else None])
    return hashlib.sha256(named.encode()).hexdigest()


def _unfit(caller: Caller, place: Place) -> Problem | None:
    """Why a caller who is known cannot be served at this place."""
    allowed = caller.bearer.restrictions.connections
    if allowed is not None and place.connection not in (None, *allowed):
        return OutOfReach("forbidden", "this token does not reach this connection", hint="sign in for it")
    if caller.identity is None:
        return invalid("X-Keyreeve-Identifier", "is required with an agent key: whose tools are they?")
    return None


def _unknown() -> Problem:
    return Problem("unauthenticated", "the key or token is unknown or was revoked", hint="ask for a new one")


def _host(origin: str) -> str:
    """The host of an `Origin`, or "", which nobody has, where it names none or cannot be read."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _accepts(headers: Headers, media_type: str) -> bool:
    """Whether the client takes answers of this type (RFC 9110 § 12.5.1); without the header, any."""
    wanted = headers.get("accept")
    if wanted is None:
        return True
    family = media_type.partition("/")[0] + "/*"
    return any(part.partition(";")[0].strip().lower() in (media_type, family, "*/*") for part in wanted.split(","))

"""What every request meets before any handler: the Host it names, how large and how slow it may be.

One plain ASGI callable around the application; it also catches what nothing else did, so that even a fault in a
handler answers `application/problem+json` and no trace.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect

from broker.endpoints.rest.problems import fault, problem_response
from broker.errors import Problem, invalid
from broker.turns import Turns

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGE_BODIES = frozenset({"/v1/tools/execute"})
"""Paths that take a body of the larger bound."""

ONCE = frozenset({b"host", b"authorization", b"x-keyreeve-tenant", b"x-keyreeve-identifier"})
"""Headers that say who asks whom for whom. Of two, a proxy before us might have checked the other (RFC 9112 § 3.2)."""

STREAMS = frozenset({"/v1/audit/export"})
"""Paths without a total deadline: they stream, and their own batches have deadlines."""


def accepted_hosts(public_url: str | None, host: str, port: int) -> frozenset[str]:
    """The `Host` values this server answers to: the public URL's, and at its own port the loopback names and the
    address that it listens at, which commands on this machine use.

    Anything else is refused, so a page on a rebound DNS name cannot reach it (DNS rebinding).
    """
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host.lower()}
    own = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
    if public_url is None:
        return frozenset(own)
    parts = urlsplit(public_url)
    name = (parts.hostname or "").lower()
    name = f"[{name}]" if ":" in name else name
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return frozenset(own | ({f"{name}:{parts.port}"} if parts.port else {name, f"{name}:{default}"}))


def heads(app: Application) -> Application:
    """`app`, where HEAD is answered like GET: the framework's routes do not, and the server leaves the body out
    (RFC 9110 § 9.3.2)."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await app(scope, receive, send)

    return serve


class _Size:
    """Whether one request's body turned out too large."""

    __slots__ = ("exceeded",)

    def __init__(self) -> None:
        self.exceeded: Problem | None = None


class Bounds:
    """Host, size and time limits around `app`, and its callers' turns. Sizes in bytes, times in seconds."""

    def __init__(
        self,
        app: Application,
        *,
        hosts: frozenset[str],
        body: int,
        large_body: int,
        seconds: float,
        turns: Turns | None = None,
    ) -> None:
        self._app = app
        self._turns = turns
        self._hosts = hosts
        self._body = body
        self._large_body = large_body
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = finished = False
        size = _Size()

        async def sending(message: Message) -> None:
            nonlocal started, finished
            if size.exceeded is not None and not started:
                return  # what was raised while reading was taken for a malformed body; the right answer follows below
            started = True
            await send(message)
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            reading = self._check(scope, receive, size)
            if scope["path"] in STREAMS:
                await self._serve(scope, reading, sending)
            else:
                async with asyncio.timeout(self._seconds):
                    await self._serve(scope, reading, sending)
            if size.exceeded is not None and not started:
                raise size.exceeded
        except Problem as problem:
            await self._refuse(problem, scope, receive, send, started)
        except TimeoutError:
            late = Problem("unavailable", f"no answer within {self._seconds:g} s", fix="wait", retry_after=5)
            await self._refuse(late, scope, receive, send, started)
        except asyncio.CancelledError:
            raise
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as error:  # noqa: BLE001 - the last line: logged, and answered without a trace
            if finished:
                return  # the framework has logged and answered it; it raises it again for whoever comes after
            await self._refuse(size.exceeded or fault(error, scope["path"]), scope, receive, send, started)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls the application when it is this caller's turn."""
        if self._turns is None:
            await self._app(scope, receive, send)
            return
        authorization, size = None, 0
        for name, value in scope["headers"]:
            if name == b"authorization" and authorization is None:
                authorization = value
            elif name == b"content-length":
                size = int(value)
            elif name == b"transfer-encoding":
                size = self._large_body
        address = scope["client"][0] if scope.get("client") else ""
        turn = await self._turns.take(authorization, address, size)
        try:
            await self._app(scope, receive, send)
        finally:
            turn.end()

    @staticmethod
    async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send, started: bool) -> None:
        if started:
            # Half an answer is out; only closing the connection tells the client that it is not whole.
            raise ConnectionAbortedError("the answer could not be completed")
        await problem_response(problem)(scope, receive, send)

    def _check(self, scope: Scope, receive: Receive, size: "_Size") -> Receive:
        """Refuses what the headers alone condemn; returns a `receive` that counts the body."""
        if "\x00" in scope["path"] or b"%00" in scope.get("query_string", b""):
            raise invalid("path", "holds a NUL, which nothing here is called")
        limit = self._large_body if scope["path"] in LARGE_BODIES else self._body
        once: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in ONCE:
                if name in once:
                    raise invalid(name.decode().title(), "is given twice")
                once[name] = value
            elif name == b"content-length" and (not value.isdigit() or int(value) > limit):
                raise Problem("payload_too_large", f"the body must not exceed {limit} bytes")
            elif name == b"content-encoding" and value.lower() != b"identity":
                raise Problem("unsupported_media_type", "compressed request bodies are not taken")
        if once.get(b"host", b"").decode("latin-1").lower() not in self._hosts:
            hint = "use an address that it was started with, or start it with --public-url"
            refused = invalid("Host", "is not a name of this server", hint=hint)
            refused.fix = "operator"
            raise refused
        left = limit

        async def reading() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    size.exceeded = Problem("payload_too_large", f"the body must not exceed {limit} bytes")
                    raise size.exceeded
            return message

        return reading

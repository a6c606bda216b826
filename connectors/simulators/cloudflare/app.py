"""The ASGI application: one plain callable, so that the simulator is never the bottleneck of what it
measures.

A request is read, authenticated, counted by the limiter, routed, permitted, handled and answered in that
order; it is in the journal from the moment its principal is known.
"""

import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from connectors.simulators.cloudflare import answers, inject
from connectors.simulators.cloudflare.access import Actor, authenticate, check_location, credential_of, may
from connectors.simulators.cloudflare.answers import Answer, ApiError
from connectors.simulators.cloudflare.control import Control
from connectors.simulators.cloudflare.faults import Fault
from connectors.simulators.cloudflare.journal import HIDDEN, Entry
from connectors.simulators.cloudflare.limiter import Admission, Limiter
from connectors.simulators.cloudflare.routes import ROUTES
from connectors.simulators.cloudflare.routing import Call, Route, Router
from connectors.simulators.cloudflare.state import CloudflareState
from connectors.simulators.cloudflare.values import fingerprint

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BASE = b"/client/v4"
CONTROL = b"/_sim/"
ANONYMOUS = "anonymous"
MAX_CONTROL_BODY = 2**20


def description() -> bytes:
    """The simulator's own OpenAPI document, as bytes of JSON."""
    return files(__package__).joinpath("openapi.json").read_bytes()


def create_app(state: CloudflareState) -> App:
    """The application over `state`: `/client/v4/…`, `GET /openapi.json`, and `/_sim/…` for whoever holds the
    control token.
    """
    return _Simulator(state)


class _Simulator:
    def __init__(self, state: CloudflareState) -> None:
        self._state = state
        self._router = Router(ROUTES)
        self._control = Control(state)
        self._ray = secrets.randbits(63)
        self._description = description()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"no such protocol here: {scope['type']}")
        path: bytes = scope["raw_path"].partition(b"?")[0]
        if path.startswith(CONTROL):
            try:
                body = await read_body(receive, MAX_CONTROL_BODY)
            except OverflowError:
                answer = answers.too_large(MAX_CONTROL_BODY).answer()
            else:
                answer = self._control.answer(scope, path.decode("latin-1"), body)
            await respond(send, answer, self._next_ray())
        elif path == b"/openapi.json":
            await respond(send, Answer(self._description), self._next_ray())
        else:
            await self._api(scope, receive, send, path)

    def _next_ray(self) -> bytes:
        self._ray = (self._ray + 1) & 0xFFFFFFFFFFFFFFFF
        return b"%016x-SIM" % self._ray

    async def _api(self, scope: Scope, receive: Receive, send: Send, path: bytes) -> None:
        state = self._state
        at, ray = state.clock(), self._next_ray()
        below = path[len(BASE) :] if path.startswith(BASE + b"/") else path
        actor, refusal = self._authenticate(scope, below)
        entry = self._record(scope, path, actor, at, ray)
        meter = state.graphql_limiter if below == b"/graphql" else state.limiter
        admission = None
        if actor is not None:
            admission = meter.arrive(actor.principal, at)
            if not admission.allowed:
                refusal = answers.throttled(meter.limit, meter.window, admission.reset_seconds)
        body = b""
        if scope["method"] != "GET":
            try:
                body = await read_body(receive, state.max_body)
            except OverflowError:
                refusal = refusal or answers.too_large(state.max_body)
            entry.bytes_in = len(body)
        fault = self._fault(entry, below) if len(state.faults) else None
        if fault is not None and fault.kind == "rate_limit" and actor is not None:
            seconds = fault.number("seconds", 300)
            meter.force_block(actor.principal, at, seconds)
            refusal = answers.throttled(meter.limit, meter.window, int(seconds))
        answer = self._answer(scope, below, actor, body, refusal, fault)
        if admission is not None:
            answer.headers = (*answer.headers, *limit_headers(meter, admission))
        if fault is None or fault.kind in {"permission_flip", "rate_limit"}:
            entry.status = answer.status
            await respond(send, answer, ray)
        else:
            authorization = credential_of(scope["headers"])[0].partition(b" ")[2]
            entry.status = await inject.spoil(fault, answer, ray, authorization, receive, send)

    def _fault(self, entry: Entry, below: bytes) -> Fault | None:
        fault = self._state.faults.take(entry.method, below.decode("latin-1"), entry.query, entry.principal)
        if fault is not None:
            entry.fault = fault.kind
        return fault

    def _authenticate(self, scope: Scope, below: bytes) -> tuple[Actor | None, ApiError | None]:
        verifying = below.endswith(b"/tokens/verify")
        try:
            actor = authenticate(self._state, scope["headers"], verifying=verifying)
            if actor.token is not None and scope.get("client"):
                check_location(actor.token, scope["client"][0])
        except ApiError as refusal:
            return None, refusal
        return actor, None

    def _record(self, scope: Scope, path: bytes, actor: Actor | None, at: float, ray: bytes) -> Entry:
        names: list[bytes] = []
        extra: list[tuple[bytes, bytes]] = []
        for name, value in scope["headers"]:
            names.append(name)
            if name.startswith(b"x-") and name not in HIDDEN:
                extra.append((name, value[:200]))
        token = actor.fingerprint if actor else ""
        if actor is None:
            bearer, _, key = credential_of(scope["headers"])
            value = bearer.partition(b" ")[2] or key
            token = fingerprint(value) if value else ""
        entry = Entry(
            n=0,
            at=at,
            wall=self._state.wall(),
            principal=actor.principal if actor else ANONYMOUS,
            token=token,
            method=scope["method"],
            path=path.decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=tuple(names),
            extra=tuple(extra),
            ray=ray.decode(),
        )
        self._state.journal.add(entry)
        return entry

    def _answer(
        self,
        scope: Scope,
        below: bytes,
        actor: Actor | None,
        body: bytes,
        refusal: ApiError | None,
        fault: Fault | None,
    ) -> Answer:
        """What the request gets. A fault that loses the request keeps it from taking effect."""
        try:
            if refusal is not None:
                raise refusal
            if not scope["raw_path"].startswith(BASE + b"/") or actor is None:
                raise answers.unroutable(scope["raw_path"].decode("latin-1")[:200])
            if fault is not None and not fault.applies:
                return answers.ok(None)
            route, params = self._router.find(scope["method"], below)
            call = Call(
                state=self._state,
                actor=actor,
                method=scope["method"],
                path=below.decode("latin-1"),
                params=params,
                raw_query=scope["query_string"],
                content_type=_content_type(scope["headers"]),
                body=body,
            )
            self._permit(route, call, flipped=fault is not None and fault.kind == "permission_flip")
            return route.handler(call)
        except ApiError as error:
            return error.answer()

    def _permit(self, route: Route, call: Call, *, flipped: bool) -> None:
        """Raises ApiError where the caller lacks the route's permission; `flipped` by a fault means the reverse."""
        if route.on == "handler":
            allowed = True
        else:
            target = route.target(call)
            if route.on == "user" and call.actor.user is None:
                raise answers.no_user()
            allowed = may(self._state, call.actor, route.groups, target)
        if allowed is flipped:
            raise answers.not_authorized() if route.lenient else answers.not_permitted()


def limit_headers(meter: Limiter, admission: Admission) -> tuple[tuple[bytes, bytes], ...]:
    """`Ratelimit` and `Ratelimit-Policy` as Cloudflare writes them [D]."""
    return (
        (b"ratelimit", b'"default";r=%d;t=%d' % (admission.remaining, admission.reset_seconds)),
        (b"ratelimit-policy", b'"default";q=%d;w=%d' % (meter.limit, int(meter.window))),
    )


def _content_type(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"content-type":
            return value.decode("latin-1")
    return ""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole request body. Raises OverflowError beyond `limit` bytes (the rest is read and dropped)."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        if not message.get("more_body"):
            break
    if size > limit:
        raise OverflowError
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def respond(send: Send, answer: Answer, ray: bytes) -> None:
    """Send one answer."""
    headers = [
        (b"content-type", answer.media_type),
        (b"content-length", b"%d" % len(answer.body)),
        (b"cf-ray", ray),
        (b"server", b"cloudflare"),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

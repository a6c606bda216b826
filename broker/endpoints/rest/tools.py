"""`list_scoped_tools` and `execute_tool` over REST.

`execute` is the hot path: a plain ASGI route that reads the body once, parses it once and writes bytes. It watches for
a client that hangs up, so that an abandoned call is cancelled upstream and settled as `cancelled`.
"""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from broker import turns
from broker.endpoints.rest.bounds import Application, Receive, Scope, Send
from broker.endpoints.rest.deps import ServicesDep, asked_of
from broker.endpoints.rest.large import Room, announced
from broker.endpoints.rest.problems import documented, problem_response
from broker.endpoints.rest.validation import from_validation
from broker.errors import Field as WrongField
from broker.errors import Problem, invalid
from broker.identity.authenticate import NO_CONNECTION, parse_bearer
from broker.identity.tokens import ParsedToken
from broker.ids import parse_id
from broker.tools.request import ExecuteRequest, connection_of

if TYPE_CHECKING:
    from broker.services import Services

EXECUTE_PATH = "/v1/tools/execute"
WATCH_SECONDS = 0.1
"""How long after its request was read a call begins to look whether its client is still there."""
MAX_WRONG = 100
"""Findings that are worth spelling out: a body may hold a million of them, and each costs time."""

Name = Annotated[str, Field(min_length=1, max_length=60)]
Identifier = Annotated[str, Field(min_length=1, max_length=200)]


class ExecuteBody(BaseModel):
    """One `execute_tool`."""

    model_config = ConfigDict(
        extra="forbid",
        title="ExecuteRequest",
        json_schema_extra={
            "example": {
                "tool_name": "cloudflare_call",
                "tool_input": {"operation": "GET /zones", "query": {"name": "example.com"}},
                "identifier": "priya@acme.example",
            }
        },
    )

    tool_name: Name = Field(description="A name that list_scoped_tools gave.")
    tool_input: dict[str, Any] = Field(default_factory=dict, description="The tool's input, after its input_schema.")
    identifier: Identifier | None = Field(
        None, description="Whose accounts and grants; required unless a session calls."
    )
    connection_name: str | None = Field(None, max_length=24, description="Must be the tool's own connection.")
    connected_account_id: str | None = Field(None, min_length=36, max_length=36)
    run_id: str | None = Field(None, min_length=1, max_length=100, description="Groups the calls of one agent run.")
    agent: str | None = Field(
        None, min_length=1, max_length=100, description="The agent's claimed name, for the audit."
    )
    intent: str | None = Field(None, max_length=500, description="One sentence from the model, for the audit.")
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)
    expected_schema_hash: str | None = Field(None, min_length=1, max_length=64)
    deadline_seconds: float | None = Field(None, ge=1, le=100, allow_inf_nan=False)
    max_wait_seconds: float = Field(0, ge=0, le=30, allow_inf_nan=False, description="How long to queue for budget.")
    dry_run: bool = False
    as_: Literal["data", "content"] = Field("data", alias="as")


def parse_execute(raw: bytes, default_deadline: float) -> ExecuteRequest:
    """The request in `raw`. Raises Problem `invalid_input` or `unknown_field`, never repeating a value."""
    try:
        body = ExecuteBody.model_validate_json(raw)
    except ValidationError as error:
        if error.error_count() > MAX_WRONG:
            told = f"more than {MAX_WRONG} of its fields are unknown or wrong"
            raise Problem("invalid_input", f"body: {told}", fields=[WrongField("body", told)]) from None
        raise from_validation(error.errors(include_input=False, include_url=False), ExecuteBody) from None
    account = None
    if body.connected_account_id is not None:
        account = parse_id(body.connected_account_id)
        if account is None:
            raise invalid("connected_account_id", "must be a UUID that list_scoped_tools gave")
    for name in ("run_id", "agent", "idempotency_key", "identifier"):
        value = getattr(body, name)
        if value is not None and not value.isprintable():
            raise invalid(name, "must be printable characters")
    return ExecuteRequest(
        tool_name=body.tool_name,
        tool_input=body.tool_input,
        identifier=body.identifier,
        connection_name=body.connection_name,
        connected_account_id=account,
        run_id=body.run_id,
        agent=body.agent,
        intent=body.intent,
        idempotency_key=body.idempotency_key,
        expected_schema_hash=body.expected_schema_hash,
        deadline_seconds=body.deadline_seconds or default_deadline,
        max_wait_seconds=body.max_wait_seconds,
        dry_run=body.dry_run,
        as_content=body.as_ == "content",
    )


class _Client:
    """Whoever waits for the answer of the current task: once they hang up, the task is cancelled.

    Most calls are over before it is worth looking, so the looking begins after `WATCH_SECONDS`.
    """

    __slots__ = ("_receive", "_task", "_timer", "_watch", "gone")

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call runs inside a task")
        self._task: asyncio.Task[Any] = task
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self._timer = task.get_loop().call_later(WATCH_SECONDS, self._begin)
        self.gone = False

    def stop(self) -> None:
        """Looks no more. Nothing is cancelled after this."""
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def caught(self) -> bool:
        """Whether a CancelledError that arrived was for this alone, and not the server's as well."""
        return self.gone and self._task.uncancel() == 0

    def _begin(self) -> None:
        self._watch = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._task.cancel("client disconnected")


class _Json:
    """A whole answer of JSON that nobody keeps."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % len(self._body)),
            (b"content-type", b"application/json"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


class HotRoute:
    """`POST /v1/tools/execute`, answered before the framework's own layers; every other request goes on to `app`.

    Those layers (five middlewares, a linear search through the routes, dependency injection) cost more than the whole
    parsing and deciding of a call.
    """

    def __init__(self, services: "Services", app: Application) -> None:
        self._services = services
        self._app = app
        self._room = Room()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != EXECUTE_PATH:
            await self._app(scope, receive, send)
        elif scope["method"] != "POST":
            refused = Problem("method_not_allowed", "POST the call")
            await problem_response(refused, {"Allow": "POST"})(scope, receive, send)
        else:
            await (await self._execute(Request(scope, receive)))(scope, receive, send)

    async def _execute(self, request: Request) -> Application:
        services = self._services
        try:
            token = parse_bearer(request.headers.get("authorization"))
            size = announced(request.headers, services.settings.limits.request_bytes)
            if not size:
                return await self._run(request, token)
            known = await services.authenticator.resolve(
                token, asked_of(request, connection=NO_CONNECTION), services.clock.now()
            )
            with self._room.hold(known.caller.tenant_id, size):
                return await self._run(request, token)
        except Problem as problem:
            return self._refused(problem)

    async def _run(self, request: Request, token: ParsedToken) -> Application:
        services = self._services
        raw = await request.body()
        with turns.paid(len(raw)):
            wanted = parse_execute(raw, services.settings.limits.call_seconds)
        asked = asked_of(request, connection=connection_of(wanted.tool_name), identifier=wanted.identifier)
        asked.run_id, asked.agent = wanted.run_id, wanted.agent
        client = _Client(request.receive)
        try:
            result = await services.tools.execute(token, asked, wanted)
        except asyncio.CancelledError:
            if client.caught():
                return Response(status_code=499)  # nobody reads this, but the server wants an answer to drop
            raise
        finally:
            client.stop()
        body = result.encode(as_content=wanted.as_content, connection_name=wanted.connection)
        return _Json(body)

    def _refused(self, problem: Problem) -> Response:
        if problem.kind.status == 401:
            self._services.metrics.auth_failed(problem.code)
        if not problem.recorded:
            self._services.metrics.refused(problem.code)
        return problem_response(problem)


router = APIRouter(tags=["tools"])


class ToolDefinition(BaseModel):
    """What a model is told of one tool."""

    name: str
    description: str
    input_schema: dict[str, Any]
    annotations: dict[str, Any]


class ScopedTool(BaseModel):
    """One tool the identity may use now."""

    name: str
    connection_name: str
    connected_account_id: str | None
    effect: Literal["read", "write", "destructive"]
    schema_hash: str
    definition: ToolDefinition


class UnavailableTool(BaseModel):
    """What is there but cannot be used now, and what would change that."""

    name: str | None = None
    connection_name: str
    reason: str
    hint: str
    fix: str
    connect_url: str | None = None


class ScopedTools(BaseModel):
    """The answer of `list_scoped_tools`."""

    tools: list[ScopedTool]
    unavailable: list[UnavailableTool]
    next_page_token: str | None = None


@router.get(
    "/v1/tools/scoped",
    responses=documented("unknown_identity", "identity_disabled"),
    response_model=ScopedTools,
)
async def list_scoped_tools(
    request: Request,
    services: ServicesDep,
    identifier: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    connection_name: Annotated[str | None, Query(min_length=1, max_length=24)] = None,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
    page_token: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """What may this identity's agent do? Listing mints nothing and sends nothing upstream."""
    token = parse_bearer(request.headers.get("authorization"))
    asked = asked_of(request, connection=connection_name, identifier=identifier)
    body = await services.listing.list_scoped_tools(token, asked, page_size=page_size, page_token=page_token)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


EXECUTE_CODES = (
    "not_granted",
    "not_permitted_upstream",
    "identity_disabled",
    "unknown_connection",
    "unknown_identity",
    "unknown_tool",
    "unknown_operation",
    "not_connected",
    "needs_reauth",
    "revoked",
    "ambiguous_account",
    "idempotency_conflict",
    "idempotency_in_progress",
    "schema_changed",
    "egress_refused",
    "budget_exhausted",
    "upstream_unreachable",
    "upstream_timeout",
    "outcome_unknown",
)
"""What `execute_tool` can refuse with, beyond what every route can."""

EXECUTE_DESCRIPTION: dict[str, Any] = {
    "tags": ["tools"],
    "summary": "Execute Tool",
    "description": "Runs one tool with the identity's credential. An upstream's own error is a 200 with `is_error`.",
    "operationId": "execute_tool",
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ExecuteRequest"}}},
    },
    "responses": {
        "200": {
            "description": "What the tool answered",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ExecuteResult"}}},
        }
    },
}
"""The hot route's own entry in `/openapi.json`; FastAPI does not see that route."""


class ExecuteCall(BaseModel):
    """One upstream request of an execution."""

    n: int
    method: str
    path: str
    status: int | None
    effect: str
    sent: bool | str


class ExecuteBudget(BaseModel):
    """What is left of the upstream budget after this call."""

    connection_name: str
    meter: str
    limit: int
    remaining: int
    window_seconds: int
    reset_seconds: int


class ExecuteResult(BaseModel):
    """The answer of `execute_tool`."""

    model_config = ConfigDict(title="ExecuteResult")

    execution_id: str
    is_error: bool
    data: Any = None
    content: list[dict[str, Any]] | None = None
    error: dict[str, Any] | None = None
    truncated: bool
    replayed: bool
    calls: list[ExecuteCall]
    logs: list[Any]
    warnings: list[str]
    budget: ExecuteBudget | None

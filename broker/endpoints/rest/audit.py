"""The audit over REST: items newest first, and the NDJSON export."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from broker.audit.export import ExportRequest
from broker.audit.query import AuditFilter
from broker.db.paging import MAX_PAGE, read_page
from broker.endpoints.rest.deps import CallerDep, ServicesDep
from broker.endpoints.rest.paging import PageOf
from broker.endpoints.rest.problems import documented
from broker.errors import invalid
from broker.ids import parse_id

router = APIRouter(tags=["audit"])

NDJSON: Final = "application/x-ndjson"
_YEARS: Final = range(1970, 9000)


class EventsQuery(BaseModel):
    """Filters; all must hold. An unknown one is refused: a typo would show everything."""

    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime | None = Field(None, description="From this time on (RFC 3339).")
    until: AwareDatetime | None = Field(None, description="Before this time.")
    identifier: str | None = Field(None, min_length=1, max_length=200)
    connection_name: str | None = Field(None, min_length=1, max_length=24)
    tool: str | None = Field(None, min_length=1, max_length=100, description="A tool's name.")
    tool_name: str | None = Field(None, min_length=1, max_length=100, description="The same as `tool`.")
    operation: str | None = Field(
        None, min_length=1, max_length=500, description="An operation id, `METHOD /template`, or a change's action."
    )
    status: str | None = Field(
        None, min_length=1, max_length=20, description="An upstream status (`403`) or an outcome (`timeout`)."
    )
    outcome: str | None = Field(None, min_length=1, max_length=20)
    kind: Literal["call", "refusal", "change", "execution"] | None = None
    execution_id: str | None = Field(None, min_length=1, max_length=36)
    run_id: str | None = Field(None, min_length=1, max_length=200)
    actor: str | None = Field(None, min_length=1, max_length=500, description="As shown: `agent:ci`, `operator:ops`.")
    page_size: int = Field(100, ge=1, le=MAX_PAGE)
    page_token: str | None = Field(None, max_length=200)


class ExportQuery(BaseModel):
    """What to export."""

    model_config = ConfigDict(extra="forbid")

    format: str = Field("native", max_length=20, description="`native`; others follow.")
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    cursor: str | None = Field(
        None, max_length=20, description="The last line's `cursor` of an earlier export: only what was added since."
    )


class AuditItem(BaseModel):
    """One call, refusal or change. Members that have nothing to say are left out."""

    model_config = ConfigDict(extra="allow")

    id: str
    at: datetime
    kind: Literal["call", "refusal", "change", "execution"]
    outcome: str = Field(
        description="`ok`, `upstream_error`, `timeout`, `cancelled`, `not_sent`, `unknown`, `open`, `refused`, `done`."
    )
    actor: str
    identifier: str | None
    summary: dict[str, Any]


def bounded_time(name: str, at: datetime | None) -> datetime | None:
    """`at` in UTC. Raises Problem `invalid_input` for times that PostgreSQL or Python cannot move between
    zones.
    """
    if at is None:
        return None
    if at.year not in _YEARS:
        raise invalid(name, "must lie between 1970 and 9000")
    return at.astimezone(UTC)


def printable(values: dict[str, str | None]) -> None:
    """Raises Problem `invalid_input` for control characters: no stored value has them, and PostgreSQL knows
    no NUL.
    """
    for name, value in values.items():
        if value is not None and not value.isprintable():
            raise invalid(name, "holds characters that cannot be printed")


@router.get(
    "/v1/audit/events",
    response_model=PageOf[AuditItem],
    response_model_exclude_unset=True,
    responses=documented(),
    summary="Calls, refusals and changes, newest first",
    description="A page may be short, even empty, and still carry a token: few items fitted among many. An agent key "
    "sees its own executions and those of sessions it minted; a session sees its identity's.",
)
async def events(query: Annotated[EventsQuery, Query()], caller: CallerDep, services: ServicesDep) -> dict[str, Any]:
    page = read_page(query.page_size, query.page_token)
    execution_id = None
    if query.execution_id is not None:
        execution_id = parse_id(query.execution_id)
        if execution_id is None:
            raise invalid("execution_id", "must be a UUID")
    texts = {
        "identifier": query.identifier,
        "connection_name": query.connection_name,
        "tool_name": query.tool or query.tool_name,
        "operation": query.operation,
        "status": query.status,
        "outcome": query.outcome,
        "run_id": query.run_id,
        "actor": query.actor,
    }
    printable(texts)
    wanted = AuditFilter(
        since=bounded_time("since", query.since),
        until=bounded_time("until", query.until),
        kind=query.kind,
        execution_id=execution_id,
        **texts,
    )
    return (await services.audit.events(caller, wanted, page)).wire()


@router.get(
    "/v1/audit/export",
    response_class=StreamingResponse,
    responses={
        **documented(),
        200: {
            "description": "One item a line, oldest first, each with the `records` that authenticate it; the last "
            "line is `{kind: end, items, cursor}`, and a stream without it was cut off.",
            "content": {NDJSON: {"schema": {"type": "string"}}},
        },
    },
    summary="The whole audit of a span, as NDJSON",
)
async def export(query: Annotated[ExportQuery, Query()], caller: CallerDep, services: ServicesDep) -> StreamingResponse:
    request = ExportRequest(
        since=bounded_time("since", query.since),
        until=bounded_time("until", query.until),
        format=query.format,
        cursor=query.cursor,
    )
    lines = await services.export.begin(caller, request)
    return StreamingResponse(lines, media_type=NDJSON, headers={"Cache-Control": "no-store"})

"""The audit, executions and health over HTTP, against a real PostgreSQL."""

import base64
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from fastapi import FastAPI

from broker.audit.executions import Executions
from broker.audit.export import AuditExport
from broker.audit.query import AuditQuery
from broker.domain import Caller
from broker.endpoints.rest import audit, executions, health, problems
from broker.endpoints.rest.deps import caller_of
from broker.identity.roles import reach
from broker.ids import NIL, new_id
from broker.jobs.readiness import Report
from broker.metrics import Metrics
from tests.integration.audit.conftest import World


class Client(httpx.AsyncClient):
    """A client of the three routers, calling as `caller`."""

    caller: Caller
    report = Report({"database": "ok"})


@pytest_asyncio.fixture
async def client(world: World) -> AsyncIterator[Client]:
    app = FastAPI()
    routers = [module.router for module in (audit, executions, health)]
    problems.install(app, routers)
    for router in routers:
        app.include_router(router)

    async def check() -> Report:
        return made.report

    app.state.services = SimpleNamespace(
        audit=AuditQuery(world.db, reach),
        export=AuditExport(world.db, world.trail, reach),
        executions=Executions(world.db, reach),
        metrics=Metrics(),
        readiness=SimpleNamespace(check=check),
    )
    async with Client(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as made:
        made.caller = world.caller("operator", None, role="auditor")
        app.dependency_overrides[caller_of] = lambda: made.caller
        yield made


async def test_events_by_page(world: World, client: Client) -> None:
    for _ in range(3):
        await world.call(world.caller())
    answer = await client.get("/v1/audit/events", params={"page_size": 2, "identifier": "priya@example.com"})
    assert answer.status_code == 200
    body = answer.json()
    assert len(body["items"]) == 2
    assert "on_behalf_of" not in body["items"][0]
    more = await client.get("/v1/audit/events", params={"page_size": 2, "page_token": body["next_page_token"]})
    assert (len(more.json()["items"]), more.json()["next_page_token"]) == (1, None)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"identifer": "x"}, "unknown_field"),
        ({"identifier": "a\x00b"}, "invalid_input"),
        ({"since": "yesterday"}, "invalid_input"),
        ({"since": "2026-01-01T00:00:00"}, "invalid_input"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "invalid_input"),
        ({"until": "9999-12-31T23:59:59-14:00"}, "invalid_input"),
        ({"page_size": "0"}, "invalid_input"),
        ({"page_token": "?!"}, "invalid_input"),
        (
            {
                "page_token": base64.urlsafe_b64encode(
                    f'["0001-01-01T00:00:00+00:00","{NIL}","audit"]'.encode()
                ).decode()
            },
            "invalid_input",
        ),
        ({"status": "nonsense"}, "invalid_input"),
        ({"kind": "intent"}, "invalid_input"),
        ({"execution_id": "nope"}, "invalid_input"),
        ({"run_id": "x" * 201}, "invalid_input"),
        ({"operation": "' or 1=1 --"}, None),
    ],
)
async def test_filters_are_checked(client: Client, params: dict[str, str], code: str | None) -> None:
    answer = await client.get("/v1/audit/events", params=params)
    if code is None:
        assert answer.json() == {"items": [], "next_page_token": None}
    else:
        assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_a_tool_by_either_name(world: World, client: Client) -> None:
    await world.call(world.caller())
    every = (await client.get("/v1/audit/events")).json()["items"]
    tool = every[0]["tool_name"]
    for name in ("tool", "tool_name"):
        assert (await client.get("/v1/audit/events", params={name: tool})).json()["items"] == every
        assert (await client.get("/v1/audit/events", params={name: "another"})).json()["items"] == []


async def test_did_it_happen(world: World, client: Client) -> None:
    intent = await world.call(world.caller(), "timeout")
    answer = await client.get(f"/v1/executions/{intent.facts.execution_id}")
    assert answer.status_code == 200
    assert answer.json()["calls"][0]["outcome"] == "timeout"
    assert "refusal" not in answer.json()
    for other in (new_id(), "nope", "%00"):
        assert (await client.get(f"/v1/executions/{other}")).json()["code"] == "not_found"
    client.caller = world.caller(identifier="someone else")
    assert (await client.get(f"/v1/executions/{intent.facts.execution_id}")).status_code == 404


async def test_an_export_over_http(world: World, client: Client) -> None:
    await world.call(world.caller())
    answer = await client.get("/v1/audit/export", params={"format": "native"})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    kinds = [orjson.loads(line)["kind"] for line in answer.content.splitlines()]
    assert kinds == ["call", "end"]
    refused: list[tuple[dict[str, Any], Caller]] = [
        ({"format": "cef"}, client.caller),
        ({"cursor": "-1"}, client.caller),
        ({}, world.caller()),
    ]
    for params, caller in refused:
        client.caller = caller
        answer = await client.get("/v1/audit/export", params=params)
        assert answer.json()["code"] in {"invalid_input", "forbidden"}


async def test_health(client: Client) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready", "checks": {"database": "ok"}}
    client.report = Report({"database": "ok", "migrations": "at 0000, need 0001"})
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["migrations"].startswith("at 0000")
    shown = await client.get("/metrics")
    assert shown.headers["content-type"].startswith("text/plain")
    assert b"keyreeve_call_seconds_count" in shown.content

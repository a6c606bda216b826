"""Liveness, readiness and metrics. Without authentication, and without a word about any tenant."""

from typing import Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from broker.endpoints.rest.deps import ServicesDep
from broker.endpoints.rest.problems import documented
from broker.errors import Problem
from broker.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that ask for no bearer."""


class Alive(BaseModel):
    """This process answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """This process can serve; `checks` says of each part how it is."""

    status: Literal["ready"]
    checks: dict[str, str]


@router.get("/healthz", response_model=Alive, responses=documented(), summary="Is the process alive?")
async def healthz() -> dict[str, Any]:
    return {"status": "ok"}


@router.get("/readyz", response_model=Ready, responses=documented(), summary="Can it serve?")
async def readyz(services: ServicesDep) -> dict[str, Any]:
    report = await services.readiness.check()
    if not report.ready:
        raise Problem(
            "unavailable",
            f"not ready: {', '.join(report.failing)}",
            retry_after=2,
            extra={"checks": dict(report.checks)},
        )
    return {"status": "ready", "checks": dict(report.checks)}


@router.get(
    "/metrics",
    response_class=Response,
    responses={**documented(), 200: {"description": "Prometheus text format", "content": {"text/plain": {}}}},
    summary="Prometheus metrics",
)
async def metrics(services: ServicesDep) -> Response:
    return Response(services.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

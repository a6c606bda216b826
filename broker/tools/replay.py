"""A result as it is kept under an idempotency key, and as it is answered again. Pure."""

from typing import Any
from uuid import UUID

import orjson

from broker.gate.idempotency import Replay
from broker.gate.types import CallRecord
from broker.tools.results import Result
from connectors.mcp_upstream.wire import MCP_RESULT


def stored(result: Result) -> dict[str, Any]:
    """The parts of a Result worth keeping for a replay."""
    kept = {
        "execution_id": str(result.execution_id),
        "is_error": result.is_error,
        "data": result.data,
        "media_type": result.media_type,
        "error": result.error,
        "warnings": list(result.warnings),
        "calls": [[c.n, c.method, c.path, c.status, c.effect, c.sent] for c in result.calls],
    }
    if result.logs:
        kept["logs"] = list(result.logs)
    if result.truncated:
        kept["truncated"] = True
    return kept


def replayed(claim: Replay) -> Result:
    """The kept result."""
    kept = claim.result
    warnings = list(kept["warnings"])
    if not claim.kept:
        warnings.append("the first answer was too large to be kept: it was done, but its data is not repeated")
    media_type = kept.get("media_type", "application/json")
    # It comes back as its own text; blocks are read from it, where it is the result of another server's tool.
    data = orjson.loads(orjson.dumps(kept["data"])) if media_type == MCP_RESULT else kept["data"]
    return Result(
        execution_id=UUID(kept["execution_id"]),
        is_error=kept["is_error"],
        data=data,
        error=kept["error"],
        warnings=tuple(warnings),
        calls=tuple(CallRecord(*c) for c in kept["calls"]),
        logs=tuple(kept.get("logs", ())),
        truncated=not claim.kept or kept.get("truncated", False),
        replayed=True,
        media_type=media_type,
    )

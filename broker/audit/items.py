"""Audit items (API.md): one per call, refusal, change or execution, merged from the rows. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

Row = Mapping[str, Any]

_KINDS: Final = {"intent": "call", "refusal": "refusal", "change": "change", "execution": "execution"}

# From the intent's, refusal's or change's body, in the order in which they are shown.
_ASKED: Final = ("operation_ref", "method", "path", "effect")
_JUDGED: Final = ("decision", "reason", "code", "grant_id", "detail", "intent", "suppressed", "since")
# From the outcome's body.
_CAME: Final = ("sent", "upstream_status", "upstream_ray", "request_bytes", "response_bytes", "error")


def stamp(at: datetime) -> str:
    """RFC 3339, UTC, microseconds: the spelling of every time in an item."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def milliseconds(microseconds: int | None) -> float | None:
    """Milliseconds with three digits."""
    return None if microseconds is None else round(microseconds / 1000, 3)


def item(row: Row, outcome: Row | None) -> dict[str, Any]:
    """The item of `row` (any kind but an outcome); `outcome` is a call's latest, or None while it is open.

    A member that has nothing to say is left out, but for `identifier` and `summary`.
    """
    body: Mapping[str, Any] = row["body"]
    came: Mapping[str, Any] = {} if outcome is None else outcome["body"]
    bearer = None if row["bearer_id"] is None else str(row["bearer_id"])
    session = body.get("bearer_kind") == "session"
    shown: dict[str, Any] = {
        "id": str(row["id"]),
        "at": stamp(row["at"]),
        "kind": _KINDS[row["kind"]],
        "outcome": outcome_of(row, outcome),
        "actor": row["actor"],
        "on_behalf_of": row["on_behalf_of"],
        "identifier": row["identifier"],
        "client": body.get("client"),
        "agent": body.get("agent"),
        "session_id" if session else "key_id": bearer,
        "run_id": row["run_id"],
        "execution_id": None if row["execution_id"] is None else str(row["execution_id"]),
        "n": row["n"],
        "connection_name": row["connection_name"],
        "connected_account_id": None if row["account_id"] is None else str(row["account_id"]),
        "tool_name": row["tool_name"],
        "operation": row["operation"],
    }
    shown |= {name: body.get(name) for name in (*_ASKED, *_JUDGED)}
    shown |= {name: came.get(name) for name in _CAME}
    shown["latency_ms"] = milliseconds(came.get("latency_us"))
    shown["upstream_ms"] = milliseconds(came.get("upstream_us"))
    shown["wait_ms"] = milliseconds(came.get("wait_us"))
    shown["args_digest"] = body.get("args_digest")
    shown["code_digest"] = body.get("code_digest")
    shown["calls"] = body.get("calls")
    shown["summary"] = body.get("summary") or {}
    return {k: v for k, v in shown.items() if v is not None or k == "identifier"}


def outcome_of(row: Row, outcome: Row | None) -> str:
    """`open` while in flight; `refused`, `done`; else how the call ended."""
    if row["kind"] == "intent":
        return "open" if outcome is None else str(outcome["outcome"])
    return str(row["outcome"])


def latest(outcomes: list[Row]) -> Row | None:
    """The outcome that counts: what is known beats `unknown`, then the one recorded last."""
    if not outcomes:
        return None
    return max(outcomes, key=lambda o: (o["outcome"] != "unknown", o["recorded_at"], o["counter"]))


def record(row: Row) -> dict[str, Any]:
    """What authenticates a stored row and places it: who wrote it, its number there, and its MAC."""
    return {
        "id": str(row["id"]),
        "kind": row["kind"],
        "outcome": row["outcome"],
        "recorded_at": stamp(row["recorded_at"]),
        "node": row["node"],
        "boot": str(row["boot"]),
        "counter": row["counter"],
        "mac_key": row["mac_key"],
        "mac": bytes(row["mac"]).hex(),
    }

"""The answer of one execution, as API.md writes it. Pure.

An upstream body that was not touched travels as raw JSON bytes: integers, Unicode and field order leave as they came.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from broker.gate.types import BudgetView, CallRecord
from broker.tools.passed import blocks, is_passed
from connectors.frozen import quick

CONTENT_TEXT_LIMIT = 200_000
"""Characters of one MCP text block; more is cut with a note, for it goes straight into a model's context."""


@quick
@dataclass(frozen=True, slots=True)
class Result:
    """What `execute_tool` answers. `error` is set exactly when `is_error` is."""

    execution_id: UUID
    is_error: bool
    data: Any
    calls: tuple[CallRecord, ...] = ()
    budget: BudgetView | None = None
    error: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    logs: tuple[Any, ...] = ()
    truncated: bool = False
    replayed: bool = False
    media_type: str = field(default="application/json", repr=False)

    def encode(self, *, as_content: bool, connection_name: str) -> bytes:
        """The JSON body of the answer."""
        body: dict[str, Any] = {
            "execution_id": str(self.execution_id),
            "is_error": self.is_error,
        }
        cut = False
        if as_content:
            body["content"], cut = self.content()
        else:
            body["data"] = self.data
        if self.error is not None:
            body["error"] = self.error
        body["truncated"] = self.truncated or cut
        body["replayed"] = self.replayed
        body["calls"] = [_call(c) for c in self.calls]
        body["logs"] = list(self.logs)
        body["warnings"] = list(self.warnings)
        body["budget"] = None if self.budget is None else _budget(self.budget, connection_name)
        return dumps(body)

    def content(self) -> tuple[list[dict[str, Any]], bool]:
        """MCP content blocks (2025-06-18 and later): one text block, or an image block for binary images. And whether
        the text was cut."""
        if is_passed(self.media_type, self.data):
            return blocks(self.data, CONTENT_TEXT_LIMIT)
        binary = self.data.get("$binary") if isinstance(self.data, dict) else None
        if isinstance(binary, Mapping) and str(binary.get("media_type", "")).startswith("image/"):
            return [{"type": "image", "data": binary["base64"], "mimeType": binary["media_type"]}], False
        shown = {"error": self.error, "data": self.data} if self.error is not None else self.data
        text = dumps(shown).decode()
        left = len(text) - CONTENT_TEXT_LIMIT
        if left > 0:
            text = text[:CONTENT_TEXT_LIMIT] + f"\n[{left} more characters; ask for less, or with `as: data`]"
        return [{"type": "text", "text": text}], left > 0


def dumps(value: Any) -> bytes:
    """JSON with exact integers of any size, and raw JSON (`orjson.Fragment`) wherever it stands."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # orjson stops at 64 bits. Such numbers are rare; what holds one is put together part by part.
        return _parts(value)


def _parts(value: Any) -> bytes:
    if isinstance(value, Mapping):
        return (
            b"{" + b",".join(json.dumps(str(key)).encode() + b":" + dumps(item) for key, item in value.items()) + b"}"
        )
    if isinstance(value, list | tuple):
        return b"[" + b",".join(dumps(item) for item in value) + b"]"
    return json.dumps(value, allow_nan=False).encode()


def _call(call: CallRecord) -> dict[str, Any]:
    return {
        "n": call.n,
        "method": call.method,
        "path": call.path,
        "status": call.status,
        "effect": call.effect,
        "sent": call.sent,
    }


def _budget(view: BudgetView, connection_name: str) -> dict[str, Any]:
    return {
        "connection_name": connection_name,
        "meter": view.meter,
        "limit": view.limit,
        "remaining": view.remaining,
        "window_seconds": view.window_seconds,
        "reset_seconds": view.reset_seconds,
    }


def binary_block(media_type: str, content: bytes) -> dict[str, Any]:
    """How a binary body travels in JSON."""
    return {
        "$binary": {
            "media_type": media_type,
            "bytes": len(content),
            "base64": base64.b64encode(content).decode("ascii"),
        }
    }


def writes_first(calls: Sequence[CallRecord], detail: str) -> str:
    """An error's text, beginning with the writes already made so that a model does not repeat them."""
    made = [f"{c.method} {c.path}" for c in calls if c.effect != "read" and c.sent and c.status and c.status < 400]
    if not made:
        return detail
    return f"Already done before this error: {'; '.join(made[:20])}. {detail}"

"""What tools are and what they answer."""

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from keyreeve.errors import ToolFailed


class Tool(Struct, frozen=True, kw_only=True):
    """One tool that the identity may use now.

    `effect` is `read`, `write` or `destructive`: the most it can do as this identity. `schema_hash` goes into
    `expected_schema_hash` to refuse a tool that has changed since. `connected_account_id` is None where several
    accounts fit. `annotations` are MCP's.
    """

    name: str
    connection_name: str
    connected_account_id: str | None = None
    effect: str = "destructive"
    schema_hash: str = ""
    description: str = ""
    input_schema: dict[str, Any] = {}
    annotations: dict[str, Any] = {}


class Unavailable(Struct, frozen=True, kw_only=True):
    """What is there but cannot be used now. `reason` is a problem code, `fix` who can mend it, `connect_url` where the
    person signs in; without a `name` it is the whole connection."""

    connection_name: str
    reason: str
    hint: str = ""
    fix: str = "admin"
    name: str | None = None
    connect_url: str | None = None


class ToolList(Struct, frozen=True, kw_only=True):
    """The answer of `list_scoped_tools`, all pages of it. Iterating it gives the tools."""

    tools: tuple[Tool, ...] = ()
    unavailable: tuple[Unavailable, ...] = ()

    def __iter__(self) -> Iterator[Tool]:
        return iter(self.tools)

    def __len__(self) -> int:
        return len(self.tools)


class Call(Struct, frozen=True, kw_only=True):
    """One upstream request of an execution. `sent` is True, False or `"unknown"`; `status` None where none came."""

    n: int
    method: str = ""
    path: str = ""
    status: int | None = None
    effect: str = "destructive"
    sent: bool | str = "unknown"


class Budget(Struct, frozen=True, kw_only=True):
    """What is left of the upstream's limit. `reset_seconds`: until the next slot frees, 0 while any is free."""

    connection_name: str = ""
    meter: str = ""
    limit: int = 0
    remaining: int = 0
    window_seconds: int = 0
    reset_seconds: int = 0


class ToolError(Struct, frozen=True, kw_only=True):
    """Why a tool that ran has failed. `status` and `errors` are the upstream's; `line` is the program's (Code Mode),
    `kind` one of `syntax`, `thrown`, `limit`."""

    code: str
    detail: str = ""
    hint: str | None = None
    fix: str = "model"
    status: int | None = None
    errors: Any = None
    retry_after: float | None = None
    line: int | None = None
    kind: str | None = None
    connect_url: str | None = None


class ToolResult(Struct, frozen=True, kw_only=True):
    """The answer of `execute_tool`.

    `data` is the upstream's body, or what the program returned, integers of any size exact; None where it was asked
    for `as_content`, which gives MCP content blocks in `content`. `error` is set exactly when `is_error` is.
    `replayed`: the result of an earlier call with this idempotency key.
    """

    execution_id: str
    is_error: bool = False
    data: Any = None
    content: list[dict[str, Any]] | None = None
    error: ToolError | None = None
    truncated: bool = False
    replayed: bool = False
    calls: tuple[Call, ...] = ()
    logs: list[Any] = []
    warnings: tuple[str, ...] = ()
    budget: Budget | None = None

    def text(self) -> str:
        """What to tell a model, as JSON: the data, or for an error `{"error", "data"}`. Where the result came as
        content, the text of its blocks."""
        if self.content is not None:
            return "\n".join(str(block["text"]) for block in self.content if "text" in block)
        return json_text({"error": told(self.error), "data": self.data} if self.is_error else self.data)

    def raise_for_error(self) -> "ToolResult":
        """Itself. Raises ToolFailed where `is_error`."""
        if self.is_error:
            raise ToolFailed(self)
        return self


def told(error: ToolError | None) -> dict[str, Any]:
    """An error's members that say something."""
    if error is None:
        return {"code": "upstream_error"}
    members = {name: getattr(error, name) for name in ToolError.__struct_fields__}
    return {name: value for name, value in members.items() if value is not None}


def json_text(value: Any) -> str:
    """JSON with exact integers, safe to encode. Upstreams may send halves of surrogate pairs: those stay escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text

"""What a caller asks of `execute_tool`, checked for form and bounds. Authority is not judged here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from broker.domain import CONNECTION_NAME
from broker.errors import invalid
from connectors.frozen import quick

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}\Z")


@quick
@dataclass(frozen=True, slots=True)
class ExecuteRequest:
    """One `execute_tool`. Seconds are bounded by the endpoint; `tool_input` is any object within the size limit."""

    tool_name: str
    tool_input: Mapping[str, Any]
    identifier: str | None = None
    connection_name: str | None = None
    connected_account_id: UUID | None = None
    run_id: str | None = None
    agent: str | None = None
    intent: str | None = None
    idempotency_key: str | None = None
    expected_schema_hash: str | None = None
    deadline_seconds: float = 30.0
    max_wait_seconds: float = 0.0
    dry_run: bool = False
    as_content: bool = False

    @property
    def connection(self) -> str:
        """The connection's name: the part of the tool's name before its first `_`."""
        return connection_of(self.tool_name)


def connection_of(tool_name: str) -> str:
    """The connection part of a tool's name. Raises Problem `invalid_input` where there is none."""
    if not TOOL_NAME.match(tool_name):
        raise invalid("tool_name", "must be 1 to 60 of A-Z a-z 0-9 _ -", hint="use a name that list_scoped_tools gave")
    name, underscore, rest = tool_name.partition("_")
    if not underscore or not rest or not CONNECTION_NAME.match(name):
        raise invalid(
            "tool_name",
            "must be a connection's name, `_` and a tool of that connection, like `cloudflare_call`",
            hint="use a name that list_scoped_tools gave",
        )
    return name


As = Literal["data", "content"]

"""A server that does not know a tool which is pinned for it, or says that its lists have changed, is looked at soon."""

from collections.abc import Mapping
from contextvars import Token
from typing import Final
from uuid import UUID

from sqlalchemy import text

from broker.db.database import Database
from connectors.base import Answer, Json
from connectors.mcp_upstream.streams import LISTENER, Heard

UNKNOWN: Final = frozenset({-32601, -32602})
"""JSON-RPC 2.0 § 5.1: method not found, invalid params; servers answer either for a tool that is gone."""

CHANGES: Final = frozenset(f"notifications/{what}/list_changed" for what in ("tools", "prompts", "resources"))

_SOON: Final = text(
    """
    update broker.definitions set checked_at = null
     where tenant_id = :tenant and connection_id = :connection and checked_at is not null"""
)


def says_unknown(answer: Answer) -> bool:
    """Whether an answer of `tools/call` may mean that the server has no such tool any more."""
    errors = (answer.error or {}).get("errors")
    return isinstance(errors, list) and any(isinstance(e, dict) and e.get("code") in UNKNOWN for e in errors)


class Overheard:
    """Listens, while it is entered, for a server that says in a call's stream that its lists have changed. Whoever
    listened before hears everything as before."""

    def __init__(self) -> None:
        self.changed = False
        self._before: Heard | None = None
        self._token: Token[Heard | None] | None = None

    def __enter__(self) -> "Overheard":
        self._before = LISTENER.get()
        self._token = LISTENER.set(self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            LISTENER.reset(self._token)

    def _hear(self, message: Mapping[str, Json]) -> None:
        if message.get("method") in CHANGES:
            self.changed = True
        if self._before is not None:
            self._before(message)


class Rechecks:
    """One per process."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def soon(self, tenant_id: UUID, connection_id: UUID) -> None:
        """The connection's definitions are looked at in the next run of `jobs.definitions_check`."""
        async with self._db.tenant(tenant_id) as conn:
            await conn.execute(_SOON, {"tenant": tenant_id, "connection": connection_id})

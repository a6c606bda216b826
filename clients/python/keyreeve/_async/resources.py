"""What goes with tools: sessions, connect links, accounts, executions, the audit, budgets."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from keyreeve._async.asker import AsyncKeyAsker, pages
from keyreeve.ask import get, segment, send
from keyreeve.errors import Interrupted
from keyreeve.records import (
    AuditEnd,
    AuditItem,
    ConnectedAccount,
    ConnectLink,
    Execution,
    MadeSession,
    PrincipalBudget,
    RevokedAccount,
    RevokedBearer,
    Session,
)
from keyreeve.tools import connect_link, execution, mint
from keyreeve.wire import decode


class _Resource:
    def __init__(self, asker: AsyncKeyAsker) -> None:
        self._asker = asker


class AsyncSessions(_Resource):
    """Session tokens: short-lived bearers for one identity."""

    async def create(
        self,
        identifier: str | None = None,
        *,
        connections: Sequence[str] | None = None,
        access: str | None = None,
        ttl_seconds: int | None = None,
    ) -> MadeSession:
        """Mints a session, to hand to another process. `ttl_seconds` 60 to 86,400, 900 where left out. For a run in
        this process `for_identity` also renews it."""
        return await self._asker.ask(mint(identifier, connections, access, ttl_seconds))

    def list(self, *, identifier: str | None = None, ended: bool = False) -> AsyncIterator[Session]:
        """Sessions, oldest first; with `ended` the revoked and expired too."""
        return pages(self._asker, "/v1/sessions", Session, {"identifier": identifier, "ended": ended})

    async def revoke(self, session_id: str) -> RevokedBearer:
        """Revokes a session and its children."""
        return await self._asker.ask(send("DELETE", f"/v1/sessions/{segment('session_id', session_id)}", RevokedBearer))


class AsyncConnectLinks(_Resource):
    """Pages on which engineers deposit their own credentials."""

    async def create(self, connection_name: str, identifier: str | None = None) -> ConnectLink:
        """A link for one identity and one connection, to be used once."""
        return await self._asker.ask(connect_link(connection_name, identifier))


class AsyncExecutions(_Resource):
    """What became of calls."""

    async def get(self, execution_id: str) -> Execution:
        """One execution: did it happen?"""
        return await self._asker.ask(execution(execution_id))


class AsyncBudgets(_Resource):
    """Upstream budgets."""

    def list(self) -> AsyncIterator[PrincipalBudget]:
        """What is left of each upstream principal's budget."""
        return pages(self._asker, "/v1/budgets", PrincipalBudget, {})


class AsyncAccounts(_Resource):
    """Connected accounts: metadata, never a credential."""

    def list(
        self, *, connection_name: str | None = None, identifier: str | None = None, status: str | None = None
    ) -> AsyncIterator[ConnectedAccount]:
        """The tenant's connected accounts. `status`: `pending`, `active`, `needs_reauth`, `revoked`."""
        query = {"connection_name": connection_name, "identifier": identifier, "status": status}
        return pages(self._asker, "/v1/connected_accounts", ConnectedAccount, query)

    async def get(self, account_id: str) -> ConnectedAccount:
        """One connected account."""
        return await self._asker.ask(get(_account(account_id), ConnectedAccount))

    async def deposit(
        self,
        connection_name: str,
        credential: Mapping[str, Any],
        *,
        identifier: str | None = None,
        shared: bool = False,
        label: str | None = None,
        replace: bool = False,
    ) -> ConnectedAccount:
        """Verifies a credential (`{"kind": "api_token", "token": …}`) upstream and keeps it sealed; one that does not
        verify is refused and not kept. `replace` (admins): also where it belongs to another upstream principal."""
        body = {
            "connection_name": connection_name,
            "identifier": identifier,
            "shared": shared,
            "label": label,
            "replace": replace,
            "credential": credential,
        }
        return await self._asker.ask(send("PUT", "/v1/connected_accounts", ConnectedAccount, body))

    async def revoke(
        self, account_id: str, reason: str, *, upstream: bool = False, drain_seconds: float | None = None
    ) -> RevokedAccount:
        """Revokes an account: when this answers, nothing new is admitted with it. `drain_seconds` (0 to 60): how long
        to wait for the calls in flight."""
        body = {"reason": reason, "upstream": upstream, "drain_seconds": drain_seconds}
        return await self._asker.ask(send("POST", f"{_account(account_id)}:revoke", RevokedAccount, body))

    async def verify(self, account_id: str) -> ConnectedAccount:
        """Asks the upstream again about the credential."""
        return await self._asker.ask(send("POST", f"{_account(account_id)}:verify", ConnectedAccount))


def _account(account_id: str) -> str:
    return f"/v1/connected_accounts/{segment('account_id', account_id)}"


class ExportLine:
    """One line of an export, byte for byte as the server wrote it: what its `records` authenticate."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def item(self) -> dict[str, Any]:
        """The line as an object."""
        return decode(self.raw, dict[str, Any])


class AsyncAuditExport:
    """A whole span of the audit, oldest first, as it streams in: iterate it once. At the end `items` is how many there
    were and `cursor` goes on from there; both are None before. Raises Interrupted where the stream was cut off."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines
        self.items: int | None = None
        self.cursor: str | None = None

    async def __aiter__(self) -> AsyncIterator[ExportLine]:
        async for line in self._lines:
            end = _end(line)
            if end is not None:
                self.items, self.cursor = end.items, end.cursor
                return
            yield ExportLine(line)
        raise Interrupted("the export was cut off before its last line")


def _end(line: bytes) -> AuditEnd | None:
    # Only the last line is this short; every other has its records.
    if len(line) > 200 or b'"end"' not in line:
        return None
    try:
        found = msgspec.json.decode(line, type=AuditEnd)
    except msgspec.MsgspecError:
        return None
    return found if found.kind == "end" else None


class AsyncAudit(_Resource):
    """Who did what."""

    def events(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        identifier: str | None = None,
        connection_name: str | None = None,
        tool_name: str | None = None,
        operation: str | None = None,
        status: str | int | None = None,
        outcome: str | None = None,
        kind: str | None = None,
        execution_id: str | None = None,
        run_id: str | None = None,
        actor: str | None = None,
    ) -> AsyncIterator[AuditItem]:
        """Calls, refusals and changes, newest first; all filters must hold. `kind`: `call`, `refusal`, `change`,
        `execution`. With `run_id` this answers what became of a call whose answer was lost."""
        query = {
            "since": since,
            "until": until,
            "identifier": identifier,
            "connection_name": connection_name,
            "tool_name": tool_name,
            "operation": operation,
            "status": status,
            "outcome": outcome,
            "kind": kind,
            "execution_id": execution_id,
            "run_id": run_id,
            "actor": actor,
        }
        return pages(self._asker, "/v1/audit/events", AuditItem, query)

    def export(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        format: str | None = None,
    ) -> AsyncAuditExport:
        """The whole audit of a span, streamed. `cursor`: an earlier export's, for what was added since."""
        ask = get("/v1/audit/export", bytes, since=since, until=until, cursor=cursor, format=format)
        return AsyncAuditExport(self._asker.lines(ask))

"""The definitions pinned for connections of MCP servers: first taken in, fetched again, accepted.

Where nothing was pinned yet, what the first account finds is (trust on first use), less the tools whose text was
flagged. From then on nothing that a server changes is believed by itself: what has another definition is not
offered, a new one is not added, until an admin has accepted the difference. Only what the server has taken away goes at
once.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts import rows
from broker.accounts.pinning import SHOWN, Refreshed
from broker.accounts.tables import accounts, connections, definitions
from broker.accounts.views import View, Views
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.domain import Caller, Connection
from broker.errors import Problem
from broker.gate import revoke
from broker.gate.maintenance import Maintenance, Series
from broker.identity.roles import require
from connectors.errors import CredentialRejected, EgressRefused, SpecError, UpstreamFault, UpstreamTimeout
from connectors.mcp_upstream.connector import McpConnector
from connectors.mcp_upstream.definitions import Definition, Definitions, Difference, compare, dump, load, without

_log = structlog.get_logger(__name__)

FETCH_SECONDS: Final = 20.0
"""Deadline of each request of a fetch."""


@dataclass(frozen=True, slots=True)
class _Change:
    """What a fetch means: the values to store, and whether something waits."""

    values: Mapping[str, Any]
    waits: bool
    report: Mapping[str, Any]


class DefinitionPins:
    """One per process."""

    def __init__(
        self, *, db: Database, trail: AuditTrail, maintenance: Maintenance, views: Views, clock: Clock
    ) -> None:
        self._db = db
        self._trail = trail
        self._maintenance = maintenance
        self._views = views
        self._clock = clock

    async def first(self, caller: Caller, connection: Connection, account_id: UUID) -> None:
        """Pins what the server declares, where nothing is pinned. Its failure is logged and leaves the account as it
        is: a refresh says why."""
        view = await self._views.connection(caller.tenant_id, connection)
        if not isinstance(view.connector, McpConnector) or view.spec is not None:
            return
        try:
            async with self._db.tenant(caller.tenant_id) as conn:
                row = await rows.existing(conn, caller.tenant_id, connection.name)
            found = await self._fetch(caller, connection, view, account_id)
            await self._write(caller, row, view, _first(found), "connection.spec_pinned", found.digest)
        except Problem as problem:
            _log.warning("definitions_not_fetched", connection=connection.name, code=problem.code)

    async def refresh(self, caller: Caller, row: Any) -> Refreshed:
        """Fetches them again, with an account of the connection's: a shared one first. Raises Problem `not_connected`,
        `needs_reauth`, `upstream_unreachable`, `upstream_timeout`, `version_conflict`."""
        require(caller, "connections.write")
        return await self.check(caller, row)

    async def check(self, caller: Caller, row: Any) -> Refreshed:
        """As `refresh`, for whoever needs no role for it: the job that looks again."""
        connection = _connection(row)
        view = await self._views.connection(caller.tenant_id, connection)
        async with self._db.tenant(caller.tenant_id) as conn:
            account_id = await _any_account(conn, caller.tenant_id, connection.id)
            kept = await _stored(conn, caller.tenant_id, connection.id)
        found = await self._fetch(caller, connection, view, account_id)
        if kept is None or kept.url != view.config["url"]:
            change = _first(found)
        else:
            change = _next(load(kept.document), kept.held, found)
            if not change.report["changed"] and kept.pending_digest is None:
                return Refreshed(found.digest, applied=False, pending=False, report=change.report)
        action = "connection.spec_pending" if change.waits else "connection.spec_pinned"
        await self._write(caller, row, view, change, action, found.digest)
        return Refreshed(found.digest, applied=not change.waits, pending=change.waits, report=change.report)

    async def accept(self, caller: Caller, row: Any, digest: str) -> None:
        """Pins what waits. Raises Problem `version_conflict` if it is not what was reviewed."""
        require(caller, "connections.write")
        view = await self._views.connection(caller.tenant_id, _connection(row))
        async with self._db.tenant(caller.tenant_id) as conn:
            kept = await _stored(conn, caller.tenant_id, row.id)
        if kept is None or kept.pending_digest != digest or kept.url != view.config["url"]:
            raise Problem("version_conflict", "those definitions are not the ones waiting", hint="refresh and review")
        values = {"document": kept.pending_document, "digest": digest, "held": [], **_NOTHING_WAITS}
        values["tools"] = len(load(kept.pending_document).tools)
        await self._write(
            caller, row, view, _Change(values, waits=False, report={}), "connection.spec_accepted", digest
        )

    async def shown(self, caller: Caller, name: str) -> dict[str, Any]:
        """What is pinned and what waits, for whoever reviews it. Raises Problem `unknown_connection`, `not_found`."""
        require(caller, "connections.read")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await rows.existing(conn, caller.tenant_id, name)
            kept = await _stored(conn, caller.tenant_id, row.id)
        if kept is None:
            raise Problem("not_found", f"nothing is pinned for {name}: no account has been connected yet")
        pinned, held = load(kept.document), set(kept.held)
        pending = None if kept.pending_document is None else load(kept.pending_document)
        return {
            "url": kept.url,
            "digest": kept.digest,
            "version": pinned.version,
            "fetched_at": kept.fetched_at,
            "tools": [_line(tool, held=tool.name in held) for tool in pinned.tools],
            **_extras(pinned, held),
            "dropped": list(pinned.dropped),
            "pending": None
            if pending is None
            else {
                "digest": kept.pending_digest,
                "report": orjson.loads(kept.pending_report),
                "tools": [
                    _line(tool, held=True)
                    for tool in pending.tools
                    if tool.name in held
                    or tool.name not in pinned.by_name
                    or pinned.by_name[tool.name].digest != tool.digest
                ],
                **_extras(_news(pinned, pending, held), None),
            },
        }

    async def _fetch(self, caller: Caller, connection: Connection, view: View, account_id: UUID) -> Definitions:
        assert isinstance(view.connector, McpConnector)  # noqa: S101 - whoever calls has looked
        series = Series(
            self._maintenance, self._clock, caller, connection, view.connector, account_id, None, FETCH_SECONDS
        )
        told = "the server's definitions could not be fetched"
        try:
            return await view.connector.fetch(view, series.perform)
        except CredentialRejected as error:
            raise Problem("needs_reauth", str(error)[:300], hint=error.hint) from None
        except EgressRefused as error:
            raise Problem("egress_refused", error.reason) from None
        except UpstreamTimeout as error:
            raise Problem("upstream_timeout", f"{told}: {error}", sent=error.sent) from None
        except UpstreamFault as error:
            raise Problem("upstream_unreachable", f"{told}: {error}", sent=error.sent) from None
        except SpecError as error:
            raise Problem("upstream_unreachable", f"{told}: {error}", fix="admin") from None

    async def _write(self, caller: Caller, row: Any, view: View, change: _Change, action: str, digest: str) -> None:
        """Stores it as part of the connection's next version. Raises Problem `version_conflict`."""
        now: datetime = self._clock.now()
        key = {"tenant_id": caller.tenant_id, "connection_id": row.id}
        values = {"url": view.config["url"], "fetched_at": now, **change.values}
        details = {"spec_digest": digest, "report": _brief(change.report)}
        async with self._db.tenant(caller.tenant_id) as conn:
            moved = await conn.execute(
                update(connections)
                .where(
                    connections.c.tenant_id == caller.tenant_id,
                    connections.c.id == row.id,
                    connections.c.version == row.version,
                    connections.c.status != "deleted",
                )
                .values(version=row.version + 1)
            )
            if moved.rowcount != 1:
                raise Problem("version_conflict", f"connection {row.name} was changed meanwhile", hint="read it again")
            if "document" in values:
                statement = insert(definitions).values(key | values)
                await conn.execute(
                    statement.on_conflict_do_update(index_elements=["tenant_id", "connection_id"], set_=values)
                )
            else:
                mine = (definitions.c.tenant_id == caller.tenant_id, definitions.c.connection_id == row.id)
                await conn.execute(update(definitions).where(*mine).values(values))
            await self._trail.change(conn, caller, action, connection_name=row.name, details=details)
            await revoke.policy_changed(conn, caller.tenant_id)


_NOTHING_WAITS: Final[Mapping[str, Any]] = {"pending_digest": None, "pending_document": None, "pending_report": None}


def _first(found: Definitions) -> _Change:
    """The first definitions are pinned as they are; flagged tools wait."""
    document = _document(found)
    flagged = sorted(found.flagged)
    report = {"changed": True, "first": True, "added_count": len(found.tools), **_findings(found)}
    values = {
        "document": document,
        "digest": found.digest,
        "tools": len(found.tools),
        "held": flagged,
        **_NOTHING_WAITS,
    }
    if flagged:
        report["waits_for"] = flagged[:SHOWN]
        values |= _waiting(found, document, report)
    return _Change(values, bool(flagged), report)


def _next(pinned: Definitions, held: Sequence[str], found: Definitions) -> _Change:
    """What newly fetched definitions mean for the pinned ones."""
    diff = compare(pinned, found)
    flagged = {label for label in held if label in found.flagged and label not in diff.changed}
    waits = sorted({*diff.added, *diff.changed, *flagged})
    moved = pinned.version != found.version or pinned.offers != found.offers
    report = _report(diff, found, changed=not diff.empty or moved)
    kept = without(pinned, diff.removed)
    base = replace(kept, version=found.version, dropped=found.dropped, offers=found.offers)
    values = {
        "document": _document(base),
        "digest": base.digest,
        "tools": len(base.tools),
        "held": sorted({*diff.changed, *flagged}),
        **_NOTHING_WAITS,
    }
    if waits:
        report["waits_for"] = waits[:SHOWN]
        values |= _waiting(found, _document(found), report)
    return _Change(values, bool(waits), report)


def _waiting(found: Definitions, document: str, report: Mapping[str, Any]) -> dict[str, Any]:
    written = orjson.dumps(report).decode()
    return {"pending_digest": found.digest, "pending_document": document, "pending_report": written}


def _document(found: Definitions) -> str:
    try:
        return dump(found)
    except SpecError as error:
        raise Problem("upstream_unreachable", str(error), fix="admin") from None


def _report(diff: Difference, found: Definitions, *, changed: bool) -> dict[str, Any]:
    return {
        "changed": changed,
        "added_count": len(diff.added),
        "removed_count": len(diff.removed),
        "changed_count": len(diff.changed),
        "added": list(diff.added[:SHOWN]),
        "removed": list(diff.removed[:SHOWN]),
        "changed_tools": list(diff.changed[:SHOWN]),
        **_findings(found),
    }


def _findings(found: Definitions) -> dict[str, Any]:
    """What screening met, by label."""
    flagged = [{"tool": label, "found": list(met)} for label, met in found.findings.items()]
    return {"findings": flagged[:SHOWN], "dropped": list(found.dropped[:SHOWN])}


def _brief(report: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of a report, for the audit."""
    return {key: value for key, value in report.items() if isinstance(value, bool | int)}


def _line(tool: Definition, *, held: bool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "input_schema": tool.input_schema,
        "annotations": dict(tool.annotations),
        "digest": tool.digest,
        "found": list(tool.found),
        "held": held,
    }


def _extras(shown: Definitions, held: Set[str] | None) -> dict[str, Any]:
    """Prompts and templates for whoever reviews them; `held` None: all of them wait."""
    return {
        "prompts": [
            {**asdict(p), "arguments": list(p.arguments), "held": held is None or p.label in held}
            for p in shown.prompts
        ],
        "resource_templates": [
            {**asdict(t), "found": list(t.found), "held": held is None or t.label in held} for t in shown.templates
        ],
    }


def _news(pinned: Definitions, pending: Definitions, held: Set[str]) -> Definitions:
    """What of `pending` is not in force."""
    same = [label for label, digest in pending.digests.items() if pinned.digests.get(label) == digest]
    return without(pending, [label for label in same if label not in held])


def _connection(row: Any) -> Connection:
    return Connection(row.id, row.name, row.connector, row.version, row.status)


async def _stored(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID) -> Any:
    statement = select(definitions).where(
        definitions.c.tenant_id == tenant_id, definitions.c.connection_id == connection_id
    )
    return (await conn.execute(statement)).one_or_none()


async def _any_account(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID) -> UUID:
    """An account that the server can be asked with. Raises Problem `not_connected`."""
    statement = (
        select(accounts.c.id)
        .where(
            accounts.c.tenant_id == tenant_id,
            accounts.c.connection_id == connection_id,
            accounts.c.status == "active",
        )
        .order_by(accounts.c.identity_id.is_not(None), accounts.c.created_at)
        .limit(1)
    )
    found: UUID | None = await conn.scalar(statement)
    if found is None:
        told = "no account is connected: the server can only be asked with one"
        raise Problem("not_connected", told, hint="deposit a credential first", fix="admin")
    return found

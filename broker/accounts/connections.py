"""Connections: a tenant's named configurations of connectors, and the descriptions pinned for them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts.pinning import SHOWN, Refreshed, must_wait, report
from broker.accounts.specs import Specs
from broker.accounts.tables import accounts, connections, spec_blobs
from broker.accounts.views import Views
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.db.paging import Page, PageRequest, keyset
from broker.domain import CONNECTION_NAME, Caller
from broker.errors import Field, Problem
from broker.gate import revoke
from broker.identity.roles import require
from broker.ids import new_id
from broker.policy import grants
from connectors import catalog
from connectors.base import Connector
from connectors.egress import EgressPolicy, check_origin
from connectors.errors import EgressRefused, InvalidConfig
from connectors.openapi.diff import compare


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration that holds together: with defaults, and the origins its credentials may go to."""

    connector: Connector
    config: Mapping[str, Any]
    origins: tuple[str, ...]


class Connections:
    """Creates, shows, changes and removes connections."""

    def __init__(
        self,
        *,
        db: Database,
        trail: AuditTrail,
        specs: Specs,
        views: Views,
        egress: EgressPolicy,
        clock: Clock,
    ) -> None:
        self._db = db
        self._trail = trail
        self._specs = specs
        self._views = views
        self._egress = egress
        self._clock = clock

    @staticmethod
    def catalogue() -> list[dict[str, Any]]:
        """The connectors of this installation, for whoever chooses one."""
        return [dict(line) for line in catalog.describe()]

    async def create(
        self,
        caller: Caller,
        *,
        name: str,
        connector: str,
        config: Mapping[str, Any],
        default_grant: str | None,
    ) -> dict[str, Any]:
        """A new connection. Raises Problem `already_exists`, `invalid_input`, `forbidden`, `egress_refused`."""
        require(caller, "connections.write")
        if not CONNECTION_NAME.match(name):
            raise _wrong("name", "must be a lower-case letter, then up to 23 of a-z 0-9 -")
        checked = self._check(caller, connector, config)
        async with self._db.tenant(caller.tenant_id) as conn:
            if await _find(conn, caller.tenant_id, name) is not None:
                raise Problem("already_exists", f"there is a connection {name!r} already", hint="PATCH changes it")
        spec = await self._pin(checked)
        await self._tools_exist(name, checked, spec)
        connection_id = new_id()
        row = {
            "tenant_id": caller.tenant_id,
            "id": connection_id,
            "name": name,
            "connector": connector,
            "config": dict(config),
            "origins": list(checked.origins),
            "spec_digest": spec,
            "status": "active",
            "version": 1,
            "created_at": self._clock.now(),
        }
        async with self._db.tenant(caller.tenant_id) as conn:
            try:
                await conn.execute(insert(connections).values(row))
            except IntegrityError:
                told = f"there is a connection {name!r} already"
                raise Problem("already_exists", told, hint="PATCH changes it") from None
            details = {"connector": connector, "origins": list(checked.origins), "spec_digest": spec}
            await self._trail.change(conn, caller, "connection.created", connection_name=name, details=details)
            if default_grant is not None:
                await grants.insert_default(conn, self._trail, caller, connection_id, name, self._clock.now())
            await revoke.policy_changed(conn, caller.tenant_id)
        return await self.get(caller, name)

    async def get(self, caller: Caller, name: str) -> dict[str, Any]:
        """One connection's metadata. Raises Problem `unknown_connection`."""
        require(caller, "connections.read")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await _existing(conn, caller.tenant_id, name)
            return await _shown(conn, row)

    async def list(self, caller: Caller, page: PageRequest) -> Page[dict[str, Any]]:
        """The tenant's connections, oldest first."""
        require(caller, "connections.read")
        statement = select(connections).where(
            connections.c.tenant_id == caller.tenant_id, connections.c.status != "deleted"
        )
        async with self._db.tenant(caller.tenant_id) as conn:
            found = await keyset(conn, statement, (connections.c.created_at, connections.c.id), page)
            items = [await _shown(conn, row) for row in found.items]
        return Page(items, found.next_page_token)

    async def change(
        self, caller: Caller, name: str, *, config: Mapping[str, Any], version: int | None
    ) -> dict[str, Any]:
        """Replaces the configuration. Another origin makes its accounts `needs_reauth`: a credential is only ever
        sent to the origins sealed with it. Raises Problem `version_conflict` and those of `create`."""
        require(caller, "connections.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            before = await _existing(conn, caller.tenant_id, name)
        checked = self._check(caller, before.connector, config)
        _same_version(before, version)
        asked, had = config.get("spec") or {}, before.config.get("spec") or {}
        spec = before.spec_digest if asked == had else await self._pin(checked)
        await self._tools_exist(name, checked, spec)
        moved = set(checked.origins) != set(before.origins)
        async with self._db.tenant(caller.tenant_id) as conn:
            changed = await conn.execute(
                update(connections)
                .where(
                    connections.c.tenant_id == caller.tenant_id,
                    connections.c.id == before.id,
                    connections.c.version == before.version,
                    connections.c.status != "deleted",
                )
                .values(
                    config=dict(config),
                    origins=list(checked.origins),
                    spec_digest=spec,
                    pending_spec_digest=None,
                    pending_report=None,
                    version=before.version + 1,
                )
            )
            if changed.rowcount != 1:
                raise Problem("version_conflict", f"connection {name} was changed meanwhile", hint="read it again")
            if moved:
                await _need_reauth(conn, caller.tenant_id, before.id)
            details = {"version": before.version + 1, "origins_changed": moved, "spec_digest": spec}
            await self._trail.change(conn, caller, "connection.changed", connection_name=name, details=details)
            await revoke.policy_changed(conn, caller.tenant_id)
        return await self.get(caller, name)

    async def delete(self, caller: Caller, name: str, reason: str) -> dict[str, Any]:
        """Removes a connection and revokes its accounts. Names the calls still open when it returns."""
        require(caller, "connections.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await _existing(conn, caller.tenant_id, name)
            details = {"reason": reason}
            await self._trail.change(conn, caller, "connection.deleted", connection_name=name, details=details)
            revoked = await revoke.connection(conn, caller.tenant_id, row.id, reason, self._clock.now())
            await revoke.cancel(conn, revoked.open_calls)
        return {"revoked_at": revoked.at, "in_flight": [str(i) for i in revoked.in_flight]}

    async def refresh(self, caller: Caller, name: str) -> Refreshed:
        """Fetches the description again and says what changed. A change that widens or moves operations which grants
        cover waits for `accept`; anything else is pinned at once."""
        require(caller, "connections.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await _existing(conn, caller.tenant_id, name)
            patterns = await grants.operation_patterns(conn, caller.tenant_id, row.id)
        checked = self._check(caller, row.connector, row.config, known=True)
        digest = await self._pin(checked)
        if digest is None:
            raise _wrong("name", f"connection {name} has no description to refresh")
        if digest == row.spec_digest:
            return Refreshed(digest, applied=False, pending=False, report={"changed": False})
        old = None if row.spec_digest is None else await self._views.spec(row.spec_digest)
        new = await self._views.spec(digest)
        diff = None if old is None else await asyncio.to_thread(compare, old, new)
        found = report(diff)
        waits = [] if diff is None else must_wait(diff, patterns)
        if waits:
            found["waits_for"] = waits[:SHOWN]
        async with self._db.tenant(caller.tenant_id) as conn:
            values = (
                {"pending_spec_digest": digest, "pending_report": found}
                if waits
                else {"spec_digest": digest, "pending_spec_digest": None, "pending_report": None}
            )
            await self._set_spec(
                conn, caller, row, values, "connection.spec_pending" if waits else "connection.spec_pinned"
            )
        return Refreshed(digest, applied=not waits, pending=bool(waits), report=found)

    async def accept(self, caller: Caller, name: str, digest: str) -> dict[str, Any]:
        """Pins the description that waits. Raises Problem `version_conflict` if it is not the one that was reviewed."""
        require(caller, "connections.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await _existing(conn, caller.tenant_id, name)
            if row.pending_spec_digest != digest:
                raise Problem("version_conflict", "that description is not the one waiting", hint="refresh and review")
            values = {"spec_digest": digest, "pending_spec_digest": None, "pending_report": None}
            await self._set_spec(conn, caller, row, values, "connection.spec_accepted")
        return await self.get(caller, name)

    async def _set_spec(
        self, conn: AsyncConnection, caller: Caller, row: Any, values: Mapping[str, Any], action: str
    ) -> None:
        changed = await conn.execute(
            update(connections)
            .where(
                connections.c.tenant_id == caller.tenant_id,
                connections.c.id == row.id,
                connections.c.version == row.version,
            )
            .values(version=row.version + 1, **values)
        )
        if changed.rowcount != 1:
            raise Problem("version_conflict", f"connection {row.name} was changed meanwhile", hint="read it again")
        details = {
            "spec_digest": values.get("spec_digest") or values.get("pending_spec_digest"),
            "was": row.spec_digest,
        }
        await self._trail.change(conn, caller, action, connection_name=row.name, details=details)
        await revoke.policy_changed(conn, caller.tenant_id)

    def _check(self, caller: Caller, name: str, config: Mapping[str, Any], *, known: bool = False) -> Checked:
        connector = catalog.find(name)
        if connector is None:
            raise _wrong("connector", f"must be one of {', '.join(catalog.names())}")
        try:
            full = connector.check_config(config)
        except InvalidConfig as error:
            fields = [Field(f"config.{f.path}" if f.path else "config", f.problem) for f in error.fields]
            raise Problem("invalid_input", str(error)[:1000], fields=fields) from None
        origins = connector.origins(full)
        if not known and not set(origins) <= set(connector.official_origins):
            require(caller, "origins.unofficial")
        try:
            for origin in origins:
                check_origin(origin, policy=self._egress)
        except EgressRefused as error:
            raise Problem(
                "egress_refused",
                error.reason,
                fields=[Field("config.base_url", error.reason)],
                hint="an operator can start the server with --allow-upstream HOST:PORT",
            ) from None
        return Checked(connector, full, tuple(origins))

    async def _tools_exist(self, name: str, checked: Checked, spec: str | None) -> None:
        """Refuses a configuration that lists tools which the description does not have."""
        view = await self._views.compose(name, checked.connector, checked.config, checked.origins, spec)
        missing = checked.connector.missing_tools(view)
        if missing:
            told = f"the description has no operation {', '.join(missing[:10])}"
            raise _wrong("config.tools", told)

    async def _pin(self, checked: Checked) -> str | None:
        if not checked.connector.needs_spec:
            return None
        wanted: Mapping[str, Any] = checked.config["spec"]
        pinned = await self._specs.pin(wanted["source"], wanted.get("pin"), self._clock.now())
        return pinned.digest


def _wrong(path: str, problem: str) -> Problem:
    return Problem("invalid_input", f"{path}: {problem}", fields=[Field(path, problem)])


def _same_version(row: Any, version: int | None) -> None:
    if version is not None and version != row.version:
        raise Problem("version_conflict", f"it is at version {row.version} now", hint="read it again")


async def _find(conn: AsyncConnection, tenant_id: UUID, name: str) -> Any:
    statement = select(connections).where(
        connections.c.tenant_id == tenant_id, connections.c.name == name, connections.c.status != "deleted"
    )
    return (await conn.execute(statement)).one_or_none()


async def _existing(conn: AsyncConnection, tenant_id: UUID, name: str) -> Any:
    row = await _find(conn, tenant_id, name) if len(name) <= 24 else None
    if row is None:
        raise Problem("unknown_connection", f"no connection {name[:60]!r} in this tenant")
    return row


async def _need_reauth(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID) -> None:
    await conn.execute(
        update(accounts)
        .where(
            and_(
                accounts.c.tenant_id == tenant_id,
                accounts.c.connection_id == connection_id,
                accounts.c.status.in_(("active", "pending")),
            )
        )
        .values(status="needs_reauth", version=accounts.c.version + 1)
    )


async def _shown(conn: AsyncConnection, row: Any) -> dict[str, Any]:
    spec: dict[str, Any] | None = None
    if row.spec_digest is not None:
        spec = await _spec_line(conn, row.spec_digest)
    pending = None
    if row.pending_spec_digest is not None:
        pending = {"digest": row.pending_spec_digest, "report": row.pending_report}
    return {
        "id": str(row.id),
        "name": row.name,
        "connector": row.connector,
        "config": row.config,
        "origins": row.origins,
        "spec": spec,
        "pending_spec": pending,
        "status": row.status,
        "version": row.version,
        "created_at": row.created_at,
    }


async def _spec_line(conn: AsyncConnection, digest: str) -> dict[str, Any]:
    statement = select(
        spec_blobs.c.digest, spec_blobs.c.source, spec_blobs.c.operations, spec_blobs.c.fetched_at
    ).where(spec_blobs.c.digest == digest)
    row = (await conn.execute(statement)).one()
    fetched: datetime = row.fetched_at
    return {"digest": row.digest, "source": row.source, "operations": row.operations, "fetched_at": fetched}

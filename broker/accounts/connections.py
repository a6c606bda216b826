"""Connections: a tenant's named configurations of connectors, and the descriptions pinned for them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.accounts import rows
from broker.accounts.checking import Checked, check, wrong
from broker.accounts.definitions import DefinitionPins
from broker.accounts.pinning import SHOWN, Refreshed, must_wait, report
from broker.accounts.principals import budget_key, move_budgets
from broker.accounts.specs import Specs
from broker.accounts.tables import accounts, connections
from broker.accounts.views import Views
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.db.paging import Page, PageRequest, keyset
from broker.domain import CONNECTION_NAME, Caller
from broker.errors import Problem
from broker.gate import revoke
from broker.gate.principals import Principals
from broker.identity.roles import require
from broker.ids import new_id
from broker.policy import grants
from connectors import catalog
from connectors.egress import EgressPolicy
from connectors.openapi.diff import SpecDiff, compare


class Connections:
    """Creates, shows, changes and removes connections."""

    def __init__(
        self,
        *,
        db: Database,
        trail: AuditTrail,
        specs: Specs,
        views: Views,
        principals: Principals,
        egress: EgressPolicy,
        clock: Clock,
        definitions: DefinitionPins | None = None,
    ) -> None:
        self._definitions = definitions
        self._db = db
        self._trail = trail
        self._specs = specs
        self._views = views
        self._principals = principals
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
            raise wrong("name", "must be a lower-case letter, then up to 23 of a-z 0-9 -")
        checked = check(connector, config, self._egress, set_by=caller)
        async with self._db.tenant(caller.tenant_id) as conn:
            if await rows.find(conn, caller.tenant_id, name) is not None:
                raise _exists(name)
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
                raise _exists(name) from None
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
            return rows.shown(await rows.existing(conn, caller.tenant_id, name))

    async def list(self, caller: Caller, page: PageRequest) -> Page[dict[str, Any]]:
        """The tenant's connections, oldest first."""
        require(caller, "connections.read")
        statement = rows.select_connections(caller.tenant_id)
        async with self._db.tenant(caller.tenant_id) as conn:
            found = await keyset(conn, statement, (connections.c.created_at, connections.c.id), page, of="connections")
        return Page([rows.shown(row) for row in found.items], found.next_page_token)

    async def change(
        self, caller: Caller, name: str, *, config: Mapping[str, Any], version: int | None
    ) -> dict[str, Any]:
        """Replaces the configuration. Another origin makes its accounts `needs_reauth`: a credential is only ever
        sent to the origins sealed with it. Another `budget.key` gives its accounts their other budgets at once.

        Raises Problem `version_conflict` and those of `create`.
        """
        require(caller, "connections.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            before = await rows.existing(conn, caller.tenant_id, name)
        checked = check(before.connector, config, self._egress, set_by=caller)
        if version is not None and version != before.version:
            raise Problem("version_conflict", f"it is at version {before.version} now", hint="read it again")
        asked, had = config.get("spec") or {}, before.config.get("spec") or {}
        same_spec = before.spec_digest is not None and asked == had
        spec = before.spec_digest if same_spec else await self._pin(checked)
        await self._tools_exist(name, checked, spec)
        moved = set(checked.origins) != set(before.origins)
        values = {"config": dict(config), "origins": list(checked.origins), "spec_digest": spec}
        if not same_spec:
            values |= {"pending_spec_digest": None, "pending_report": None}
        details = {"version": before.version + 1, "origins_changed": moved, "spec_digest": spec}
        async with self._db.tenant(caller.tenant_id) as conn:
            await self._write(conn, before, values)
            if moved:
                await _need_reauth(conn, caller.tenant_id, before.id)
            await self._rekey(conn, before, checked)
            await self._trail.change(conn, caller, "connection.changed", connection_name=name, details=details)
            await revoke.policy_changed(conn, caller.tenant_id)
        return await self.get(caller, name)

    async def _rekey(self, conn: AsyncConnection, before: Any, checked: Checked) -> None:
        key = budget_key(checked.config)
        if key == budget_key(before.config):
            return
        await move_budgets(
            conn, self._principals, checked.connector, checked.origins[0], before.tenant_id, before.id, key
        )

    async def delete(self, caller: Caller, name: str, reason: str) -> dict[str, Any]:
        """Removes a connection and revokes its accounts. Names the calls still open when it returns."""
        require(caller, "connections.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await rows.existing(conn, caller.tenant_id, name)
            await rows.hold(conn, caller.tenant_id, row.id)
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
            row = await rows.existing(conn, caller.tenant_id, name)
        checked = check(row.connector, row.config, self._egress)
        if self._definitions is not None and row.connector == "mcp":
            return await self._definitions.refresh(caller, row)
        digest = await self._pin(checked, fresh=True)
        if digest is None:
            raise wrong("name", f"connection {name} has no description to refresh")
        if digest == row.spec_digest:
            if row.pending_spec_digest is not None:
                await self._set_spec(caller, row, _pinned(digest), "connection.spec_pinned")
            return Refreshed(digest, applied=False, pending=False, report={"changed": False})
        diff = await self._difference(row.spec_digest, digest)
        found = report(diff)
        waits = [] if diff is None else await self._waits(caller.tenant_id, row.id, diff)
        if waits:
            found["waits_for"] = waits[:SHOWN]
            values = {"pending_spec_digest": digest, "pending_report": found}
            await self._set_spec(caller, row, values, "connection.spec_pending")
        else:
            await self._set_spec(caller, row, _pinned(digest), "connection.spec_pinned")
        return Refreshed(digest, applied=not waits, pending=bool(waits), report=found)

    async def _difference(self, before: str | None, after: str) -> SpecDiff | None:
        if before is None:
            return None
        old, new = await self._views.spec(before), await self._views.spec(after)
        return await asyncio.to_thread(compare, old, new)

    async def _waits(self, tenant_id: UUID, connection_id: UUID, diff: SpecDiff) -> Sequence[str]:
        async with self._db.tenant(tenant_id) as conn:
            patterns = await grants.operation_patterns(conn, tenant_id, connection_id)
        return await asyncio.to_thread(must_wait, diff, patterns)

    async def accept(self, caller: Caller, name: str, digest: str) -> dict[str, Any]:
        """Pins the description that waits. Raises Problem `version_conflict` if it is not the one that was reviewed."""
        require(caller, "connections.write")
        async with self._db.tenant(caller.tenant_id) as conn:
            row = await rows.existing(conn, caller.tenant_id, name)
        if self._definitions is not None and row.connector == "mcp":
            await self._definitions.accept(caller, row, digest)
            return await self.get(caller, name)
        if row.pending_spec_digest != digest:
            raise Problem("version_conflict", "that description is not the one waiting", hint="refresh and review")
        await self._set_spec(caller, row, _pinned(digest), "connection.spec_accepted")
        return await self.get(caller, name)

    async def _set_spec(self, caller: Caller, row: Any, values: Mapping[str, Any], action: str) -> None:
        digest = values.get("spec_digest") or values.get("pending_spec_digest")
        details = {"spec_digest": digest, "was": row.spec_digest}
        async with self._db.tenant(caller.tenant_id) as conn:
            await self._write(conn, row, values)
            await self._trail.change(conn, caller, action, connection_name=row.name, details=details)
            await revoke.policy_changed(conn, caller.tenant_id)

    @staticmethod
    async def _write(conn: AsyncConnection, row: Any, values: Mapping[str, Any]) -> None:
        """The connection's next version. Raises Problem `version_conflict` where `row` is no longer the latest."""
        changed = await conn.execute(
            update(connections)
            .where(
                connections.c.tenant_id == row.tenant_id,
                connections.c.id == row.id,
                connections.c.version == row.version,
                connections.c.status != "deleted",
            )
            .values(version=row.version + 1, **values)
        )
        if changed.rowcount != 1:
            raise Problem("version_conflict", f"connection {row.name} was changed meanwhile", hint="read it again")

    async def _tools_exist(self, name: str, checked: Checked, spec: str | None) -> None:
        """Refuses a configuration that lists tools which the description does not have."""
        view = await self._views.compose(name, checked.connector, checked.config, checked.origins, spec)
        missing = checked.connector.missing_tools(view)
        if missing:
            told = f"the description has no operation {', '.join(missing[:10])}"
            raise wrong("config.tools", told)

    async def _pin(self, checked: Checked, *, fresh: bool = False) -> str | None:
        if not checked.connector.needs_spec:
            return None
        wanted: Mapping[str, Any] = checked.config["spec"]
        pinned = await self._specs.pin(wanted["source"], wanted.get("pin"), self._clock.now(), fresh=fresh)
        return pinned.digest


def _exists(name: str) -> Problem:
    return Problem("already_exists", f"there is a connection {name!r} already", hint="PATCH changes it")


def _pinned(digest: str) -> dict[str, Any]:
    return {"spec_digest": digest, "pending_spec_digest": None, "pending_report": None}


async def _need_reauth(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID) -> None:
    """A deposit under way is left alone: it finds that the connection has changed and takes itself away."""
    await conn.execute(
        update(accounts)
        .where(
            accounts.c.tenant_id == tenant_id,
            accounts.c.connection_id == connection_id,
            accounts.c.status == "active",
        )
        .values(status="needs_reauth", version=accounts.c.version + 1)
    )

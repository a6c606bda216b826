"""Writing the audit: rows for the gate, changes in their own transaction, refusals under flood control."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.audit.events import Change, Event, ExecutionDone, ExecutionLost, Intent, Outcome, Refusal, RefusalFacts
from broker.audit.floods import Flood, FloodGate
from broker.audit.rows import COLUMNS, EventRow, arguments, canonical, draft, stored_canonical
from broker.clock import Clock
from broker.db import functions
from broker.db.database import Database
from broker.domain import Caller
from broker.ids import new_id
from broker.metrics import Metrics
from vault.errors import KeyUnavailable, MacMismatch
from vault.store import Mac, Vault

MAC_PURPOSE: Final = "audit-row"
DIGEST_PURPOSE: Final = "arguments"

_RECORD: Final = "select broker.record{v}($1)"
_INSERT: Final = text(
    f"insert into audit.events ({', '.join(COLUMNS)}) values ("  # noqa: S608 - column names of our own
    + ", ".join("cast(:body as jsonb)" if name == "body" else f":{name}" for name in COLUMNS)
    + ")"
)


class AuditTrail:
    """Builds and writes audit rows. One per process: `boot` names this process's life, `counter` counts its
    rows.

    Numbers are given out without gaps when rows are built. A gap in the table is therefore a row that was
    built and not committed (its transaction failed, or the process died) or one that was deleted; see
    README.md.
    """

    def __init__(self, *, vault_: Vault, db: Database, node: str, boot: UUID, clock: Clock, metrics: Metrics) -> None:
        self._vault = vault_
        self._db = db
        self._node = node
        self._boot = boot
        self._clock = clock
        self._metrics = metrics
        self._counter = 0
        self._floods: FloodGate[Refusal] = FloodGate()

    @property
    def boot(self) -> UUID:
        """This life of the process."""
        return self._boot

    # rows

    def try_row(self, event: Event) -> EventRow | None:
        """`row` without waiting; None only when the tenant's evidence key is not held."""
        args_digest = None
        if isinstance(event, Intent):
            tenant_id = event.facts.tenant_id
            args_digest = self._vault.try_digest(tenant_id, DIGEST_PURPOSE, arguments(event.prepared))
            if args_digest is None:
                return None
        kind, tenant_id, at, middle = draft(event, args_digest)
        counter = self._counter + 1
        origin = (self._clock.now(), self._node, self._boot, counter)
        columns = (tenant_id, at, new_id(), kind, *middle, *origin)
        mac = self._vault.try_mac(tenant_id, MAC_PURPOSE, canonical(columns))
        if mac is None:
            return None
        self._counter = counter
        return EventRow._make((*columns, mac.key_version, mac.digest, None))

    async def row(self, event: Event) -> EventRow:
        """The row of `event`, authenticated and numbered. Raises vault.errors.VaultError."""
        for _ in range(3):
            row = self.try_row(event)
            if row is not None:
                return row
            await self._vault.mac(_tenant_of(event), MAC_PURPOSE, b"")  # loads the key
        raise KeyUnavailable("the tenant's evidence key cannot be held")

    async def write(self, event: Event) -> UUID:
        """Writes `event` in a transaction of its own; returns its id. Raises as `row`, and the driver's
        errors.
        """
        row = await self.row(event)
        await self._db.pool.execute(functions.call(_RECORD), row.as_record())
        return row.id

    # changes

    async def change(
        self,
        conn: AsyncConnection,
        caller: Caller | None,
        action: str,
        *,
        identifier: str | None = None,
        connection_name: str | None = None,
        account_id: UUID | None = None,
        details: Mapping[str, Any] | None = None,
        tenant_id: UUID | None = None,
        actor: str = "system",
    ) -> UUID:
        """Writes a change into the caller's own transaction, which is scoped to the tenant; returns the
        event's id.

        `tenant_id` and `actor` (`system:<job>`) are needed where there is no `caller`; `tenant_id` also where
        a platform admin changes another tenant than the one acted in.
        """
        where = tenant_id if tenant_id is not None else None if caller is None else caller.tenant_id
        if where is None:
            raise ValueError("a change belongs to a tenant")
        event = Change(
            tenant_id=where,
            at=self._clock.now(),
            action=action,
            caller=caller,
            actor=actor if caller is None else caller.actor,
            identifier=identifier,
            connection_name=connection_name,
            account_id=account_id,
            details=details or {},
        )
        row = await self.row(event)
        await conn.execute(_INSERT, {name: getattr(row, name) for name in COLUMNS})
        return row.id

    # refusals

    async def refusal(self, caller: Caller, refusal: RefusalFacts) -> None:
        """Records a refusal in a short transaction of its own.

        20 a minute for each bearer, identity and reason are written; the rest are counted and written as one
        event when the minute is over. Raises as `write`: a refusal that cannot be recorded is answered as
        unavailable.
        """
        now = self._clock.now()
        event = Refusal(caller, now, refusal)
        identity = None if caller.identity is None else caller.identity.id
        key = (caller.tenant_id, caller.bearer.id, identity, refusal.reason)
        wanted, due = self._floods.admit(key, event, now)
        if wanted:
            await self.write(event)
        await self._write_floods(due, now)

    async def flush(self, *, everything: bool = False) -> int:
        """Writes the counts that are due (all of them at the shut-down); how many. A job calls it every few
        seconds.
        """
        now = self._clock.now()
        return await self._write_floods(self._floods.close() if everything else self._floods.due(now), now)

    async def _write_floods(self, floods: Iterable[Flood[Refusal]], now: datetime) -> int:
        written = 0
        for flood in floods:
            last = flood.context
            await self.write(Refusal(last.caller, now, last.facts, flood.suppressed, flood.since))
            self._metrics.suppressed(flood.suppressed)
            written += 1
        return written


def _tenant_of(event: Event) -> UUID:
    match event:
        case Intent() | Outcome():
            return event.facts.tenant_id
        case Change() | ExecutionLost():
            return event.tenant_id
        case Refusal() | ExecutionDone():
            return event.caller.tenant_id


async def verify_rows(vault_: Vault, rows: Iterable[Mapping[str, Any]]) -> list[UUID]:
    """The ids of the `rows` (every column by name, `body` as text or decoded) whose MAC does not hold. Empty:
    all hold.

    Finds edited and invented rows. Deleted ones show as gaps in `counter` within one `boot`.
    """
    wrong: list[UUID] = []
    for row in rows:
        mac = Mac(row["mac_key"], bytes(row["mac"]))
        try:
            await vault_.verify_mac(row["tenant_id"], MAC_PURPOSE, stored_canonical(row), mac)
        except MacMismatch:
            wrong.append(row["id"])
    return wrong

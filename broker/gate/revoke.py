"""Taking authority away, in the caller's own transaction: lock exclusively, flip, name what is still open.

When the transaction has committed, nothing more is admitted on that authority, on any node. Take these as the *last*
step before the commit: the exclusive lock holds up admissions until then. The open calls named have been sent or may
be; `cancel` tells every process to stop them (a hint), `inflight.Drain` waits until they are settled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.db import functions

ConnectionStatus = Literal["active", "suspended", "deleted"]
TenantStatus = Literal["active", "suspended", "closed"]

CANCEL_CHANNEL = "keyreeve_cancel"
CHANGED_CHANNEL = "keyreeve_changed"
"""Told, with a tenant's id, when something was taken away in it or its policy has changed. A hint, like the other."""
_CHUNK = 150  # call ids in one notification: PostgreSQL bounds a payload to 8,000 bytes


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that was admitted before the revocation and is not settled yet."""

    tenant_id: UUID
    call_id: UUID
    execution_id: UUID
    account_id: UUID


@dataclass(frozen=True, slots=True)
class Revoked:
    """`at` None: there is no such thing. `ids` are the bearers that this very act revoked (the whole family)."""

    at: datetime | None
    open_calls: tuple[OpenCall, ...]
    ids: tuple[UUID, ...] = ()

    @property
    def in_flight(self) -> list[UUID]:
        """The executions with a call still open, each once, in a stable order."""
        return sorted({call.execution_id for call in self.open_calls})


@dataclass(frozen=True, slots=True)
class RevokedAccount:
    """An account that went with its identity."""

    id: UUID
    connection_name: str
    revoked_at: datetime


@dataclass(frozen=True, slots=True)
class RevokedIdentity(Revoked):
    """What went with an identity in this very act."""

    sessions: tuple[UUID, ...] = ()
    keys: tuple[UUID, ...] = ()
    accounts: tuple[RevokedAccount, ...] = ()


async def policy_changed(conn: AsyncConnection, tenant_id: UUID) -> int:
    """Says that policy would now answer differently; returns the new policy version. Waits out running admissions."""
    version: int = (await _one(conn, "select broker.policy_changed{v}(:tenant)", tenant=tenant_id))[0]
    return version


async def hold_account(conn: AsyncConnection, account_id: UUID) -> None:
    """Keeps an account from being revoked until the transaction ends: take it before giving it another credential, then
    look again whether it still stands. An offboarding sees only what was committed before it began to flip."""
    await _one(conn, "select broker.gate_lock{v}('account', :account, false)", account=account_id)


async def account(conn: AsyncConnection, tenant_id: UUID, account_id: UUID, reason: str, now: datetime) -> Revoked:
    """Revokes a connected account and all versions of its credential. Repeating it answers the first time."""
    row = await _one(
        conn,
        "select * from broker.revoke_account{v}(:tenant, :account, :reason, :now)",
        tenant=tenant_id,
        account=account_id,
        reason=reason,
        now=now,
    )
    return Revoked(row.revoked_at, _open(row.open_calls))


async def bearer(conn: AsyncConnection, home: UUID, bearer_id: UUID, reason: str, now: datetime) -> Revoked:
    """Revokes a key or session and everything minted from it, in every tenant. `home` is the tenant of its row."""
    row = await _one(
        conn,
        "select * from broker.revoke_bearer{v}(:tenant, :bearer, :reason, :now)",
        tenant=home,
        bearer=bearer_id,
        reason=reason,
        now=now,
    )
    return Revoked(row.revoked_at, _open(row.open_calls), tuple(row.revoked or ()))


async def identity(
    conn: AsyncConnection, tenant_id: UUID, identity_id: UUID, reason: str, now: datetime
) -> RevokedIdentity:
    """Disables an identity; revokes its sessions, the agent keys that name it alone, and its own accounts."""
    row = await _one(
        conn,
        "select * from broker.revoke_identity{v}(:tenant, :identity, :reason, :now)",
        tenant=tenant_id,
        identity=identity_id,
        reason=reason,
        now=now,
    )
    accounts = tuple(
        RevokedAccount(UUID(a["id"]), a["connection_name"], datetime.fromisoformat(a["revoked_at"]))
        for a in row.accounts or ()
    )
    sessions, keys = tuple(row.sessions or ()), tuple(row.keys or ())
    return RevokedIdentity(row.disabled_at, _open(row.open_calls), (*sessions, *keys), sessions, keys, accounts)


async def connection(
    conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, reason: str, now: datetime
) -> Revoked:
    """Deletes a connection for good, and its accounts with it. Says `policy_changed` itself."""
    return await set_connection_status(conn, tenant_id, connection_id, "deleted", reason, now)


async def set_connection_status(
    conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, status: ConnectionStatus, reason: str, now: datetime
) -> Revoked:
    """Suspends, resumes or deletes a connection. Says `policy_changed` itself."""
    row = await _one(
        conn,
        "select * from broker.set_connection{v}(:tenant, :connection, :status, :reason, :now)",
        tenant=tenant_id,
        connection=connection_id,
        status=status,
        reason=reason,
        now=now,
    )
    return Revoked(row.changed_at, _open(row.open_calls))


async def set_tenant_status(conn: AsyncConnection, tenant_id: UUID, status: TenantStatus, now: datetime) -> Revoked:
    """Suspends, resumes or closes (for good) a tenant. Says `policy_changed` itself."""
    row = await _one(
        conn, "select * from broker.set_tenant{v}(:tenant, :status, :now)", tenant=tenant_id, status=status, now=now
    )
    return Revoked(row.changed_at, _open(row.open_calls))


async def cancel(conn: AsyncConnection, calls: Iterable[OpenCall]) -> None:
    """Asks every process to stop these calls once the transaction commits. A hint: it may be lost."""
    ids = [str(call.call_id) for call in calls]
    for start in range(0, len(ids), _CHUNK):
        payload = ",".join(ids[start : start + _CHUNK])
        await conn.execute(text("select pg_notify(:channel, :ids)"), {"channel": CANCEL_CHANNEL, "ids": payload})


async def _one(conn: AsyncConnection, statement: str, **values: Any) -> Any:
    return (await conn.execute(text(functions.call(statement)), values)).one()


def _open(found: Sequence[dict[str, str]] | None) -> tuple[OpenCall, ...]:
    return tuple(
        OpenCall(UUID(c["tenant_id"]), UUID(c["call_id"]), UUID(c["execution_id"]), UUID(c["account_id"]))
        for c in found or ()
    )

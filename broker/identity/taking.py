"""What this package asks of whoever takes authority away (`gate/revoke.py`), and what it holds while it gives
some.

The gate stands above this package, so the functions are handed in. Each runs in the caller's transaction,
which is scoped to the tenant, and takes its object's lock exclusively; when that transaction has committed,
nothing new is admitted on the object's authority anywhere.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.db import functions
from broker.domain import Caller
from broker.errors import Problem

_LOCK: Final = "select broker.gate_lock{v}(:kind, :id, false)"
_FAMILY: Final = "select broker.bearer_lock{v}(:root, :home, false, false)"
_SCOPE: Final = text("select set_config('keyreeve.tenant', :tenant, true)")
_MINTER: Final = text(
    """
    select b.revoked_at is null and (b.expires_at is null or b.expires_at > clock_timestamp()) as stands
      from broker.bearers b where b.tenant_id = :tenant and b.id = :id"""
)


class OpenCall(Protocol):
    """A call that was admitted before the revocation and is not settled yet."""

    @property
    def call_id(self) -> UUID: ...
    @property
    def execution_id(self) -> UUID: ...
    @property
    def account_id(self) -> UUID: ...


class Revoked(Protocol):
    """What was taken away. `at` None: there is none such. `ids`: the bearers revoked by this very act."""

    @property
    def at(self) -> datetime | None: ...
    @property
    def open_calls(self) -> Sequence[OpenCall]: ...
    @property
    def ids(self) -> Sequence[UUID]: ...
    @property
    def in_flight(self) -> Sequence[UUID]: ...


class RevokedAccount(Protocol):
    """An account that went with its identity."""

    @property
    def id(self) -> UUID: ...
    @property
    def connection_name(self) -> str: ...
    @property
    def revoked_at(self) -> datetime: ...


class RevokedIdentity(Revoked, Protocol):
    """What went with an identity."""

    @property
    def sessions(self) -> Sequence[UUID]: ...
    @property
    def keys(self) -> Sequence[UUID]: ...
    @property
    def accounts(self) -> Sequence[RevokedAccount]: ...


class Revocation(Protocol):
    """`gate/revoke.py`, as far as this package uses it: the module itself fits."""

    async def policy_changed(self, conn: AsyncConnection, tenant_id: UUID) -> int:
        """Says that policy would now answer differently."""

    async def bearer(self, conn: AsyncConnection, home: UUID, bearer_id: UUID, reason: str, now: datetime) -> Revoked:
        """Revokes a key or session and everything minted from it, in every tenant."""

    async def identity(
        self, conn: AsyncConnection, tenant_id: UUID, identity_id: UUID, reason: str, now: datetime
    ) -> RevokedIdentity:
        """Disables an identity; revokes its sessions, the agent keys that name it alone, its own accounts."""

    async def cancel(self, conn: AsyncConnection, calls: Any) -> None:
        """Asks every process to stop these calls once the transaction commits."""


class Drain(Protocol):
    """`gate.inflight.Drain`, as far as this package uses it."""

    async def open(self, calls: Any, seconds: float) -> frozenset[UUID]:
        """Waits at most `seconds` until the calls are settled; the ids of those still open."""


class GivingBack(Protocol):
    """`accounts.upstream_oauth.giving_back.GivingBack`, as far as this package uses it."""

    async def give_back(self, caller: Caller, account_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        """Gives the credentials of revoked accounts back at their upstreams; how each stands after a few seconds."""


async def scope(conn: AsyncConnection, tenant_id: UUID) -> None:
    """From here on the transaction sees and writes `tenant_id`'s rows only."""
    await conn.execute(_SCOPE, {"tenant": str(tenant_id)})


async def hold_identity(conn: AsyncConnection, identity_id: UUID) -> None:
    """Till the end of the transaction nobody takes the identity away; whoever was doing so has finished."""
    await conn.execute(text(functions.call(_LOCK)), {"kind": "identity", "id": identity_id})


async def hold_minter(conn: AsyncConnection, caller: Caller) -> None:
    """Till the end of the transaction nobody revokes the caller's bearer, and it stands now: nothing is ever
    minted from a key that was revoked first. Raises Problem `unauthenticated`."""
    bearer = caller.bearer
    await conn.execute(text(functions.call(_FAMILY)), {"root": bearer.root_id, "home": bearer.tenant_id})
    abroad = bearer.tenant_id != caller.tenant_id
    if abroad:
        await scope(conn, bearer.tenant_id)
    # A new statement: its snapshot is younger than the wait for the lock.
    row: Any = (await conn.execute(_MINTER, {"tenant": bearer.tenant_id, "id": bearer.id})).one_or_none()
    if row is None or not row.stands:
        raise Problem("unauthenticated", "the key or token was revoked or has expired meanwhile")
    if abroad:
        await scope(conn, caller.tenant_id)

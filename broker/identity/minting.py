"""Making a bearer's row. Who may make which is decided by `keys.py`, `sessions.py` and `tenants.py`; here it
is bound to its parent and never outlives it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.domain import BearerKind, Caller
from broker.identity.tables import bearers
from broker.identity.tokens import MintedToken, mint
from broker.ids import new_id


@dataclass(frozen=True, slots=True)
class Minted:
    """A bearer that was just made. Its token is shown to whoever asked and kept nowhere."""

    id: UUID
    token: MintedToken
    expires_at: datetime | None


async def mint_bearer(
    conn: AsyncConnection,
    tenant_id: UUID,
    kind: BearerKind,
    caller: Caller | None,
    now: datetime,
    *,
    expires_at: datetime | None,
    **values: Any,
) -> Minted:
    """Inserts a bearer of `tenant_id`, to which the transaction is scoped, as a child of the caller's.

    The caller's bearer is held (`taking.hold_minter`) by whoever calls this. It belongs to its parent's
    family: one root, one lock. Without a caller (the first start) it is a root. It never outlives its parent,
    whatever was asked.
    """
    parent = None if caller is None else caller.bearer
    if parent is not None and parent.expires_at is not None:
        expires_at = parent.expires_at if expires_at is None else min(expires_at, parent.expires_at)
    token, bearer_id = mint(kind, tenant_id), new_id()
    await conn.execute(
        insert(bearers).values(
            tenant_id=tenant_id,
            id=bearer_id,
            kind=kind,
            token_hash=token.digest,
            root_id=bearer_id if parent is None else parent.root_id,
            parent_id=None if parent is None else parent.id,
            parent_tenant_id=None if parent is None else parent.tenant_id,
            created_at=now,
            expires_at=expires_at,
            **values,
        )
    )
    return Minted(bearer_id, token, expires_at)

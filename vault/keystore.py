"""Where wrapped KEKs are kept, and how they are read and first made."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Row, Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.binding import KEY_PURPOSES, PLATFORM, KeyPurpose
from vault.errors import InvalidRequest, KeyDestroyed, KeyMissing
from vault.kek import KEK_BYTES, Kek
from vault.keys import RootKeyProvider, WrappedKey
from vault.tables import tenant_keys

TenantScope = Callable[[UUID], AbstractAsyncContextManager[AsyncConnection]]
"""Opens a transaction in which `keyreeve.tenant` is the given tenant, and commits it on a clean exit."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One row of `vault.tenant_keys`. `wrapped` is None once the key was destroyed."""

    tenant_id: UUID
    purpose: KeyPurpose
    version: int
    root_key_id: str
    wrapped: bytes | None = field(repr=False)
    retired: bool = False


class KeyStore(Protocol):
    """Reads committed wrapped KEKs. Any exception counts as outage."""

    async def load(self, tenant_id: UUID, purpose: KeyPurpose, version: int | None) -> StoredKey | None:
        """The key of that version, or the newest that is not retired (None). None if there is none."""
        ...


class SqlKeyStore:
    """Reads them from PostgreSQL, each load in a transaction of its own."""

    def __init__(self, tenant_scope: TenantScope) -> None:
        self._tenant_scope = tenant_scope

    async def load(self, tenant_id: UUID, purpose: KeyPurpose, version: int | None) -> StoredKey | None:
        async with self._tenant_scope(tenant_id) as conn:
            return await read_key(conn, tenant_id, purpose, version)


def _query(tenant_id: UUID, purpose: KeyPurpose, version: int | None) -> Select[UUID, str, int, str, bytes]:
    keys = tenant_keys.c
    query = select(keys.tenant_id, keys.purpose, keys.version, keys.root_key_id, keys.wrapped, keys.retired_at).where(
        keys.tenant_id == tenant_id, keys.purpose == purpose
    )
    if version is None:
        return query.where(keys.retired_at.is_(None)).order_by(keys.version.desc()).limit(1)
    return query.where(keys.version == version)


async def read_key(
    conn: AsyncConnection, tenant_id: UUID, purpose: KeyPurpose, version: int | None, *, share: bool = False
) -> StoredKey | None:
    """As `KeyStore.load`, within the caller's transaction.

    `share` locks the row until it ends, so that nobody retires or destroys the key under what is being
    sealed.
    """
    query = _query(tenant_id, purpose, version)
    row = (await conn.execute(query.with_for_update(read=True) if share else query)).one_or_none()
    return None if row is None else _stored(row)


def _stored(row: Row[*tuple[Any, ...]]) -> StoredKey:
    return StoredKey(row.tenant_id, row.purpose, row.version, row.root_key_id, row.wrapped, row.retired_at is not None)


def context_of(tenant_id: UUID, purpose: KeyPurpose, version: int) -> dict[str, str]:
    """What a wrapped KEK is bound to at the root provider."""
    return {"tenant": str(tenant_id), "purpose": purpose, "version": str(version)}


async def unwrap_kek(provider: RootKeyProvider, stored: StoredKey | None) -> Kek:
    """The opened KEK of a stored row.

    Raises:
        KeyMissing: there is no row, or no root key of the id that wrapped it.
        KeyDestroyed: the row says so.
        SealedDoesNotOpen: the row was edited, or belongs to another root key.
        Whatever the provider raises.
    """
    if stored is None:
        raise KeyMissing("no such tenant key")
    if stored.wrapped is None:
        raise KeyDestroyed(f"the tenant's {stored.purpose} key version {stored.version} was destroyed")
    context = context_of(stored.tenant_id, stored.purpose, stored.version)
    # in one expression: no frame holds the raw key
    return Kek(
        stored.tenant_id,
        stored.purpose,
        stored.version,
        await provider.unwrap(stored.root_key_id, stored.wrapped, context),
    )


async def wrap_new(
    provider: RootKeyProvider,
    tenant_id: UUID,
    purpose: KeyPurpose,
    version: int,
    random: Callable[[int], bytes],
) -> WrappedKey:
    """A new random KEK, only in its wrapped form."""
    return await provider.wrap(random(KEK_BYTES), context_of(tenant_id, purpose, version))


async def insert_key(
    conn: AsyncConnection,
    tenant_id: UUID,
    purpose: KeyPurpose,
    version: int,
    wrapped: WrappedKey,
    now: datetime,
) -> bool:
    """Whether the row was new. An existing version is never overwritten: what it sealed would be lost."""
    statement = (
        insert(tenant_keys)
        .values(
            tenant_id=tenant_id,
            purpose=purpose,
            version=version,
            root_key_id=wrapped.key_id,
            wrapped=wrapped.blob,
            created_at=require_aware(now),
        )
        .on_conflict_do_nothing()
        .returning(tenant_keys.c.version)
    )
    return (await conn.execute(statement)).one_or_none() is not None


def purposes_of(tenant_id: UUID) -> tuple[KeyPurpose, ...]:
    """Both, but the platform holds no credentials."""
    return ("evidence",) if tenant_id == PLATFORM else KEY_PURPOSES


def require_aware(now: datetime) -> datetime:
    """`now`, if it has a time zone.

    Raises:
        InvalidRequest: it has none.
    """
    if now.tzinfo is None:
        raise InvalidRequest("now must be a UTC time with its zone")
    return now

"""Rotation and destruction of keys, in steps that can be stopped anywhere and run again.

A new KEK:       rotate_kek → rewrap_batch until nothing remains → retire_unused
A new root key:  FileRootKey.rotate, restart all → rewrap_root for every tenant and PLATFORM → FileRootKey.forget
A tenant's end:  destroy_tenant_keys, then `Keyring.evict` on every node (else gone from their caches within the TTL)

Evidence KEKs rotate for what is sealed later; their old versions are never retired or destroyed by rotation,
because kept results and the audit trail's MACs refer to them. Only `destroy_tenant_keys` ends them, when
retention does.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.binding import MAX_VERSION, PLATFORM, CredentialBinding, KeyPurpose
from vault.envelope import rewrap
from vault.errors import InvalidBinding, InvalidRequest, KeyDestroyed, KeyFixed, KeyMissing, SealedDoesNotOpen
from vault.kek import Kek
from vault.keyring import Keyring
from vault.keys import RootKeyProvider
from vault.keystore import TenantScope, context_of, insert_key, read_key, require_aware, wrap_new
from vault.tables import credentials, tenant_keys

MAX_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """One batch's result.

    `done` rows re-wrapped; `remaining` rows still under an older KEK; `broken` rows of this batch that did
    not open and were left as they are; `after` where the next batch starts, None at the end.
    """

    done: int
    remaining: int
    broken: tuple[UUID, ...]
    after: UUID | None


async def rotate_kek(
    keyring: Keyring,
    tenant_scope: TenantScope,
    tenant_id: UUID,
    purpose: KeyPurpose,
    now: datetime,
    *,
    only_if_before: datetime | None = None,
) -> int:
    """Make the next KEK version and return the newest version.

    With `only_if_before` nothing is made when the newest was created at or after that moment: give a
    command's start, and running the command again after an interruption rotates no tenant twice.

    Raises:
        KeyFixed: the platform key.
        KeyMissing, KeyDestroyed: the tenant has no key to follow.
    """
    _refuse_platform(tenant_id)
    require_aware(now)
    keys = tenant_keys.c
    query = (
        select(keys.version, keys.wrapped, keys.created_at)
        .where(keys.tenant_id == tenant_id, keys.purpose == purpose)
        .order_by(keys.version.desc())
        .limit(1)
    )
    async with tenant_scope(tenant_id) as conn:
        newest = (await conn.execute(query)).one_or_none()
        if newest is None:
            raise KeyMissing("the tenant has no key to rotate")
        if newest.wrapped is None:
            raise KeyDestroyed(f"the tenant's {purpose} keys were destroyed")
        if only_if_before is not None and newest.created_at >= only_if_before:
            return int(newest.version)
        version = int(newest.version) + 1
        if version > MAX_VERSION:
            raise InvalidRequest("key versions are used up")
        wrapped = await wrap_new(keyring.provider, tenant_id, purpose, version, os.urandom)
        # where another process rotates at this moment, this waits and adds nothing: one rotation, not two
        await insert_key(conn, tenant_id, purpose, version, wrapped, now)
    keyring.evict(tenant_id)
    return version


async def rewrap_batch(
    keyring: Keyring, conn: AsyncConnection, tenant_id: UUID, limit: int, *, after: UUID | None = None
) -> Rewrapped:
    """Re-wrap up to `limit` (1 to 10,000) credentials' DEKs to the newest `credentials` KEK, in order of id.

    Each row is written by compare-and-set on its KEK version and bytes: a concurrent change wins and is
    counted as remaining. Payloads are neither decrypted nor changed.
    """
    if not 1 <= limit <= MAX_BATCH:
        raise InvalidRequest(f"a batch is 1 to {MAX_BATCH} rows")
    newest = await keyring.open_stored(await read_key(conn, tenant_id, "credentials", None, share=True))
    rows = credentials.c
    older = (rows.tenant_id == tenant_id) & (rows.kek_version < newest.version)
    query = select(rows.id, rows.account_id, rows.version, rows.kind, rows.origins, rows.kek_version, rows.sealed)
    query = query.where(older).order_by(rows.id).limit(limit)
    if after is not None:
        query = query.where(rows.id > after)
    batch = (await conn.execute(query)).all()
    opened: dict[int, Kek] = {}
    done = 0
    broken: list[UUID] = []
    for row in batch:
        if row.kek_version not in opened:
            stored = await read_key(conn, tenant_id, "credentials", row.kek_version)
            opened[row.kek_version] = await keyring.open_stored(stored)
        try:
            binding = CredentialBinding(tenant_id, row.account_id, row.id, row.version, row.kind, tuple(row.origins))
            sealed = rewrap(opened[row.kek_version], newest, binding, row.sealed)
        except (SealedDoesNotOpen, InvalidBinding):
            broken.append(row.id)
            continue
        same = (rows.id == row.id) & (rows.kek_version == row.kek_version) & (rows.sealed == row.sealed)
        statement = update(credentials).where(rows.tenant_id == tenant_id, same)
        written = await conn.execute(statement.values(sealed=sealed, kek_version=newest.version))
        done += written.rowcount
    remaining = await conn.scalar(select(func.count()).select_from(credentials).where(older))
    return Rewrapped(done, remaining or 0, tuple(broken), batch[-1].id if len(batch) == limit else None)


async def retire_unused(conn: AsyncConnection, tenant_id: UUID, now: datetime) -> tuple[int, ...]:
    """Retire the tenant's `credentials` KEK versions below the newest that no credential uses; which they
    were.

    The scan and the mark are one statement, and sealing holds its key row shared, so no credential is being
    sealed under what this retires. A retired key still opens; it only seals nothing new.
    """
    keys, rows = tenant_keys.c, credentials.c
    of_tenant = (keys.tenant_id == tenant_id) & (keys.purpose == "credentials")
    newest = await conn.scalar(select(func.max(keys.version)).where(of_tenant))
    if newest is None:
        return ()
    candidates = select(keys.version).where(of_tenant, keys.version < newest, keys.retired_at.is_(None))
    # waits for those who seal under them; what they sealed is seen by the next statement
    await conn.execute(candidates.with_for_update())
    used = exists().where(rows.tenant_id == tenant_id, rows.kek_version == keys.version)
    statement = (
        update(tenant_keys)
        .where(of_tenant, keys.version < newest, keys.retired_at.is_(None), ~used)
        .values(retired_at=require_aware(now))
        .returning(keys.version)
    )
    return tuple(sorted((await conn.execute(statement)).scalars()))


async def rewrap_root(conn: AsyncConnection, tenant_id: UUID, provider: RootKeyProvider) -> int:
    """Wrap the tenant's KEKs under the current root key; how many were changed. Run it for `PLATFORM` too.

    Raises:
        Whatever the provider raises, `KeyMissing` where a previous root key is not loaded.
    """
    keys = tenant_keys.c
    query = select(keys.purpose, keys.version, keys.root_key_id, keys.wrapped).where(
        keys.tenant_id == tenant_id, keys.root_key_id != provider.current_key_id, keys.wrapped.is_not(None)
    )
    changed = 0
    for row in (await conn.execute(query)).all():
        context = context_of(tenant_id, row.purpose, row.version)
        # in one expression: no frame holds the raw key
        wrapped = await provider.wrap(await provider.unwrap(row.root_key_id, row.wrapped, context), context)
        statement = update(tenant_keys).where(
            keys.tenant_id == tenant_id,
            keys.purpose == row.purpose,
            keys.version == row.version,
            keys.root_key_id == row.root_key_id,
            keys.wrapped == row.wrapped,
        )
        written = await conn.execute(statement.values(root_key_id=wrapped.key_id, wrapped=wrapped.blob))
        changed += written.rowcount
    return changed


async def root_keys_in_use(conn: AsyncConnection, tenant_id: UUID) -> frozenset[str]:
    """Ids of the root keys that the tenant's KEKs still need."""
    keys = tenant_keys.c
    query = select(keys.root_key_id).distinct()
    query = query.where(keys.tenant_id == tenant_id, keys.wrapped.is_not(None))
    return frozenset((await conn.execute(query)).scalars())


async def destroy_tenant_keys(
    keyring: Keyring, conn: AsyncConnection, tenant_id: UUID, purpose: KeyPurpose, now: datetime
) -> int:
    """Destroy all versions of one of the tenant's KEKs; how many there were. What they sealed is gone.

    Final once committed, but for backups, which keep the wrapped keys until they expire. Evict on every node
    after the commit: a load between this and the commit would still be kept for one TTL.

    Raises:
        KeyFixed: the platform key.
    """
    _refuse_platform(tenant_id)
    keys = tenant_keys.c
    statement = (
        update(tenant_keys)
        .where(keys.tenant_id == tenant_id, keys.purpose == purpose, keys.wrapped.is_not(None))
        .values(wrapped=None, destroyed_at=require_aware(now))
    )
    destroyed = (await conn.execute(statement)).rowcount
    keyring.evict(tenant_id)
    return destroyed


def _refuse_platform(tenant_id: UUID) -> None:
    if tenant_id == PLATFORM:
        raise KeyFixed("the platform key is neither rotated nor destroyed")

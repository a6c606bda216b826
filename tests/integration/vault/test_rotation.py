"""Rotation and destruction of keys in PostgreSQL, also interrupted and at once."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from broker.db.database import Database
from broker.ids import new_id
from vault.binding import PLATFORM, BlobBinding, CredentialBinding
from vault.errors import InvalidRequest, KeyDestroyed, KeyFixed, KeyMissing
from vault.keyring import Keyring
from vault.keys import EnvRootKey
from vault.keystore import SqlKeyStore, insert_key, wrap_new
from vault.reveal import reveal
from vault.rotation import (
    destroy_tenant_keys,
    retire_unused,
    rewrap_batch,
    rewrap_root,
    root_keys_in_use,
    rotate_kek,
)
from vault.store import Vault
from vault.tables import credentials, tenant_keys
from vault.testing import memory_sealed_storage

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
OLD_ROOT = "root-1:" + "A" * 43 + "="
NEW_ROOT = "root-2:" + "B" * 42 + "A="


class Setup:
    """One tenant with credentials, and what is needed to rotate it."""

    def __init__(self, db: Database, tenant_id: UUID) -> None:
        self.db = db
        self.tenant_id = tenant_id
        self.storage = self.node(OLD_ROOT)
        self.bindings: list[tuple[CredentialBinding, bytes]] = []

    def node(self, root: str) -> Vault:
        return Vault(Keyring(SqlKeyStore(self.db.tenant), EnvRootKey(root)))

    @property
    def keyring(self) -> Keyring:
        return self.storage.keyring

    async def deposit(self, count: int) -> None:
        async with self.db.tenant(self.tenant_id) as conn:
            for _ in range(count):
                binding = CredentialBinding(self.tenant_id, new_id(), new_id(), 1, "api_token", ("https://a.example",))
                plaintext = b"token-" + binding.credential_id.bytes
                await self.storage.put_credential(conn, binding, plaintext, NOW)
                self.bindings.append((binding, plaintext))

    async def rotate(self, now: datetime = LATER, **options: Any) -> int:
        return await rotate_kek(self.keyring, self.db.tenant, self.tenant_id, "credentials", now, **options)

    async def rows(self) -> dict[UUID, Any]:
        async with self.db.tenant(self.tenant_id) as conn:
            return {row.id: row for row in (await conn.execute(select(credentials))).all()}

    async def keys(self, purpose: str = "credentials") -> list[Any]:
        query = select(tenant_keys).where(tenant_keys.c.purpose == purpose).order_by(tenant_keys.c.version)
        async with self.db.tenant(self.tenant_id) as conn:
            return list((await conn.execute(query)).all())

    async def all_open(self, storage: Vault | None = None) -> None:
        rows = await self.rows()
        for binding, plaintext in self.bindings:
            opened = await (storage or self.storage).open(binding, rows[binding.credential_id].sealed)
            assert reveal(opened) == plaintext


@pytest.fixture
async def setup(db: Database, make_tenant: Callable[..., Awaitable[UUID]]) -> Setup:
    made = Setup(db, await make_tenant())
    made.storage._platform = (await memory_sealed_storage())._platform
    async with db.tenant(made.tenant_id) as conn:
        await made.keyring.ensure(conn, made.tenant_id, NOW)
    return made


async def test_rotate_rewrap_retire(setup: Setup) -> None:
    await setup.deposit(5)
    before = await setup.rows()
    assert await setup.rotate() == 2
    await setup.deposit(1)
    assert (await setup.rows())[setup.bindings[-1][0].credential_id].kek_version == 2
    async with setup.db.tenant(setup.tenant_id) as conn:
        assert await retire_unused(conn, setup.tenant_id, LATER) == ()

    remaining, after, batches = 5, None, 0
    while remaining:  # each in a transaction of its own, as a command would
        async with setup.db.tenant(setup.tenant_id) as conn:
            batch = await rewrap_batch(setup.keyring, conn, setup.tenant_id, 2, after=after)
        assert batch.broken == ()
        remaining, after, batches = batch.remaining, batch.after, batches + 1
    assert batches == 3

    after_rows = await setup.rows()
    assert {row.kek_version for row in after_rows.values()} == {2}
    for row in before.values():
        assert after_rows[row.id].sealed[70:] == row.sealed[70:]  # payloads are not encrypted again
    await setup.all_open()
    async with setup.db.tenant(setup.tenant_id) as conn:
        assert await retire_unused(conn, setup.tenant_id, LATER) == (1,)
        assert await retire_unused(conn, setup.tenant_id, LATER) == ()
    assert [row.retired_at for row in await setup.keys()] == [LATER, None]
    # a retired key still opens what a backup brings back
    row = next(iter(before.values()))
    binding = next(found for found, _ in setup.bindings if found.credential_id == row.id)
    assert reveal(await setup.storage.open(binding, row.sealed))


async def test_an_interrupted_rotation_goes_on(setup: Setup) -> None:
    await setup.deposit(4)
    await setup.rotate()
    with pytest.raises(RuntimeError):  # noqa: PT012
        async with setup.db.tenant(setup.tenant_id) as conn:
            await rewrap_batch(setup.keyring, conn, setup.tenant_id, 10)
            raise RuntimeError("killed before the commit")
    assert {row.kek_version for row in (await setup.rows()).values()} == {1}
    async with setup.db.tenant(setup.tenant_id) as conn:
        first = await rewrap_batch(setup.keyring, conn, setup.tenant_id, 1)
    assert (first.done, first.remaining) == (1, 3)
    await setup.all_open()
    assert await setup.rotate(LATER, only_if_before=LATER) == 2  # the command run again rotates nothing
    assert await setup.rotate(LATER + timedelta(hours=1), only_if_before=LATER + timedelta(hours=1)) == 3
    async with setup.db.tenant(setup.tenant_id) as conn:
        rest = await rewrap_batch(setup.keyring, conn, setup.tenant_id, 10)
    assert (rest.done, rest.remaining, rest.after) == (4, 0, None)
    assert {row.kek_version for row in (await setup.rows()).values()} == {3}
    await setup.all_open()


async def test_a_broken_row_is_named_and_stops_nobody(setup: Setup) -> None:
    await setup.deposit(3)
    broken = setup.bindings[0][0].credential_id
    async with setup.db.tenant(setup.tenant_id) as conn:
        await conn.execute(
            update(credentials).where(credentials.c.id == broken).values(origins=["https://evil.example"])
        )
    await setup.rotate()
    done, named, after = 0, set(), None
    for _ in range(10):
        async with setup.db.tenant(setup.tenant_id) as conn:
            batch = await rewrap_batch(setup.keyring, conn, setup.tenant_id, 1, after=after)
        done, named, after = done + batch.done, named | set(batch.broken), batch.after
        if after is None:
            break
    assert (done, named, batch.remaining) == (2, {broken}, 1)
    async with setup.db.tenant(setup.tenant_id) as conn:
        assert await retire_unused(conn, setup.tenant_id, LATER) == ()  # still in use


async def test_rotations_at_once_make_one_version(setup: Setup) -> None:
    found = await asyncio.gather(*(setup.rotate(LATER, only_if_before=LATER) for _ in range(3)))
    assert found == [2, 2, 2]
    assert [row.version for row in await setup.keys()] == [1, 2]


async def test_deposits_and_rewraps_at_once(setup: Setup) -> None:
    """Nothing is lost, and no credential stays behind under a retired key."""
    await setup.deposit(6)

    async def rotate() -> None:
        for step in range(1, 4):
            await setup.rotate(NOW + timedelta(hours=step))
            async with setup.db.tenant(setup.tenant_id) as conn:
                await rewrap_batch(setup.keyring, conn, setup.tenant_id, 100)
            async with setup.db.tenant(setup.tenant_id) as conn:
                await retire_unused(conn, setup.tenant_id, LATER)

    async def deposit() -> None:
        for _ in range(10):
            await setup.deposit(1)

    await asyncio.gather(rotate(), deposit())
    await setup.all_open()
    retired = {row.version for row in await setup.keys() if row.retired_at is not None}
    assert not retired & {row.kek_version for row in (await setup.rows()).values()}


async def test_a_key_is_not_retired_under_a_deposit(setup: Setup) -> None:
    """A deposit that sealed under the old key and has not committed yet holds its retirement up."""
    provider = setup.keyring.provider

    async def retire() -> tuple[int, ...]:
        async with setup.db.tenant(setup.tenant_id) as conn:
            return await retire_unused(conn, setup.tenant_id, LATER)

    binding = CredentialBinding(setup.tenant_id, new_id(), new_id(), 1, "api_token", ("https://a.example",))
    async with setup.db.tenant(setup.tenant_id) as depositing:
        await setup.storage.put_credential(depositing, binding, b"x", NOW)
        async with setup.db.tenant(setup.tenant_id) as conn:
            wrapped = await wrap_new(provider, setup.tenant_id, "credentials", 2, os.urandom)
            assert await insert_key(conn, setup.tenant_id, "credentials", 2, wrapped, LATER)
        retiring = asyncio.create_task(retire())
        await asyncio.sleep(0.2)
        assert not retiring.done()
    assert await retiring == ()


async def test_evidence_keys_rotate_and_old_ones_stay(setup: Setup) -> None:
    binding = BlobBinding(setup.tenant_id, "result", "1")
    blob = await setup.storage.seal_blob(binding, b"kept")
    mac = await setup.storage.mac(setup.tenant_id, "audit", b"event")
    assert await rotate_kek(setup.keyring, setup.db.tenant, setup.tenant_id, "evidence", LATER) == 2
    async with setup.db.tenant(setup.tenant_id) as conn:
        await retire_unused(conn, setup.tenant_id, LATER)
    assert [(row.retired_at, row.destroyed_at) for row in await setup.keys("evidence")] == [(None, None)] * 2
    assert await setup.storage.open_blob(binding, blob) == b"kept"
    await setup.storage.verify_mac(setup.tenant_id, "audit", b"event", mac)
    assert (await setup.storage.mac(setup.tenant_id, "audit", b"event")).key_version == 2


async def test_root_rotation(setup: Setup) -> None:
    await setup.deposit(2)
    await setup.rotate()
    both = setup.node(f"{NEW_ROOT},{OLD_ROOT}")
    await setup.all_open(both)
    async with setup.db.tenant(setup.tenant_id) as conn:
        assert await root_keys_in_use(conn, setup.tenant_id) == {"root-1"}
        assert await rewrap_root(conn, setup.tenant_id, both.keyring.provider) == 3
        assert await rewrap_root(conn, setup.tenant_id, both.keyring.provider) == 0
        assert await root_keys_in_use(conn, setup.tenant_id) == {"root-2"}
    await setup.all_open(setup.node(NEW_ROOT))
    with pytest.raises(KeyMissing):
        await setup.all_open(setup.node(OLD_ROOT))


async def test_root_rotation_without_the_old_key_changes_nothing(setup: Setup) -> None:
    with pytest.raises(KeyMissing):
        async with setup.db.tenant(setup.tenant_id) as conn:
            await rewrap_root(conn, setup.tenant_id, EnvRootKey(NEW_ROOT))
    assert [row.root_key_id for row in await setup.keys()] == ["root-1"]


async def test_destroying_shreds_one_purpose(setup: Setup) -> None:
    await setup.deposit(1)
    await setup.rotate()
    binding = BlobBinding(setup.tenant_id, "result", "1")
    blob = await setup.storage.seal_blob(binding, b"kept")
    await setup.all_open()
    async with setup.db.tenant(setup.tenant_id) as conn:
        assert await destroy_tenant_keys(setup.keyring, conn, setup.tenant_id, "credentials", LATER) == 2
    rows = await setup.keys()
    assert [(row.wrapped, row.destroyed_at) for row in rows] == [(None, LATER)] * 2
    with pytest.raises(KeyDestroyed):
        await setup.all_open()
    with pytest.raises(KeyDestroyed):
        await setup.deposit(1)
    with pytest.raises(KeyDestroyed):
        await setup.rotate()
    async with setup.db.tenant(setup.tenant_id) as conn:
        await setup.keyring.ensure(conn, setup.tenant_id, LATER)  # brings nothing back
    with pytest.raises(KeyDestroyed):
        await setup.all_open()
    assert await setup.storage.open_blob(binding, blob) == b"kept"


async def test_the_platform_key_is_fixed(setup: Setup) -> None:
    with pytest.raises(KeyFixed):
        await rotate_kek(setup.keyring, setup.db.tenant, PLATFORM, "evidence", NOW)
    with pytest.raises(KeyFixed):
        async with setup.db.tenant(PLATFORM) as conn:
            await destroy_tenant_keys(setup.keyring, conn, PLATFORM, "evidence", NOW)


async def test_bounds(setup: Setup, make_tenant: Callable[..., Awaitable[UUID]]) -> None:
    for limit in (0, 10_001):
        with pytest.raises(InvalidRequest):
            async with setup.db.tenant(setup.tenant_id) as conn:
                await rewrap_batch(setup.keyring, conn, setup.tenant_id, limit)
    with pytest.raises(KeyMissing):
        await rotate_kek(setup.keyring, setup.db.tenant, await make_tenant(), "credentials", NOW)

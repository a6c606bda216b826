"""Credentials in PostgreSQL: stored sealed, superseded, revoked, bound to rows, unseen by other tenants."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from broker.db.database import Database
from broker.ids import new_id
from vault.binding import PLATFORM, CredentialBinding
from vault.errors import InvalidRequest, KeyMissing, SealedDoesNotOpen, TooLarge, VersionTaken
from vault.keyring import Keyring
from vault.keys import EnvRootKey
from vault.keystore import SqlKeyStore
from vault.reveal import reveal
from vault.secret import Secret
from vault.store import Vault
from vault.tables import credentials, tenant_keys
from vault.testing import memory_sealed_storage, random_root

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
MakeTenant = Callable[..., Awaitable[UUID]]


@pytest.fixture(scope="session")
def root() -> EnvRootKey:
    return random_root("root-1")


@pytest.fixture
async def storage(db: Database, root: EnvRootKey) -> Vault:
    made = Vault(Keyring(SqlKeyStore(db.tenant), root))
    # its own, not the database's: other tests share that, with another root key
    made._platform = (await memory_sealed_storage())._platform
    return made


@pytest.fixture
async def tenant_id(db: Database, make_tenant: MakeTenant, storage: Vault) -> UUID:
    made = await make_tenant()
    async with db.tenant(made) as conn:
        await storage.keyring.ensure(conn, made, NOW)
    return made


def binding_for(tenant_id: UUID, account_id: UUID, version: int = 1) -> CredentialBinding:
    return CredentialBinding(
        tenant_id, account_id, new_id(), version, "api_token", ("https://b.example", "https://a.example")
    )


async def _rows(db: Database, tenant_id: UUID) -> list[Any]:
    async with db.tenant(tenant_id) as conn:
        return list((await conn.execute(select(credentials).order_by(credentials.c.version))).all())


async def test_stored_sealed_and_opened_from_the_row(db: Database, storage: Vault, tenant_id: UUID) -> None:
    binding = binding_for(tenant_id, new_id())
    async with db.tenant(tenant_id) as conn:
        sealed = await storage.put_credential(conn, binding, b"canary-in-the-row", NOW)
    (row,) = await _rows(db, tenant_id)
    assert b"canary-in-the-row" not in repr(row).encode() + row.sealed
    assert (row.status, row.kek_version, row.fingerprint) == ("active", 1, sealed.fingerprint)
    assert (row.sealed, row.created_at) == (sealed.sealed, NOW)
    again = CredentialBinding(row.tenant_id, row.account_id, row.id, row.version, row.kind, tuple(row.origins))
    assert again == binding
    assert storage.try_open(again, row.sealed) is None
    assert reveal(await storage.open(again, row.sealed)) == b"canary-in-the-row"
    assert storage.try_open(again, row.sealed) is not None


async def test_a_redirected_or_moved_row_does_not_open(db: Database, storage: Vault, tenant_id: UUID) -> None:
    account, thief = new_id(), new_id()
    binding = binding_for(tenant_id, account)
    async with db.tenant(tenant_id) as conn:
        await storage.put_credential(conn, binding, b"token", NOW)
    for change in (
        {"origins": ["https://evil.example"]},
        {"origins": ["https://a.example", "https://b.example", "https://evil.example"]},
        {"account_id": thief},
        {"kind": "account_token"},
        {"version": 7},
    ):
        with pytest.raises(SealedDoesNotOpen):  # noqa: PT012  (rolls the change back as well)
            async with db.tenant(tenant_id) as conn:
                await conn.execute(update(credentials).values(**change))
                row = (await conn.execute(select(credentials))).one()
                moved = CredentialBinding(
                    row.tenant_id, row.account_id, row.id, row.version, row.kind, tuple(row.origins)
                )
                await storage.open(moved, row.sealed)


async def test_a_new_version_supersedes(db: Database, storage: Vault, tenant_id: UUID) -> None:
    account, other = new_id(), new_id()
    async with db.tenant(tenant_id) as conn:
        await storage.put_credential(conn, binding_for(tenant_id, account), b"one", NOW)
        await storage.put_credential(conn, binding_for(tenant_id, account, 2), Secret(b"two"), NOW)
        await storage.put_credential(conn, binding_for(tenant_id, other, 3), b"three", NOW)
    assert [(row.account_id, row.status) for row in await _rows(db, tenant_id)] == [
        (account, "superseded"),
        (account, "active"),
        (other, "active"),
    ]
    for version in (1, 2):
        with pytest.raises(VersionTaken):
            async with db.tenant(tenant_id) as conn:
                await storage.put_credential(conn, binding_for(tenant_id, account, version), b"again", NOW)
    taken = next(row.id for row in await _rows(db, tenant_id) if row.account_id == account)
    clash = CredentialBinding(tenant_id, other, taken, 9, "api_token", ("https://a.example",))
    with pytest.raises(VersionTaken):
        async with db.tenant(tenant_id) as conn:
            await storage.put_credential(conn, clash, b"x", NOW)
    assert len(await _rows(db, tenant_id)) == 3


async def test_two_puts_of_one_version_at_once(db: Database, storage: Vault, tenant_id: UUID) -> None:
    account = new_id()

    async def put() -> None:
        async with db.tenant(tenant_id) as conn:
            await storage.put_credential(conn, binding_for(tenant_id, account), b"x", NOW)

    found = await asyncio.gather(put(), put(), put(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in found) == ["NoneType", "VersionTaken", "VersionTaken"]
    assert len(await _rows(db, tenant_id)) == 1


async def test_revoke(db: Database, storage: Vault, tenant_id: UUID) -> None:
    account, other = new_id(), new_id()
    async with db.tenant(tenant_id) as conn:
        await storage.put_credential(conn, binding_for(tenant_id, account), b"one", NOW)
        await storage.put_credential(conn, binding_for(tenant_id, account, 2), b"two", NOW)
        await storage.put_credential(conn, binding_for(tenant_id, other), b"three", NOW)
        assert await storage.revoke_credentials(conn, tenant_id, account) == 2
        assert await storage.revoke_credentials(conn, tenant_id, account) == 0
    found = {(row.account_id, row.status) for row in await _rows(db, tenant_id)}
    assert found == {(account, "revoked"), (other, "active")}


async def test_bounds(db: Database, storage: Vault, tenant_id: UUID) -> None:
    for plaintext, problem in ((b"", InvalidRequest), (bytes(64 * 1024 + 1), TooLarge)):
        with pytest.raises(problem):
            async with db.tenant(tenant_id) as conn:
                await storage.put_credential(conn, binding_for(tenant_id, new_id()), plaintext, NOW)
    with pytest.raises(InvalidRequest):
        async with db.tenant(tenant_id) as conn:
            await storage.put_credential(conn, binding_for(tenant_id, new_id()), b"x", NOW.replace(tzinfo=None))
    assert await _rows(db, tenant_id) == []


async def test_other_tenants_see_and_reach_nothing(
    db: Database, storage: Vault, tenant_id: UUID, make_tenant: MakeTenant
) -> None:
    async with db.tenant(tenant_id) as conn:
        await storage.put_credential(conn, binding_for(tenant_id, new_id()), b"one", NOW)
    other = await make_tenant()
    async with db.tenant(other) as conn:
        assert (await conn.execute(select(credentials))).all() == []
        assert (await conn.execute(select(tenant_keys))).all() == []
        assert (await conn.execute(update(credentials).values(status="revoked"))).rowcount == 0
        assert (await conn.execute(update(tenant_keys).values(wrapped=None))).rowcount == 0
    with pytest.raises(DBAPIError):
        async with db.tenant(other) as conn:
            await storage.keyring.ensure(conn, tenant_id, NOW)
    with pytest.raises(KeyMissing):
        async with db.tenant(other) as conn:
            await storage.put_credential(conn, binding_for(other, new_id()), b"x", NOW)
    assert [row.status for row in await _rows(db, tenant_id)] == ["active"]


async def test_ensure_is_idempotent_and_makes_both_keys(db: Database, storage: Vault, tenant_id: UUID) -> None:
    async def keys() -> list[Any]:
        async with db.tenant(tenant_id) as conn:
            return list((await conn.execute(select(tenant_keys).order_by(tenant_keys.c.purpose))).all())

    before = await keys()
    async with db.tenant(tenant_id) as conn:
        await storage.keyring.ensure(conn, tenant_id, NOW)
    assert await keys() == before
    assert [(row.purpose, row.version, row.root_key_id) for row in before] == [
        ("credentials", 1, "root-1"),
        ("evidence", 1, "root-1"),
    ]
    assert len({bytes(row.wrapped) for row in before}) == 2


async def test_a_deposit_in_the_transaction_that_makes_the_tenants_keys(
    db: Database, storage: Vault, make_tenant: MakeTenant
) -> None:
    """And a roll-back leaves nothing behind, in the database or the cache."""
    made = await make_tenant()
    with pytest.raises(RuntimeError):  # noqa: PT012
        async with db.tenant(made) as conn:
            await storage.keyring.ensure(conn, made, NOW)
            await storage.put_credential(conn, binding_for(made, new_id()), b"one", NOW)
            raise RuntimeError("roll back")
    assert storage.keyring.peek(made, "credentials") is None
    binding = binding_for(made, new_id())
    async with db.tenant(made) as conn:
        await storage.keyring.ensure(conn, made, NOW)
        sealed = await storage.put_credential(conn, binding, b"two", NOW)
    assert reveal(await storage.open(binding, sealed.sealed)) == b"two"


async def test_evidence_uses_the_database(db: Database, storage: Vault, tenant_id: UUID) -> None:
    mac = await storage.mac(tenant_id, "audit", b"event")
    storage.keyring.evict(tenant_id)
    await storage.verify_mac(tenant_id, "audit", b"event", mac)


async def test_the_platform_tenant_holds_one_evidence_key(db: Database, storage: Vault) -> None:
    """Rolled back: the database is shared with tests whose root key is another."""
    with pytest.raises(RuntimeError):  # noqa: PT012
        async with db.tenant(PLATFORM) as conn:
            await storage.keyring.ensure(conn, PLATFORM, NOW)
            rows = (await conn.execute(select(tenant_keys.c.purpose, tenant_keys.c.version))).all()
            raise RuntimeError("roll back")
    assert [tuple(row) for row in rows] == [("evidence", 1)]

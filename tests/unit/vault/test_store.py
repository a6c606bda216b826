"""The facade without a database: opening, blobs, codes, digests and the platform key."""

import dataclasses
from uuid import UUID

import pytest

from vault.binding import PLATFORM, BlobBinding, CredentialBinding
from vault.envelope import MAX_BLOB, seal
from vault.errors import (
    InvalidBinding,
    KeyMissing,
    KeyUnavailable,
    MacMismatch,
    SealedDoesNotOpen,
    TooLarge,
    UnknownFormat,
)
from vault.kek import MAX_MESSAGE
from vault.keyring import Keyring
from vault.reveal import reveal
from vault.secret import Secret
from vault.store import Mac, Vault
from vault.testing import MemoryKeyStore, memory_sealed_storage, random_root

A, B = UUID(int=1), UUID(int=2)
BINDING = CredentialBinding(A, UUID(int=3), UUID(int=4), 1, "api_token", ("https://api.cloudflare.com",))


async def test_open_and_its_fast_path() -> None:
    storage = await memory_sealed_storage(A)
    sealed = seal(await storage.keyring.get(A, "credentials"), BINDING, b"token")
    storage.keyring.evict(A)
    assert storage.try_open(BINDING, sealed) is None
    assert reveal(await storage.open(BINDING, sealed)) == b"token"
    found = storage.try_open(BINDING, sealed)
    assert isinstance(found, Secret)
    assert reveal(found) == b"token"


async def test_neither_path_opens_what_does_not_belong() -> None:
    storage = await memory_sealed_storage(A, B)
    sealed = seal(await storage.keyring.get(A, "credentials"), BINDING, b"token")
    await storage.keyring.get(B, "credentials")
    for moved in (dataclasses.replace(BINDING, tenant_id=B), dataclasses.replace(BINDING, version=2)):
        with pytest.raises(SealedDoesNotOpen):
            storage.try_open(moved, sealed)
        with pytest.raises(SealedDoesNotOpen):
            await storage.open(moved, sealed)
    with pytest.raises(UnknownFormat):
        storage.try_open(BINDING, b"")
    future = sealed[:6] + (9).to_bytes(4, "big") + sealed[10:]
    assert storage.try_open(BINDING, future) is None
    with pytest.raises(KeyMissing):
        await storage.open(BINDING, future)


async def test_blobs() -> None:
    storage = await memory_sealed_storage(A, B)
    binding = BlobBinding(A, "result", "execution-1")
    for data in (b"", b"kept", bytes(MAX_BLOB)):
        assert await storage.open_blob(binding, await storage.seal_blob(binding, data)) == data
    with pytest.raises(TooLarge):
        await storage.seal_blob(binding, bytes(MAX_BLOB + 1))
    sealed = await storage.seal_blob(binding, b"kept")
    for other in (
        BlobBinding(A, "result", "execution-2"),
        BlobBinding(A, "sink", "execution-1"),
        BlobBinding(B, "result", "execution-1"),
    ):
        with pytest.raises(SealedDoesNotOpen):
            await storage.open_blob(other, sealed)
    with pytest.raises(SealedDoesNotOpen):  # a blob is no credential
        await storage.open(BINDING, sealed)


async def test_macs() -> None:
    storage = await memory_sealed_storage(A, B)
    assert storage.try_mac(A, "audit", b"event") is None
    mac = await storage.mac(A, "audit", b"event")
    assert storage.try_mac(A, "audit", b"event") == mac
    assert (mac.key_version, len(mac.digest)) == (1, 32)
    await storage.verify_mac(A, "audit", b"event", mac)
    for tenant_id, purpose, data, code in (
        (B, "audit", b"event", mac),
        (A, "audit2", b"event", mac),
        (A, "audit", b"event!", mac),
        (A, "audit", b"event", Mac(1, mac.digest[:31] + bytes([mac.digest[31] ^ 1]))),
        (A, "audit", b"event", Mac(1, b"")),
    ):
        with pytest.raises(MacMismatch):
            await storage.verify_mac(tenant_id, purpose, data, code)
    with pytest.raises(InvalidBinding):
        await storage.mac(A, "Audit", b"")
    with pytest.raises(TooLarge):
        storage.try_mac(A, "audit", bytes(MAX_MESSAGE + 1))


async def test_old_macs_verify_after_a_rotation() -> None:
    provider, store = random_root(), MemoryKeyStore()
    await store.add(provider, A, "evidence", 1)
    storage = Vault(Keyring(store, provider))
    old, old_digest = await storage.mac(A, "audit", b"event"), await storage.digest(A, "args", b"x")
    await store.add(provider, A, "evidence", 2)
    storage.keyring.evict(A)
    new = await storage.mac(A, "audit", b"event")
    assert (old.key_version, new.key_version) == (1, 2)
    assert old.digest != new.digest
    await storage.verify_mac(A, "audit", b"event", old)
    await storage.verify_mac(A, "audit", b"event", new)
    await storage.verify_digest(A, "args", b"x", old_digest)
    with pytest.raises(MacMismatch):
        await storage.verify_mac(A, "audit", b"event", Mac(2, old.digest))


async def test_digests() -> None:
    storage = await memory_sealed_storage(A, B)
    assert storage.try_digest(A, "args", b"x") is None
    digest = await storage.digest(A, "args", b"x")
    assert storage.try_digest(A, "args", b"x") == digest
    version, _, hexed = digest.partition(":")
    assert (version, len(hexed)) == ("1", 64)
    assert hexed != (await storage.mac(A, "args", b"x")).digest.hex()
    assert digest != await storage.digest(B, "args", b"x")
    await storage.verify_digest(A, "args", b"x", digest)
    for wrong in (digest[:-1], digest.upper(), "1:" + "0" * 64, "", "x:" + hexed, "0:" + hexed):
        with pytest.raises(MacMismatch):
            await storage.verify_digest(A, "args", b"x", wrong)


async def test_the_platform_key_is_the_same_on_all_nodes_and_outlives_the_cache() -> None:
    provider, store = random_root(), MemoryKeyStore()
    await store.add(provider, PLATFORM, "evidence")
    one, two = Vault(Keyring(store, provider)), Vault(Keyring(store, provider))
    with pytest.raises(KeyUnavailable):
        one.platform_digest("principal", b"user")
    for storage in (one, two):
        await storage.load_platform_key()
        storage.keyring.evict(PLATFORM)
    assert one.platform_digest("principal", b"user") == two.platform_digest("principal", b"user")
    assert one.platform_digest("principal", b"user") != one.platform_digest("principal", b"user2")
    assert one.platform_digest("principal", b"user") != one.platform_digest("other", b"user")
    await store.add(provider, PLATFORM, "evidence", 2)  # must never count
    before = one.platform_digest("principal", b"user")
    await one.load_platform_key()
    assert one.platform_digest("principal", b"user") == before


async def test_fingerprints() -> None:
    storage = await memory_sealed_storage(A, B)
    found = storage.fingerprint(A, b"token")
    assert len(found) == 12
    assert int(found, 16) >= 0
    assert storage.fingerprint(A, Secret(b"token")) == found
    assert storage.fingerprint(B, b"token") != found
    assert storage.fingerprint(A, b"token2") != found
    assert (await memory_sealed_storage(A)).fingerprint(A, b"token") != found

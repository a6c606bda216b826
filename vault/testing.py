"""Stand-ins for tests: keys in memory, no database. No secret made with them outlives the process."""

import base64
import os
from uuid import UUID

from vault.binding import KEY_PURPOSES, PLATFORM, KeyPurpose
from vault.keyring import Keyring
from vault.keys import EnvRootKey, RootKeyProvider
from vault.keystore import StoredKey, wrap_new
from vault.store import Vault


def random_root(key_id: str = "test-1") -> EnvRootKey:
    """A root provider with one random key."""
    return EnvRootKey(f"{key_id}:{base64.b64encode(os.urandom(32)).decode()}")


class MemoryKeyStore:
    """A `KeyStore` of a dict. Counts its loads."""

    def __init__(self) -> None:
        self.rows: dict[tuple[UUID, KeyPurpose, int], StoredKey] = {}
        self.loads = 0

    async def load(self, tenant_id: UUID, purpose: KeyPurpose, version: int | None) -> StoredKey | None:
        self.loads += 1
        if version is not None:
            return self.rows.get((tenant_id, purpose, version))
        found = [row for key, row in self.rows.items() if key[:2] == (tenant_id, purpose) and not row.retired]
        return max(found, key=lambda row: row.version, default=None)

    async def add(self, provider: RootKeyProvider, tenant_id: UUID, purpose: KeyPurpose, version: int = 1) -> None:
        """Make and keep a new random key of that version."""
        wrapped = await wrap_new(provider, tenant_id, purpose, version, os.urandom)
        row = StoredKey(tenant_id, purpose, version, wrapped.key_id, wrapped.blob)
        self.rows[(tenant_id, purpose, version)] = row


async def memory_sealed_storage(*tenants: UUID) -> Vault:
    """A `Vault` whose tenants have both KEKs and whose platform key is loaded; its `conn` methods need a
    database.
    """
    provider = random_root()
    store = MemoryKeyStore()
    await store.add(provider, PLATFORM, "evidence")
    for tenant_id in tenants:
        for purpose in KEY_PURPOSES:
            await store.add(provider, tenant_id, purpose)
    sealed_storage = Vault(Keyring(store, provider))
    await sealed_storage.load_platform_key()
    return sealed_storage

"""Opened KEKs for a short while: the only cache of this package. Plaintexts are never cached."""

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from vault.binding import KeyPurpose
from vault.errors import InvalidRequest, KeyUnavailable, VaultError
from vault.kek import Kek
from vault.keys import RootKeyProvider
from vault.keystore import KeyStore, StoredKey, insert_key, purposes_of, unwrap_kek, wrap_new

DEFAULT_TTL_SECONDS: Final = 300.0
DEFAULT_CAPACITY: Final = 4096
LOAD_TIMEOUT_SECONDS: Final = 5.0

_Slot = tuple[UUID, KeyPurpose, int | None]  # None: the newest


class Keyring:
    """Opened KEKs by (tenant, purpose, version or newest).

    Invariants: an entry serves for `ttl_seconds` from the moment its load *began*, then only a new load
    serves it; at most one load per entry is under way; after `evict` nothing loaded before it is kept. So a
    destroyed or rotated key is out of use everywhere within `ttl_seconds`, and a lost root provider stops the
    work by then. `clock` is monotonic seconds. `capacity` bounds entries; the least recently used goes first.

    One keyring belongs to one event loop.
    """

    def __init__(
        self,
        store: KeyStore,
        provider: RootKeyProvider,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        capacity: int = DEFAULT_CAPACITY,
        *,
        clock: Callable[[], float] = time.monotonic,
        load_timeout_seconds: float = LOAD_TIMEOUT_SECONDS,
    ) -> None:
        if not 0 < ttl_seconds <= 3600 or capacity < 1:
            raise InvalidRequest("a keyring keeps keys for at most an hour and has room for at least one")
        self.provider = provider
        self._store = store
        self._ttl = ttl_seconds
        self._capacity = capacity
        self._clock = clock
        self._timeout = load_timeout_seconds
        self._entries: OrderedDict[_Slot, tuple[float, Kek]] = OrderedDict()
        self._loading: dict[_Slot, asyncio.Task[Kek]] = {}

    def peek(self, tenant_id: UUID, purpose: KeyPurpose, version: int | None = None) -> Kek | None:
        """The key if it is held and fresh, without waiting. `version` None: the newest."""
        slot = (tenant_id, purpose, version)
        entry = self._entries.get(slot)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[slot]
            return None
        self._entries.move_to_end(slot)
        return entry[1]

    async def get(self, tenant_id: UUID, purpose: KeyPurpose, version: int | None = None) -> Kek:
        """The key, loaded if need be. `version` None: the newest that is not retired.

        Raises:
            KeyUnavailable: key store or root provider failed or took longer than the load's deadline.
            KeyMissing, KeyDestroyed: there is none (any more).
            SealedDoesNotOpen: the stored key was edited.
        """
        kek = self.peek(tenant_id, purpose, version)
        if kek is not None:
            return kek
        slot = (tenant_id, purpose, version)
        task = self._loading.get(slot)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(slot))
            self._loading[slot] = task
            task.add_done_callback(lambda done: self._loaded(slot, done))
        # shielded: the waiter who began the load may be cancelled without failing the others
        return await asyncio.shield(task)

    def evict(self, tenant_id: UUID) -> None:
        """Forget the tenant's keys now. Loads under way are served to their waiters and not kept."""
        for slot in [slot for slot in self._entries if slot[0] == tenant_id]:
            del self._entries[slot]
        for slot in [slot for slot in self._loading if slot[0] == tenant_id]:
            del self._loading[slot]

    async def ensure(self, conn: AsyncConnection, tenant_id: UUID, now: datetime) -> None:
        """Make version 1 of the tenant's KEKs where missing, in the caller's transaction (scoped to the
        tenant).

        Existing keys, also destroyed ones, stay as they are. The platform tenant has an `evidence` key only.

        Raises:
            Whatever the root provider raises.
        """
        for purpose in purposes_of(tenant_id):
            wrapped = await wrap_new(self.provider, tenant_id, purpose, 1, os.urandom)
            await insert_key(conn, tenant_id, purpose, 1, wrapped, now)

    async def open_stored(self, stored: StoredKey | None) -> Kek:
        """Open a key read in the caller's own transaction. Never cached: that transaction may yet roll back.

        Raises:
            As `get`.
        """
        return await self._guarded(unwrap_kek(self.provider, stored))

    async def _load(self, slot: _Slot) -> Kek:
        began = self._clock()
        kek = await self._guarded(self._fetch(*slot))
        if self._loading.get(slot) is asyncio.current_task():  # not evicted meanwhile
            self._keep(slot, began, kek)
            self._keep((slot[0], slot[1], kek.version), began, kek)
        return kek

    async def _fetch(self, tenant_id: UUID, purpose: KeyPurpose, version: int | None) -> Kek:
        return await unwrap_kek(self.provider, await self._store.load(tenant_id, purpose, version))

    async def _guarded(self, opening: Coroutine[Any, Any, Kek]) -> Kek:
        """Await within the deadline; whatever fails outside our own tree is an outage."""
        try:
            async with asyncio.timeout(self._timeout):
                return await opening
        except VaultError:
            raise
        except TimeoutError:
            raise KeyUnavailable("key store or root provider did not answer in time") from None
        except Exception as problem:
            raise KeyUnavailable(f"key store or root provider failed ({type(problem).__name__})") from problem

    def _keep(self, slot: _Slot, began: float, kek: Kek) -> None:
        self._entries[slot] = (began + self._ttl, kek)
        self._entries.move_to_end(slot)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def _loaded(self, slot: _Slot, task: asyncio.Task[Kek]) -> None:
        if self._loading.get(slot) is task:
            del self._loading[slot]
        if not task.cancelled():
            task.exception()  # taken here too: every waiter may have been cancelled

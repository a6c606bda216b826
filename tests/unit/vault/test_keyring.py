"""The cache of opened KEKs: how long, how many, how often, and what happens without the root provider."""

import asyncio
import traceback
from collections.abc import Mapping
from uuid import UUID

import pytest

from vault.errors import (
    InvalidRequest,
    KeyDestroyed,
    KeyMissing,
    KeyUnavailable,
    SealedDoesNotOpen,
)
from vault.kek import MAX_SUBKEYS, Kek
from vault.keyring import Keyring
from vault.keys import EnvRootKey, WrappedKey
from vault.keystore import StoredKey
from vault.testing import MemoryKeyStore, random_root

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Provider:
    """A root provider that can be slow, down, or counted."""

    def __init__(self) -> None:
        self.real: EnvRootKey = random_root()
        self.down: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.unwraps = 0

    @property
    def current_key_id(self) -> str:
        return self.real.current_key_id

    async def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> WrappedKey:
        return await self.real.wrap(plaintext, context)

    async def unwrap(self, key_id: str, blob: bytes, context: Mapping[str, str]) -> bytes:
        self.unwraps += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down is not None:
            raise self.down
        return await self.real.unwrap(key_id, blob, context)


class Setup:
    def __init__(self, **options) -> None:
        self.provider, self.store, self.clock = Provider(), MemoryKeyStore(), Clock()
        self.keyring = Keyring(self.store, self.provider, clock=self.clock, **options)

    async def fill(self, *tenants: UUID, version: int = 1) -> "Setup":
        for tenant_id in tenants:
            await self.store.add(self.provider, tenant_id, "credentials", version)
        return self


async def test_loads_once_within_the_ttl() -> None:
    setup = await Setup(ttl_seconds=300).fill(A)
    assert setup.keyring.peek(A, "credentials", 1) is None
    first = await setup.keyring.get(A, "credentials", 1)
    setup.clock.now += 299.9
    assert await setup.keyring.get(A, "credentials", 1) is first
    assert setup.keyring.peek(A, "credentials", 1) is first
    assert setup.store.loads == 1
    setup.clock.now += 0.1
    assert setup.keyring.peek(A, "credentials", 1) is None
    assert await setup.keyring.get(A, "credentials", 1) is not first
    assert setup.store.loads == 2


async def test_the_ttl_runs_from_the_start_of_the_load() -> None:
    setup = await Setup(ttl_seconds=10).fill(A)
    setup.provider.gate = asyncio.Event()
    waiting = asyncio.create_task(setup.keyring.get(A, "credentials", 1))
    await asyncio.sleep(0.01)
    setup.clock.now += 9
    setup.provider.gate.set()
    await waiting
    setup.clock.now += 1
    assert setup.keyring.peek(A, "credentials", 1) is None


async def test_the_newest_is_found_after_a_rotation_within_the_ttl() -> None:
    setup = await Setup(ttl_seconds=300).fill(A)
    assert (await setup.keyring.get(A, "credentials")).version == 1
    await setup.fill(A, version=2)
    assert (await setup.keyring.get(A, "credentials")).version == 1
    setup.clock.now += 300
    assert (await setup.keyring.get(A, "credentials")).version == 2
    assert (await setup.keyring.get(A, "credentials", 1)).version == 1
    assert setup.keyring.peek(A, "credentials", 2) is setup.keyring.peek(A, "credentials")


async def test_least_recently_used_goes_first() -> None:
    setup = await Setup(capacity=2).fill(A, B, C)
    for tenant_id in (A, B):
        await setup.keyring.get(tenant_id, "credentials", 1)
    # two slots are held only because a load by version fills one
    assert setup.keyring.peek(A, "credentials", 1) is not None
    await setup.keyring.get(C, "credentials", 1)
    assert setup.keyring.peek(B, "credentials", 1) is None
    assert setup.keyring.peek(A, "credentials", 1) is not None


async def test_one_load_for_many_waiters() -> None:
    setup = await Setup().fill(A, B)
    setup.provider.gate = asyncio.Event()
    waiting = [asyncio.create_task(setup.keyring.get(A, "credentials", 1)) for _ in range(50)]
    other = asyncio.create_task(setup.keyring.get(B, "credentials", 1))
    await asyncio.sleep(0.01)
    waiting[0].cancel()  # the one who began it does not take the others along
    await asyncio.sleep(0)
    setup.provider.gate.set()
    found = await asyncio.gather(*waiting, other, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert len({id(kek) for kek in found[1:-1]}) == 1
    assert setup.provider.unwraps == 2


async def test_an_outage_is_survived_within_the_ttl_and_fails_closed_after() -> None:
    setup = await Setup(ttl_seconds=300).fill(A)
    await setup.keyring.get(A, "credentials", 1)
    setup.provider.down = ConnectionError("kms.example refused")
    setup.clock.now += 299
    assert (await setup.keyring.get(A, "credentials", 1)).version == 1
    setup.clock.now += 1
    for _ in range(3):
        with pytest.raises(KeyUnavailable) as caught:
            await setup.keyring.get(A, "credentials", 1)
        assert "kms.example" not in str(caught.value)
    setup.provider.down = None
    assert (await setup.keyring.get(A, "credentials", 1)).version == 1


async def test_a_failed_load_fails_all_its_waiters_and_nobody_later() -> None:
    setup = await Setup().fill(A)
    setup.provider.down, setup.provider.gate = OSError("down"), asyncio.Event()
    waiting = [asyncio.create_task(setup.keyring.get(A, "credentials", 1)) for _ in range(3)]
    await asyncio.sleep(0.01)
    setup.provider.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(problem) for problem in found] == [KeyUnavailable] * 3
    setup.provider.down = None
    await setup.keyring.get(A, "credentials", 1)


async def test_a_hanging_provider_meets_the_deadline() -> None:
    setup = await Setup(load_timeout_seconds=0.05).fill(A)
    setup.provider.gate = asyncio.Event()
    with pytest.raises(KeyUnavailable):
        await setup.keyring.get(A, "credentials", 1)


async def test_a_broken_store_is_an_outage() -> None:
    setup = Setup()

    async def load(*_: object) -> StoredKey | None:
        raise RuntimeError("no database")

    setup.store.load = load  # type: ignore[method-assign]
    with pytest.raises(KeyUnavailable):
        await setup.keyring.get(A, "credentials", 1)


async def test_evict_forgets_one_tenant_now() -> None:
    setup = await Setup().fill(A, B)
    for tenant_id in (A, B):
        await setup.keyring.get(tenant_id, "credentials")
    setup.keyring.evict(A)
    assert setup.keyring.peek(A, "credentials") is None
    assert setup.keyring.peek(A, "credentials", 1) is None
    assert setup.keyring.peek(B, "credentials") is not None


async def test_a_load_begun_before_evict_is_not_kept() -> None:
    setup = await Setup().fill(A)
    setup.provider.gate = asyncio.Event()
    early = asyncio.create_task(setup.keyring.get(A, "credentials", 1))
    await asyncio.sleep(0.01)
    setup.keyring.evict(A)
    late = asyncio.create_task(setup.keyring.get(A, "credentials", 1))
    await asyncio.sleep(0.01)
    setup.provider.gate.set()
    assert await early is not await late
    assert setup.provider.unwraps == 2
    assert setup.keyring.peek(A, "credentials", 1) is await late


async def test_missing_destroyed_and_edited_rows() -> None:
    setup = await Setup().fill(A, B)
    with pytest.raises(KeyMissing):
        await setup.keyring.get(C, "credentials", 1)
    with pytest.raises(KeyMissing):
        await setup.keyring.get(A, "evidence")
    slot = (A, "credentials", 1)
    row = setup.store.rows[slot]
    setup.store.rows[slot] = StoredKey(A, "credentials", 1, row.root_key_id, None)
    with pytest.raises(KeyDestroyed):
        await setup.keyring.get(A, "credentials", 1)
    foreign = setup.store.rows[(B, "credentials", 1)]
    for moved in (
        StoredKey(A, "credentials", 1, row.root_key_id, foreign.wrapped),  # another tenant's key
        StoredKey(A, "credentials", 2, row.root_key_id, row.wrapped),  # another version
        StoredKey(A, "evidence", 1, row.root_key_id, row.wrapped),  # another purpose
    ):
        with pytest.raises(SealedDoesNotOpen):
            await setup.keyring.open_stored(moved)
    with pytest.raises(KeyMissing):
        await setup.keyring.open_stored(StoredKey(A, "credentials", 1, "gone", row.wrapped))


async def test_a_failed_load_shows_no_key() -> None:
    """A wrapped key of the wrong size: the traceback's locals never hold the raw bytes."""
    setup = Setup()
    raw = b"CANARY-raw-kek-of-wrong-size"
    wrapped = await setup.provider.wrap(raw, {"tenant": str(A), "purpose": "credentials", "version": "1"})
    setup.store.rows[(A, "credentials", 1)] = StoredKey(A, "credentials", 1, wrapped.key_id, wrapped.blob)
    with pytest.raises(InvalidRequest) as caught:
        await setup.keyring.get(A, "credentials", 1)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame.locals for frame in shown.stack if "/vault/k" in frame.filename]
    assert len(ours) >= 3
    assert "CANARY" not in str(ours)


@pytest.mark.parametrize("options", [{"ttl_seconds": 0}, {"ttl_seconds": 3601}, {"capacity": 0}])
def test_bounds(options: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest):
        Setup(**options)


def test_subkeys_are_bounded_and_separate() -> None:
    kek = Kek(A, "evidence", 1, bytes(32))
    seen = {kek.hmac(use, f"p{n}", b"") for use in ("mac", "digest") for n in range(MAX_SUBKEYS // 2)}
    assert len(seen) == MAX_SUBKEYS
    with pytest.raises(InvalidRequest):
        kek.hmac("mac", "one-more", b"")
    assert kek.hmac("mac", "p0", b"") in seen
    assert repr(kek) == "Kek(evidence v1)"

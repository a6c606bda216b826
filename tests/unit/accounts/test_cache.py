"""One value per key: the newest version, made once."""

import asyncio

import pytest

from broker.accounts.views import _Cache


async def test_it_is_made_once_however_many_ask() -> None:
    cache: _Cache[str, int] = _Cache(10)
    made = 0

    async def make() -> int:
        nonlocal made
        made += 1
        await asyncio.sleep(0.01)
        return 7

    assert await asyncio.gather(*(cache.get("a", 1, make) for _ in range(20))) == [7] * 20
    assert made == 1
    assert cache.peek("a", 1) == 7


async def test_one_askers_cancellation_leaves_the_others_their_value() -> None:
    cache: _Cache[str, int] = _Cache(10)
    go = asyncio.Event()

    async def make() -> int:
        await go.wait()
        return 7

    first, second = (asyncio.ensure_future(cache.get("a", 1, make)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go.set()
    assert await second == 7


async def test_a_failure_is_not_kept() -> None:
    cache: _Cache[str, int] = _Cache(10)

    async def fail() -> int:
        raise RuntimeError("no")

    async def make() -> int:
        return 7

    with pytest.raises(RuntimeError):
        await cache.get("a", 1, fail)
    await asyncio.sleep(0)
    assert await cache.get("a", 1, make) == 7


async def test_a_newer_version_takes_the_place_of_the_older_and_never_the_reverse() -> None:
    cache: _Cache[str, str] = _Cache(10)

    def making(text: str):  # type: ignore[no-untyped-def]
        async def make() -> str:
            return text

        return make

    await cache.get("a", 1, making("one"))
    await cache.get("a", 2, making("two"))
    assert cache.peek("a", 1) is None
    assert cache.peek("a", 2) == "two"
    assert await cache.get("a", 1, making("one")) == "one"
    assert cache.peek("a", 2) == "two"


async def test_it_holds_no_more_than_it_may() -> None:
    cache: _Cache[int, int] = _Cache(3)

    async def make() -> int:
        return 1

    for n in range(10):
        await cache.get(n, 1, make)
        cache.peek(0, 1)
    assert [n for n in range(10) if cache.peek(n, 1)] == [0, 8, 9]

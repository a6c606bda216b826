"""Programs that compute on and on give way; runs of a tenant that is held to few wait for each other."""

import asyncio
import os
import sys

import pytest

from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.limits import RunLimits
from broker.tools.codemode.sandbox.priority import NICE
from broker.tools.codemode.sandbox.program import Program
from tests.integration.sandbox.kit import HERE, TENANTS, THERE, Kit, kit, sources

SPIN = "async () => { for (;;); }"
LONG = RunLimits(wall_seconds=120)
CALLING = "async () => (await cloudflare.request({})).argument"


async def seen(box: Kit, count: int) -> tuple[int, ...]:
    """The workers that give way, once there are so many of them, and all workers there should be."""
    async with asyncio.timeout(30):
        while True:
            now = box.sandbox.stats()
            if len(now.slow) == count and len(now.pids) == 2:
                return now.slow
            await asyncio.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux knows of a process")
async def test_a_worker_that_spins_gives_way_and_the_others_do_not(images: Images) -> None:
    async with kit(images, workers=2) as box:
        assert box.sandbox.stats().slow == ()
        for _ in range(3):
            assert await box.value("async () => 1", tenant=THERE) == 1
        assert box.sandbox.stats().slow == ()
        spun = await box.run(SPIN, tenant=HERE, cpu_seconds=0.5, wall_seconds=120)
        assert spun.error is not None
        assert spun.error["limit"] == "cpu_seconds"
        (slow,) = await seen(box, 1)
        ordinary = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, slow) == max(NICE, ordinary)
        (other,) = set(box.sandbox.stats().pids) - {slow}
        assert os.getpriority(os.PRIO_PROCESS, other) == ordinary
        # Whoever computes much goes where it did; a newcomer that spins elsewhere leaves a fresh worker behind.
        await box.run(SPIN, tenant=HERE, cpu_seconds=0.5, wall_seconds=120)
        assert await seen(box, 1) == (slow,)
        await box.run(SPIN, tenant=TENANTS[5], cpu_seconds=0.5, wall_seconds=120)
        await seen(box, 1)
        assert set(box.sandbox.stats().pids) != {slow, other}
        assert box.sandbox.stats().replaced == 0
        assert await box.value("async () => 1 + 1", tenant=THERE) == 2


async def test_at_most_so_many_runs_at_once(images: Images) -> None:
    under_way, most = 0, 0

    async def host(_name: str, argument: bytes) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return b'{"argument":%s}' % argument

    async with kit(images, workers=2, runs_per_tenant=4) as box:

        async def many(at_once: int | None) -> int:
            nonlocal most
            most = 0
            await asyncio.gather(*(box.value(CALLING, host, tenant=HERE, at_once=at_once) for _ in range(12)))
            return most

        assert await many(1) == 1
        assert await many(2) <= 2
        assert await many(None) <= 4
        assert await many(64) <= 4, "never more than the pool allows"


async def test_a_cell_that_makes_room_is_given_to_nobody(
    images: Images, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each isolated run ends well, whichever image the workers that wait unused were started with."""
    others = Images(tmp_path_factory.mktemp("other") / "images", sources=sources)
    other = await others.execute_image()
    async with kit(images, workers=1) as box:
        for number in range(3):
            for image in (box.image, other):
                ran = await asyncio.gather(
                    *(
                        box.sandbox.run(
                            Program(image, "async () => 1"), _none, tenant=tenant, isolated=True, limits=LONG
                        )
                        for tenant in TENANTS[:3]
                    )
                )
                assert [one.ok for one in ran] == [True] * 3, (number, [one.error for one in ran])


async def _none(_name: str, _argument: bytes) -> bytes:
    return b"null"

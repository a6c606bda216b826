"""Programs and their host: what goes through, what is limited, what is cancelled."""

import asyncio
import json
import time

import pytest

from broker.tools.codemode.sandbox.errors import HostError, SandboxBusy, SandboxUnavailable
from broker.tools.codemode.sandbox.images import Images
from broker.tools.codemode.sandbox.limits import RunLimits
from broker.tools.codemode.sandbox.pool import Sandbox
from broker.tools.codemode.sandbox.program import LogLine, Program
from tests.integration.sandbox.kit import HERE, TENANTS, THERE, Kit, echo, kit


async def test_a_value_comes_out_as_it_is(box: Kit) -> None:
    value = {"a": [1, 2.5, None, True, "é\u2028😀\0"], "b": {"c": 9007199254740991}}
    assert await box.value(f"async () => ({json.dumps(value)})") == value
    assert await box.value("async () => {}") is None


async def test_context_and_logs(box: Kit) -> None:
    program = Program(
        box.image, "async () => { console.log('a', {b: 1}); console.error('c'); return context.x; }", b'{"x":[1,2]}'
    )
    outcome = await box.sandbox.run(program, echo, tenant=HERE)
    assert (outcome.ok, outcome.value) == (True, b"[1,2]")
    assert outcome.logs == (LogLine("log", 'a {"b":1}'), LogLine("error", "c"))
    assert 0 < outcome.cpu_ms < 1000


async def test_host_calls(box: Kit) -> None:
    outcome = await box.run(
        "async () => { const r = await cloudflare.request({ path: '/é' }); return [r.name, r.argument]; }"
    )
    assert json.loads(outcome.value or b"") == ["request", {"path": "/é"}]
    assert outcome.host_calls == 1


async def test_a_refusal_is_caught_with_its_members(box: Kit) -> None:
    async def host(_name: str, _argument: bytes) -> bytes:
        raise HostError({"message": "no grant", "status": 403, "errors": [{"code": 9}]})

    code = """async () => {
      try { await cloudflare.request({}) } catch (e) { return [e.message, e.status, e.errors[0].code] }
    }"""
    assert await box.value(code, host) == ["no grant", 403, 9]


async def test_calls_run_at_once_but_no_more_than_allowed(box: Kit) -> None:
    now = most = 0

    async def host(_name: str, argument: bytes) -> bytes:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return argument

    code = "async () => (await Promise.all(Array.from({ length: 20 }, (_, i) => cloudflare.request(i)))).join()"
    assert await box.value(code, host, host_calls_at_once=5) == ",".join(map(str, range(20)))
    assert most == 5


async def test_what_the_host_raises_is_raised(box: Kit) -> None:
    ended: list[str] = []

    async def host(_name: str, argument: bytes) -> bytes:
        if argument == b"1":
            await asyncio.sleep(0.05)
            raise TimeoutError("of the host")
        try:
            await asyncio.sleep(0.2)
        finally:
            ended.append("other")
        return b"1"

    with pytest.raises(TimeoutError, match="of the host"):
        await box.run("async () => { await Promise.all([cloudflare.request(0), cloudflare.request(1)]); }", host)
    assert ended == ["other"]
    await box.quiet()


async def test_calls_under_way_finish_and_waiting_ones_never_begin(box: Kit) -> None:
    seen: list[bytes] = []

    async def host(_name: str, argument: bytes) -> bytes:
        await asyncio.sleep(0.1)
        seen.append(argument)
        return b"1"

    code = "async () => { for (let i = 0; i < 5; i++) cloudflare.request(i); await sleep(20); return 'done'; }"
    assert await box.value(code, host, host_calls_at_once=2) == "done"
    assert sorted(seen) == [b"0", b"1"]


async def test_cancelling_cancels_the_calls(box: Kit) -> None:
    state: list[str] = []

    async def host(_name: str, _argument: bytes) -> bytes:
        state.append("began")
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(0.02)
            state.append("settled")
            raise
        return b"1"

    task = asyncio.create_task(box.run("async () => await cloudflare.request({})", host))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert state == ["began", "settled"]
    await box.quiet()
    assert await box.value("async () => 1") == 1


@pytest.mark.parametrize(
    "code",
    ["async () => { await sleep(5000) }", "async () => await cloudflare.request({})", "async () => { for (;;); }"],
)
async def test_the_wall_limit(box: Kit, code: str) -> None:
    async def host(_name: str, _argument: bytes) -> bytes:
        await asyncio.sleep(100)
        return b"1"

    outcome = await box.run(code, host, wall_seconds=0.2)
    assert outcome.error is not None
    assert (outcome.error["kind"], outcome.error["limit"]) == ("limit", "wall_seconds")
    await asyncio.sleep(0.9)
    assert await box.value("async () => 1") == 1
    assert box.sandbox.stats().replaced == 0


async def test_timers_are_not_calls(box: Kit) -> None:
    started = time.perf_counter()
    outcome = await box.run(
        "async () => { await sleep(30); await sleep(60); await new Promise((r) => setTimeout(r, 30)); return 1; }",
        host_calls=0,
    )
    assert (outcome.ok, outcome.host_calls) == (True, 0)
    assert time.perf_counter() - started > 0.11


async def test_an_answer_too_large_rejects(box: Kit) -> None:
    async def host(_name: str, _argument: bytes) -> bytes:
        return b'"' + b"x" * 5000 + b'"'

    code = "async () => { try { return (await cloudflare.request({})).length } catch (e) { return e.code } }"
    assert await box.value(code, host, reply_bytes=4096) == "reply_too_large"
    assert await box.value(code, host, reply_bytes=8192) == 5000


async def test_large_values_both_ways(box: Kit) -> None:
    async def host(_name: str, argument: bytes) -> bytes:
        return b'"' + b"y" * (4_000_000) + b'"'

    outcome = await box.run(
        "async () => (await cloudflare.request('x'.repeat(1e6))) + 'z'.repeat(3.9e6)", host, cpu_seconds=5.0
    )
    assert outcome.ok, outcome.error
    assert len(outcome.value or b"") == 7_900_002


async def test_waiting_runs_are_bounded(images: Images) -> None:
    async with kit(images, workers=1, runs_per_tenant=2) as box:
        runs = [asyncio.create_task(box.run("async () => { await sleep(400); return 1; }")) for _ in range(66)]
        await asyncio.sleep(0.1)
        with pytest.raises(SandboxBusy):
            await box.run("async () => 1")
        assert await box.value("async () => 1", tenant=THERE) == 1
        late = asyncio.create_task(box.run("async () => 1", tenant=HERE, wall_seconds=0.1))
        runs[-1].cancel()
        with pytest.raises(SandboxBusy):
            await late
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        await box.quiet()


async def test_waiting_for_a_place_and_running_are_bounded_together(images: Images) -> None:
    begun = asyncio.Event()

    async def never(_name: str, _argument: bytes) -> bytes:
        begun.set()
        await asyncio.sleep(1000)
        return b"null"

    code = "async () => await cloudflare.request({})"
    async with kit(images, workers=1, runs_per_worker=1) as box:
        first = asyncio.create_task(box.run(code, never, wall_seconds=0.5))
        await begun.wait()
        program, limits = Program(box.image, code), RunLimits(wall_seconds=60.0)
        second = box.sandbox.run(program, never, tenant=THERE, limits=limits, within=2.0)
        ended, _ = await asyncio.wait_for(asyncio.gather(second, first, return_exceptions=True), 30)
    # On a slow machine its place may come too late to begin at all.
    assert isinstance(ended, SandboxBusy) or (ended.error or {}).get("limit") == "wall_seconds"


async def test_a_tenants_cap_leaves_room_for_others(images: Images) -> None:
    async with kit(images, workers=2, runs_per_worker=4, runs_per_tenant=3) as box:
        greedy = [asyncio.create_task(box.run("async () => { await sleep(300); return 1; }")) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert box.sandbox.stats().running == 3
        assert await box.value("async () => 1", tenant=THERE) == 1
        assert not all(task.done() for task in greedy), "it did not stand in their line"
        for task in greedy:
            task.cancel()
        await asyncio.gather(*greedy, return_exceptions=True)


async def test_spinners_of_one_tenant_leave_a_worker_to_others(images: Images) -> None:
    async with kit(images, workers=2) as box:
        spinners = [
            asyncio.create_task(
                box.run("async () => { for (;;); }", tenant=TENANTS[n % 3], cpu_seconds=0.3, wall_seconds=120.0)
            )
            for n in range(12)
        ]
        await asyncio.sleep(1.0)  # by now those three are known to compute much
        for _ in range(20):
            assert await box.value("async () => 1", tenant=TENANTS[9]) == 1
        # Behind any of theirs each would have waited so long that all of theirs were over now.
        assert not all(spinner.done() for spinner in spinners)
        for outcome in await asyncio.gather(*spinners):
            assert (outcome.error or {})["limit"] == "cpu_seconds"


async def test_isolation_gives_each_run_a_process_of_its_own(images: Images) -> None:
    async with kit(images, workers=2) as box:
        shared = set(box.sandbox.stats().pids)
        codes = ["async () => { await sleep(100); return 1; }"] * 5
        outcomes = await asyncio.gather(*(box.run(code, isolated=True, tenant=HERE) for code in codes))
        assert all(outcome.ok for outcome in outcomes)
        assert set(box.sandbox.stats().pids) == shared
        await box.quiet()


async def test_after_the_end_it_refuses(images: Images) -> None:
    async with Sandbox(images) as sandbox:
        program = Program(await images.execute_image(), "async () => { await sleep(5000); }")
        held = [asyncio.create_task(sandbox.run(program, echo, tenant=HERE)) for _ in range(10)]
        await asyncio.sleep(0.05)
    ended = await asyncio.gather(*held, return_exceptions=True)
    assert all(isinstance(end, SandboxUnavailable) or (end.error or {})["limit"] == "worker" for end in ended)
    with pytest.raises(SandboxUnavailable):
        await sandbox.run(program, echo, tenant=HERE, limits=RunLimits())

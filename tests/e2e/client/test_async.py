"""`AsyncKeyreeve` against a running installation."""

import asyncio
import time

import pytest
from keyreeve import AsyncKeyreeve, errors

from bench.harness import free_port
from tests.e2e.client.conftest import CALL, ZONES, World


async def test_list_execute_and_look_it_up(world: World) -> None:
    async with world.async_client() as kr:
        listed = await kr.list_scoped_tools(world.engineer.identifier)
        assert CALL in [tool.name for tool in listed]
        result = await kr.execute_tool(CALL, ZONES, identifier=world.engineer.identifier, run_id="r")
        assert len(result.data["result"]) == 2
        assert (await kr.executions.get(result.execution_id)).state == "done"
        assert [event.run_id async for event in kr.audit.events(run_id="r")] == ["r"]
        with pytest.raises(errors.UnknownTool):
            await kr.execute_tool("cloudflare_nope", ZONES, identifier=world.engineer.identifier)


async def test_calls_run_side_by_side(world: World) -> None:
    world.latency(0.5, times=None)
    async with world.async_client() as kr, kr.for_identity(world.engineer.identifier) as handle:
        await handle.tools()
        began = time.monotonic()
        results = await asyncio.gather(*[handle.execute_tool(CALL, ZONES) for _ in range(6)])
        assert time.monotonic() - began < 2.5
    assert not any(result.is_error for result in results)


async def test_a_session_that_expires_mid_run_is_renewed(world: World) -> None:
    async with world.async_client() as kr, kr.for_identity(world.engineer.identifier) as handle:
        await handle.execute_tool(CALL, ZONES)
        first = await handle.session()
        await world.expire(first.id)
        results = await asyncio.gather(*[handle.execute_tool(CALL, ZONES) for _ in range(6)])
        assert not any(result.is_error for result in results)
        assert (await handle.session()).id != first.id
        assert len([session async for session in kr.sessions.list()]) == 1


async def test_a_session_that_is_revoked_mid_run_ends_the_run(world: World) -> None:
    async with world.async_client() as kr, kr.for_identity(world.engineer.identifier) as handle:
        await handle.execute_tool(CALL, ZONES)
        await kr.sessions.revoke((await handle.session()).id)
        for _ in range(2):
            with pytest.raises(errors.Unauthenticated):
                await handle.execute_tool(CALL, ZONES)
        assert not [session async for session in kr.sessions.list()]


async def test_a_slow_answer_and_nobody_there(world: World) -> None:
    world.latency(1.5)
    async with world.async_client(timeout=0.5) as kr:
        with pytest.raises(errors.Timeout) as late:
            await kr.execute_tool(CALL, ZONES, identifier=world.engineer.identifier)
    assert late.value.sent == "unknown"
    assert world.calls("/zones") == 1
    async with AsyncKeyreeve(f"http://127.0.0.1:{free_port()}", world.key, max_retries=1) as kr:
        with pytest.raises(errors.ConnectionFailed) as refused:
            await kr.for_identity("a").tools()
    assert refused.value.sent is False


async def test_a_cancelled_call_is_cancelled_on_the_server(world: World) -> None:
    world.latency(5.0)
    async with world.async_client() as kr:
        call = asyncio.ensure_future(
            kr.execute_tool(CALL, ZONES, identifier=world.engineer.identifier, run_id="cancelled")
        )
        while world.calls("/zones") == 0:
            await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        for _ in range(60):
            found = [event async for event in kr.audit.events(run_id="cancelled")]
            if found and found[0].outcome != "open":
                break
            await asyncio.sleep(0.05)
    assert found[0].outcome in ("cancelled", "unknown")


async def test_the_export_streams(world: World) -> None:
    async with AsyncKeyreeve(world.stand.url, world.kit.admin.key) as admin:
        export = admin.audit.export()
        lines = [line async for line in export]
    assert len(lines) == export.items
    assert lines

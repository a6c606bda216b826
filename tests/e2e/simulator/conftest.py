"""A simulator on loopback with the demo's world, fresh for each test."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from connectors.simulators.cloudflare import Demo, Running, demo_state, serve


@pytest.fixture
def demo() -> Demo:
    return demo_state()


@pytest_asyncio.fixture
async def running(demo: Demo) -> AsyncIterator[Running]:
    async with serve(demo.state) as server:
        yield server


@pytest_asyncio.fixture
async def priya(running: Running, demo: Demo) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {demo.priya_token.value}"}
    async with httpx.AsyncClient(base_url=running.base_url, headers=headers, timeout=5) as client:
        yield client

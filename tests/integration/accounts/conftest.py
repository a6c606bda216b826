"""A world of its own for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from broker.db.database import Database
from tests.integration.accounts.world import World, make


@pytest_asyncio.fixture
async def world(db: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with make(db, tmp_path) as made:
        yield made

"""Two tenants and every service over a real database."""

import pytest

from broker.db.database import Database
from tests.integration.identity.world import World, make_world


@pytest.fixture
async def world(db: Database) -> World:
    return await make_world(db)
